"""Runs the tests of the queue reader with the lowest and with the highest Celery, kombu and redis-py that pyproject.toml allows.

    python -m tools.celery_versions            tests both
    python -m tools.celery_versions lowest     tests one of them; further arguments go to pytest

Each of the two has a small environment (`.venv-celery-lowest`, `.venv-celery-highest`) with the three packages and their dependencies. All
other packages come from the environment that runs this script.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("celery", "kombu", "redis")
BOUNDS = {"lowest": ">=", "highest": "<="}
# The tests that use a real queue reader, or read what it writes.
TESTS = [
    *("tests/unit/worker/agent/test_envelope.py", "tests/contracts/test_dispatch_queues.py"),
    *(
        f"tests/integration/test_{name}.py"
        for name in ("queue_reader", "full_redis", "worker_queues", "worker_outages", "worker_quarantine")
    ),
    *(f"tests/integration/test_{name}.py" for name in ("worker_outbox", "worker_flower", "worker")),
]


def allowed() -> dict[str, Requirement]:
    """Return the requirements in pyproject.toml for `PACKAGES`, by name."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = {requirement.name: requirement for requirement in map(Requirement, wanted)}
    return {name: found[name] for name in PACKAGES}


def version_at(end: str, requirement: Requirement) -> str:
    """Return the lowest or the highest allowed version of a package.

    Raises:
        ValueError: pyproject.toml does not set this bound.
    """
    bounds = [bound.version for bound in requirement.specifier if bound.operator == BOUNDS[end]]
    if len(bounds) != 1:
        raise ValueError(f"pyproject.toml must name the {end} version of {requirement.name} with {BOUNDS[end]}; it says {requirement}")
    return bounds[0]


def environment(end: str) -> Path:
    """Return the interpreter of one environment. The environment is made if it is missing or has other versions."""
    folder = ROOT / f".venv-celery-{end}"
    python = folder / "bin" / "python"
    pins = [
        f"{requirement.name}{'[hiredis]' if requirement.extras else ''}=={version_at(end, requirement)}"
        for requirement in allowed().values()
    ]
    stamp = folder / "pins.txt"
    if not stamp.is_file() or stamp.read_text() != "\n".join(pins):
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True, cwd=folder)
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
        ).stdout.strip()
        # A .pth file adds its folder after the environment's own packages, so those take precedence.
        Path(own, "others.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        stamp.write_text("\n".join(pins))
    return python


def main() -> int:
    ends = [word for word in sys.argv[1:] if word in BOUNDS] or list(BOUNDS)
    more = [word for word in sys.argv[1:] if word not in BOUNDS]
    failed = []
    for end in ends:
        python = environment(end)
        print(f"== {end}: {', '.join(f'{name} {version_at(end, requirement)}' for name, requirement in allowed().items())}", flush=True)
        check = "from importlib.metadata import version; print(*(version(name) for name in " + repr(PACKAGES) + "))"
        print(
            "   installed:",
            subprocess.run([python, "-c", check], check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip(),
            flush=True,
        )
        if subprocess.run([python, "-m", "pytest", *TESTS, *more], check=False, cwd=ROOT).returncode != 0:
            failed.append(end)
    for end in failed:
        print(f"the tests fail with the {end} versions", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
