"""Makes the virtual environment of a role: locked packages with their hashes, then this project itself, editable.

    python3.13 tools/environment.py demo

Standard library only: it runs before anything is installed. pip does the work, so a package index that the user has
configured for pip is the one that is used. A stamp in the environment makes the second run instant.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
CONTAINS = {"demo": ("demo", "dev")}  # role -> environments that carry everything of it
# What a start imports, and what is imported on the way of a job.
USED = ["cli.main", "cli.tiny_yolo", "cli.flower", "orchestrator.cli", "orchestrator.reports", "worker.cli", "worker.runner.forking"]
USED += ["onnxruntime"]
HOW_TO_GET_VENV = "On Debian and Ubuntu: apt-get install python3-venv. Or name another interpreter: make PYTHON=/path/to/python3.13"


def stamp(role: str) -> str:
    """What the environment was made from. The folder's place counts: an editable install points to it."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in (ROOT / "requirements" / f"{role}.txt", ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_ready(venv: Path, role: str) -> bool:
    python = venv / "bin" / "python"
    for made in CONTAINS.get(role, (role,)):
        file = venv / f".fleetmark-{made}"
        if file.exists() and file.read_text() == stamp(made) and python.exists():
            return True
    return False


def make_venv(venv: Path) -> None:
    python = venv / "bin" / "python"
    version = ".".join(str(part) for part in sys.version_info[:3])
    ask = "import pip, sys; print('.'.join(str(part) for part in sys.version_info[:3]))"
    here = subprocess.run([python, "-c", ask], check=False, capture_output=True, text=True) if python.exists() else None
    if here is not None and here.returncode == 0:
        if here.stdout.strip() != version:
            print(f"{venv.name} has Python {here.stdout.strip()} and keeps it; remove the folder to have it made with {version}")
        return
    print(f"Making {venv.name} with Python {version} ({sys.executable})", flush=True)
    shutil.rmtree(venv, ignore_errors=True)  # a half-made one, or one whose interpreter is gone
    made = subprocess.run([sys.executable, "-m", "venv", venv], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit(f"{made.stdout}\n{sys.executable} cannot make a virtual environment. {HOW_TO_GET_VENV}")


def pip_install(venv: Path, what: str, total: int, *arguments: str) -> None:
    """Run pip; show one line that counts packages, and pip's own words only when it fails."""
    command: list[str | Path] = [
        venv / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *arguments,
    ]
    words: list[str] = []
    seen = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            words.append(line)
            if line.startswith(("Collecting", "Requirement already satisfied")):
                seen += 1
                progress(f"{what}: {min(seen, total)} of {total} packages")
            elif line.startswith("Installing collected") and total > 1:
                progress(f"{what}: {total} of {total} packages, unpacking (the slow part)")
    if pip.returncode != 0:
        sys.exit("\n" + "".join(words[-30:]) + f"\nInstalling the {what.lower()} failed; pip's last words are above.")
    progress(f"{what}: done")
    print(flush=True)


def compile_what_is_used(venv: Path) -> None:
    """Import what every start imports, once, with bytecode written even where PYTHONDONTWRITEBYTECODE forbids it to users.

    Compiling whole packages takes ten times as long, most of it for their tests; compiling nothing makes every start slow
    where that variable is set. It also proves that the environment works.
    """
    progress("Bytecode: compiling what is used")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # noqa: TID251 (no settings yet)
    python = venv / "bin" / "python"
    imports = f"import {', '.join(USED)}"
    made = subprocess.run([python, "-c", imports], check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(f"\n{made.stderr}\nThe environment was installed, but does not work: see above.")
    progress("Bytecode: done")
    print(flush=True)


def progress(text: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)
    elif text.endswith(("slow part)", "done")):
        print(text, end="" if text.endswith("done") else "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the virtual environment of a role.")
    parser.add_argument("role", choices=sorted(file.stem for file in (ROOT / "requirements").glob("*.txt")))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    role, venv = arguments.role, arguments.venv
    if sys.version_info < OLDEST:
        sys.exit(f"Fleetmark needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.13")
    if is_ready(venv, role):
        return
    make_venv(venv)
    file = f"requirements/{role}.txt"
    total = (ROOT / file).read_text().count("==")
    # The file is closed and pinned, so pip need not resolve.
    pip_install(venv, "Locked packages", total, "--no-compile", "--no-deps", "--require-hashes", "-r", file)
    pip_install(venv, "Fleetmark", 1, "--no-deps", "--no-build-isolation", "-e", ".")
    if role in ("demo", "dev"):
        compile_what_is_used(venv)
    (venv / f".fleetmark-{role}").write_text(stamp(role))


if __name__ == "__main__":
    main()
