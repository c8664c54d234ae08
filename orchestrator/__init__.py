"""The control plane: it takes campaigns in, hands jobs out and records what comes back. It never imports `worker`."""

import sys
from pathlib import Path

# `python -m orchestrator.cli` makes Python look into the current folder first, where a `shared.py` or a `celery.py` of the user would be
# run in place of ours. While a package is imported for `-m`, `sys.argv` begins with "-m", and the folder stands first on the path.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
    del sys.path[0]
