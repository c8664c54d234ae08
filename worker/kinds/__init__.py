"""Contains one file for each kind of work: what a job measures, in the measured process and around it. `registry` finds a kind by name."""
