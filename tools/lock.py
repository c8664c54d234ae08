"""Writes or checks `requirements/*.txt`, one file for each role, with every package pinned and hashed according to pyproject.toml.

    python tools/lock.py            write; pinned versions that are still allowed stay
    python tools/lock.py --upgrade  write the newest versions
    python tools/lock.py --check    exit with 1 if a file does not match pyproject.toml

A check starts from a copy of the committed file, so a newer release of a package does not count as a difference.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from difflib import unified_diff
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"

# Maps a role to extras of pyproject.toml. The first role is compiled first, and its versions constrain the others, so that the deployed
# versions are the tested ones.
ROLES: dict[str, tuple[str, ...]] = {
    "dev": ("dev",),
    "orchestrator": ("orchestrator", "scores"),
    "worker-cpu": ("worker", "onnx", "load"),
    "worker-cuda": ("worker", "onnx-cuda"),
    "worker-apple": ("worker", "onnx", "coreml"),
    "docs": ("docs",),
    "demo": ("orchestrator", "worker", "onnx", "embedded", "embedded-postgres", "load"),
}


def header(role: str) -> str:
    extras = ", ".join(ROLES[role])
    return f"# Made by `make requirements` from pyproject.toml (extras: {extras}); do not edit by hand.\n"


def without_header(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def pip_settings() -> dict[str, str]:
    """Return the user's pip settings from files and environment: `index-url`, `cert` and so on."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    lines = (line.partition("=") for line in said.splitlines())
    return {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in lines}


def as_uv_reads_it(pip: dict[str, str]) -> dict[str, str]:
    """Return environment variables that give uv the package index and certificates of pip. uv does not read pip's settings."""
    names = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {uv: pip[name] for name, uv in names.items() if name in pip}


def compile_role(role: str, pins: str, upgrade: bool) -> str:
    """Return the text of a role's requirements file. `pins` is the earlier text, whose versions are kept if possible.

    Raises:
        subprocess.CalledProcessError: uv found no set of versions, or no package index.
    """
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        output, build_in = Path(folder, f"{role}.txt"), Path(folder, "build.in")
        output.write_text(pins)
        build_in.write_text("\n".join(build) + "\n")  # locked too, so that `pip install --no-build-isolation -e .` downloads nothing
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-annotate", "--no-header", "--output-file", str(output)]
        command += [] if role == "dev" else ["--constraint", str(FOLDER / "dev.txt")]
        command += [flag for extra in ROLES[role] for flag in ("--extra", extra)]
        command += ["--upgrade"] if upgrade else []
        environment = os.environ | as_uv_reads_it(pip_settings())  # noqa: TID251 (a tool's own door)
        subprocess.run([*command, "pyproject.toml", str(build_in)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
        return header(role) + without_header(output.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description="Write or check requirements/*.txt.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("roles", nargs="*", metavar="role", help=f"any of {', '.join(ROLES)}; all when none is named")
    arguments = parser.parse_args()
    if find_spec("uv") is None:
        sys.exit("uv is not installed here: run `make setup`")
    drifted = False
    for role in arguments.roles or ROLES:
        file = FOLDER / f"{role}.txt"
        committed = file.read_text() if file.exists() else ""
        wanted = compile_role(role, without_header(committed), arguments.upgrade)
        if wanted == committed:
            continue
        if arguments.check:
            drifted = True
            difference = list(
                unified_diff(committed.splitlines(), wanted.splitlines(), f"{file.name} (committed)", "wanted", n=0, lineterm="")
            )
            print("\n".join(difference[:40]))
            print(f"requirements/{file.name} does not match pyproject.toml: run `make requirements`")
        else:
            file.write_text(wanted)
            print(f"wrote requirements/{file.name}: {wanted.count('==')} packages")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
