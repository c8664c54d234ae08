"""Contains one file for each scorer, which judges what a language model wrote. `registry` finds a scorer by its name."""
