"""Makes the virtual environment of a role. It installs the locked packages, checked by hash, and this project as editable.

    python3.13 tools/environment.py demo

This script uses only the standard library, because it runs before anything is installed. It calls pip, so the package index that the user
has configured for pip is used. A stamp file in the environment makes later runs return at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
CONTAINS = {"demo": ("demo", "dev")}  # maps a role to the environments that contain all of its packages
# The modules that are imported at a start, or while a job runs. Many commands import them only when they need them.
USED = [
    "cli.main",
    "cli.tiny_yolo",
    "cli.flower",
    "cli.pages",
    "orchestrator.cli",
    "orchestrator.app",
    "orchestrator.reports",
    "worker.cli",
]
USED += ["worker.agent.checks", "worker.agent.trial", "worker.runner.forking", "worker.runner.spawning", "worker.models.transport"]
USED += ["worker.engines.onnx", "shared.recipes.cells", "shared.stats", "psycopg", "orchestrator.api.connections"]
PACKAGES = ["cli", "orchestrator", "shared", "worker"]
SHOWN_EVERY_S = 0.3
HOW_TO_GET_VENV = "On Debian and Ubuntu: apt-get install python3-venv. Or name another interpreter: make PYTHON=/path/to/python3.13"


def stamp(role: str) -> str:
    """Return a hash of everything that the environment depends on. The path of this folder counts, because the install is editable."""
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
    shutil.rmtree(venv, ignore_errors=True)  # removes an incomplete environment, or one whose interpreter no longer exists
    made = subprocess.run([sys.executable, "-m", "venv", venv], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit(f"{made.stdout}\n{sys.executable} cannot make a virtual environment. {HOW_TO_GET_VENV}")


def pip_install(venv: Path, what: str, total: int, *arguments: str) -> None:
    """Run pip. Show one line that counts the packages. Show pip's output only if it fails.

    Args:
        total: How many packages there are. 0 if pip finds that out.
    """
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
    watch: threading.Thread | None = None
    seen = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            words.append(line)
            if line.startswith(("Collecting", "Requirement already satisfied")):
                seen += 1
                progress(f"{what}: {min(seen, total or seen)} of {total or 'some'} packages")
            elif line.startswith("Installing collected") and total != 1:
                count = line.count(",") + 1
                progress(f"{what}: {count} packages to unpack (the slow part)")
                watch = threading.Thread(target=show_unpacking, args=(venv, what, count, pip), daemon=True)
                watch.start()
    if watch is not None:
        watch.join()
    if pip.returncode != 0:
        sys.exit("\n" + "".join(words[-30:]) + f"\nInstalling the {what.lower()} failed; pip's last words are above.")
    progress(f"{what}: done")
    print(flush=True)


def show_unpacking(venv: Path, what: str, count: int, pip: subprocess.Popen[str]) -> None:
    """Show how many packages pip has unpacked, until it ends. pip itself says nothing meanwhile. Each package brings its `.dist-info`."""

    def unpacked() -> int:
        return sum(1 for _ in venv.glob("lib/python*/site-packages/*.dist-info"))

    before = unpacked()
    while pip.poll() is None:
        progress(f"{what}: {min(count, unpacked() - before)} of {count} packages are unpacked")
        time.sleep(SHOWN_EVERY_S)


def compile_what_is_used(venv: Path, role: str) -> None:
    """Import the modules in `USED` once, so that Python writes their bytecode, even if the user has set PYTHONDONTWRITEBYTECODE.

    Without bytecode, every start would be slow if that variable is set. Compiling whole packages would take ten times as long, mostly for
    their tests. The import also proves that the environment works.
    """
    progress("Bytecode: compiling what is used")
    write_bytecode(venv, "-c", f"import {', '.join(USED)}")
    if role == "dev":  # each process of the suite imports every test, and compiling them takes twice as long as the rest of that
        write_bytecode(venv, "-m", "pytest", "-W", "ignore", "--collect-only", "-q", "-q")
    progress("Bytecode: done")
    print(flush=True)


def write_bytecode(venv: Path, *arguments: str) -> None:
    """Run Python in a way that it writes bytecode, even if the user has set PYTHONDONTWRITEBYTECODE."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # noqa: TID251 (no settings yet)
    command = [str(venv / "bin" / "python"), *arguments]
    made = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(f"\n{made.stdout[-2000:]}{made.stderr}\nThe environment was installed, but does not work: see above.")


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
        if role == "dev":  # the sources may have changed since, and the tests start hundreds of processes
            write_bytecode(venv, "-m", "compileall", "-q", *PACKAGES)
        return
    make_venv(venv)
    file = f"requirements/{role}.txt"
    total = (ROOT / file).read_text().count("==")
    # The file lists all packages with exact versions, so pip does not have to resolve dependencies.
    pip_install(venv, "Locked packages", total, "--no-compile", "--no-deps", "--require-hashes", "-r", file)
    pip_install(venv, "Fleetmark", 1, "--no-deps", "--no-build-isolation", "-e", ".")
    if role in ("demo", "dev"):
        compile_what_is_used(venv, role)
    (venv / f".fleetmark-{role}").write_text(stamp(role))


if __name__ == "__main__":
    main()
