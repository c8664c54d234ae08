"""Runs the tests of an engine whose library is not in the environment of the other tests, in an environment of its own.

    python tools/engine_tests.py torch             PyTorch, its build for the CPU
    python tools/engine_tests.py llm               language models: transformers on PyTorch
    python tools/engine_tests.py --only-prepare llm   only makes the environment, as `make demo-llm` needs it
    python tools/engine_tests.py coreml -k package coremltools, which builds and reads models on Linux; further arguments go to pytest

The environment (`.venv-torch`, `.venv-llm`, `.venv-coreml`) has Python 3.11, the locked packages of the other tests, and the
library as pip finds it. pip asks the index that the user has configured. For Linux, PyPI has PyTorch with CUDA only, which is several
gigabytes; the small build is
on PyTorch's own index: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.

This script uses only the standard library, because it runs before anything is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "3.11"
PREPARE = "--only-prepare"
LIBRARIES = {
    "torch": ["torch==2.13.0"],
    "llm": ["torch==2.13.0", "transformers==5.24.0", "tokenizers==0.23.3", "safetensors==0.8.0"],
    "serve": ["torch==2.13.0", "transformers[serving]==5.24.0", "tokenizers==0.23.3", "safetensors==0.8.0", "accelerate"],
    "coreml": ["coremltools==9.0", "pillow==13.0.0"],
}
CONTRACTS = {"llm": "test_generators.py"}  # the suite of the port, where it is not that of the engines


def find_python() -> str | None:
    """Return a Python of `VERSION` that runs: the one that runs this script, one on the PATH, or one that pyenv or uv has installed."""
    candidates = [sys.executable, shutil.which(f"python{VERSION}")]
    candidates += [str(path) for path in (Path.home() / ".pyenv" / "versions").glob(f"{VERSION}.*/bin/python")]
    candidates += [str(path) for path in (Path.home() / ".local/share/uv/python").glob(f"cpython-{VERSION}*/bin/python3")]
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "-c", ask], check=False, capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip() == VERSION:
            return candidate
    return None


def environment(name: str, python: str) -> Path:
    """Return the interpreter of the environment. What is missing in it is installed."""
    venv = ROOT / f".venv-{name}"
    subprocess.run([python, ROOT / "tools" / "environment.py", "dev", "--venv", venv], check=True)
    stamp, own = venv / f".fleetmark-{name}", venv / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != "\n".join(LIBRARIES[name]):
        print(f"Installing {' '.join(LIBRARIES[name])}", flush=True)
        # The locked packages keep their versions, because the other tests have passed with them.
        keep = ["--upgrade-strategy", "only-if-needed"]
        subprocess.run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *keep, *LIBRARIES[name]], check=True)
        stamp.write_text("\n".join(LIBRARIES[name]))
    return own


def main() -> int:
    arguments = [one for one in sys.argv[1:] if one != PREPARE]
    name, *more = arguments or [""]
    if name not in LIBRARIES:
        print(f"name what to test: {' or '.join(LIBRARIES)}", file=sys.stderr)
        return 2
    python = find_python()
    if python is None:
        print(
            f"The tests of {name} need Python {VERSION}, and none runs here. Install one (`uv python install {VERSION}`, or "
            f"`pyenv install {VERSION}`), or put python{VERSION} on the PATH.",
            file=sys.stderr,
        )
        return 2
    try:
        own = environment(name, python)
    except subprocess.CalledProcessError as error:
        print(f"the environment of {name} could not be made: {error}", file=sys.stderr)
        return 1
    if PREPARE in sys.argv:
        return 0
    # Among the other tests, `tests/engines/NAME` is left out by its conftest, and the contract runs on a double of the library.
    tests = (
        []
        if any(one.startswith("tests/") for one in more)
        else [f"tests/engines/{name}", f"tests/contracts/{CONTRACTS.get(name, 'test_engines.py')}"]
    )
    quiet = ["-W", "ignore:Setuptools is replacing distutils:UserWarning"]  # torch imports both, in the order that setuptools warns of
    return subprocess.run([own, "-m", "pytest", *quiet, *tests, *more], check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
