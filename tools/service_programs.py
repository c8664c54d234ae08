"""Installs the programs of servers that only `make test-services` needs, in an environment of their own: `.venv-services`.

    python tools/service_programs.py .venv-services

Chroma brings packages that do not go together with those of Fleetmark. The tests find the program `chroma` on the PATH.
This script uses only the standard library.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ["chromadb==1.5.9"]


def main() -> int:
    folder = Path(sys.argv[1])
    stamp = folder / ".fleetmark-services"
    if stamp.is_file() and stamp.read_text() == "\n".join(PACKAGES):
        return 0
    print(f"Installing {' '.join(PACKAGES)} into {folder} (about 520 MB)", flush=True)
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(command, check=False)
    if done.returncode == 0:
        stamp.write_text("\n".join(PACKAGES))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
