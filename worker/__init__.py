"""Contains the worker: it registers the device, takes jobs, measures them and reports. It needs no other part of the system."""

import sys
from pathlib import Path

# With `python -m worker.cli`, Python searches the current folder first. There a `shared.py` or a `redis.py` of the user would be imported
# in place of ours. While a package is imported for `-m`, `sys.argv` begins with "-m", and the current folder is first on the path.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
    del sys.path[0]
