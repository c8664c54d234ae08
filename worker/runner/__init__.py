"""The measured process and the guard that owns it.

`python -m worker.runner` is the guard: it imports the runtimes once, starts one fresh process a repeat, watches it,
and kills its whole process group when told to, when it ends, and when its own stdin closes. The process that it
starts measures and does nothing else.
"""
