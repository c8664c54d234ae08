"""Contains the measured process and the guard that owns it.

`python -m worker.runner` is the guard. It imports the runtimes once, starts one fresh process for each repeat, and watches it. It
kills the process group of the repeat when it is told to, when the repeat ends, and when its own stdin closes. The process that it
starts measures and does nothing else.
"""
