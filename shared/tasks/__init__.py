"""Contains one file for each task that a language model can be given. `registry` finds a task by its name."""
