"""Contains one file for each runtime that generates text token by token. `registry` finds a generator by the capability."""
