from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from worker.hardware.blas import read_blas


def test_the_library_of_numpy_says_which_kernels_it_uses() -> None:
    assert np.ones(1).size
    blas = read_blas()
    assert blas.name
    if blas.name == "OpenBLAS":  # the wheels of numpy for Linux contain it
        assert blas.core
        assert blas.core in blas.config
        assert (blas.threads or 0) >= 1


def test_a_core_type_in_the_environment_shows_in_what_really_runs() -> None:
    code = "import json, numpy; from worker.hardware.blas import read_blas; print(json.dumps(vars(read_blas())))"
    environment = dict(os.environ) | {"OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    blas = json.loads(done.stdout)
    if blas["name"] == "OpenBLAS" and os.uname().machine == "x86_64":
        assert blas["core"] == "Nehalem"
