"""Leaves out the tests of servers that are not installed with the other packages. `make test-services` installs them, and needs them."""

from __future__ import annotations

import os
import shutil

PROGRAMS = {"test_chroma.py": "chroma", "test_triton.py": "tritonserver"}
REQUIRED = "FLEETMARK_TEST_SERVICES" in os.environ
collect_ignore = [name for name, program in PROGRAMS.items() if not REQUIRED and shutil.which(program) is None]
