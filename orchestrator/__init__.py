"""Holds the control plane. It accepts campaigns, sends jobs to workers and records their results. It never imports `worker`."""

import sys
from pathlib import Path

# `python -m orchestrator.cli` makes Python search the current folder first. A `shared.py` or `celery.py` of the user there would be
# imported instead of ours. While a package is imported for `-m`, `sys.argv` begins with "-m" and `sys.path` begins with that folder.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
    del sys.path[0]
