"""Installs Triton Inference Server for `make test-services`, in an environment of its own: `.venv-triton`.

    python tools/triton_server.py .venv-triton

The server comes in NVIDIA's package `nvidia-pytriton`. It runs models that are written in Python, by a Python 3.11 whose library is
shared, as that of Linux distributions is. The tests find the program `tritonserver` in the folder `.venv-triton/server`.
This script uses only the standard library.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ["nvidia-pytriton==0.7.0", "numpy<2"]
PYTHONS = ("/usr/bin/python3.11", "python3.11")
# The server finds the backends beside each other, its libraries in the package, and `python3` of this environment on the PATH.
PROGRAM = """#!/bin/sh
export LD_LIBRARY_PATH='{libraries}'
export PATH='{programs}':"$PATH"
exec '{server}' --backend-directory '{backends}' "$@"
"""


def find_python() -> str | None:
    """Return a Python 3.11 with a shared library, which the Python backend of Triton needs."""
    for candidate in filter(None, map(shutil.which, PYTHONS)):
        ask = "import sys, sysconfig; print(sys.version_info[:2] == (3, 11) and bool(sysconfig.get_config_var('Py_ENABLE_SHARED')))"
        answer = subprocess.run([candidate, "-c", ask], check=False, capture_output=True, text=True)
        if answer.stdout.strip() == "True":
            return candidate
    return None


def install(folder: Path, python: str) -> None:
    print(f"Installing {' '.join(PACKAGES)} into {folder} (about 370 MB)", flush=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    own = folder / "bin" / "python"
    subprocess.run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    packages = folder / "lib" / "python3.11" / "site-packages"
    bundled, server = packages / "pytriton" / "tritonserver", folder / "server"
    shutil.rmtree(server, ignore_errors=True)
    shutil.copytree(bundled / "backends", server / "backends")
    stub = bundled / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    shutil.copy2(stub, server / "backends" / "python")
    program = server / "tritonserver"
    program.write_text(
        PROGRAM.format(
            libraries=packages / "nvidia_pytriton.libs",
            programs=folder / "bin",
            server=bundled / "bin" / "tritonserver",
            backends=server / "backends",
        )
    )
    program.chmod(0o755)


def main() -> int:
    folder = Path(sys.argv[1]).absolute()
    stamp = folder / ".fleetmark-triton"
    if stamp.is_file() and stamp.read_text() == "\n".join(PACKAGES):
        return 0
    python = find_python()
    if python is None:
        print("Triton needs a Python 3.11 with a shared library: on Debian, `apt-get install python3.11 libpython3.11`", file=sys.stderr)
        return 2
    try:
        install(folder, python)
    except subprocess.CalledProcessError as error:
        print(f"the environment of Triton could not be made: {error}", file=sys.stderr)
        return 1
    stamp.write_text("\n".join(PACKAGES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
