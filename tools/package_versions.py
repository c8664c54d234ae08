"""Runs the tests of a package's users with the lowest and with the highest version of it that pyproject.toml allows.

    python -m tools.package_versions celery                Celery, kombu and redis-py: the tests of the queue reader, at both ends
    python -m tools.package_versions celery lowest         one end; further arguments go to pytest
    python -m tools.package_versions onnxruntime           ONNX Runtime: the tests of the ONNX engine, at its lowest version

Each end has a small environment (such as `.venv-celery-lowest`) with the packages and their dependencies. All other packages come from the
environment that runs this script.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BOUNDS = {"lowest": ">=", "highest": "<="}


@dataclass(frozen=True)
class Suite:
    """Describes the packages whose versions are tried together, and the tests that use them.

    Attributes:
        extra: The extra of pyproject.toml that requires the packages. Empty for the requirements that every installation has.
        ends: The ends of the allowed range that are tried. A package without an upper bound has only a lowest version.
    """

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    ends: tuple[str, ...]
    extra: str = ""

    def allowed(self) -> dict[str, Requirement]:
        """Return the requirements in pyproject.toml for the packages, by name."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = project["optional-dependencies"][self.extra] if self.extra else project["dependencies"]
        found = {requirement.name: requirement for requirement in map(Requirement, wanted)}
        return {name: found[name] for name in self.packages}

    def pins(self, end: str) -> list[str]:
        """Return what pip installs for one end."""
        return [f"{one.name}{'[hiredis]' if one.extras else ''}=={version_at(end, one)}" for one in self.allowed().values()]


SUITES = {
    "celery": Suite(  # the tests that use a real queue reader, or read what it writes
        packages=("celery", "kombu", "redis"),
        ends=("lowest", "highest"),
        tests=(
            *("tests/unit/worker/agent/test_envelope.py", "tests/contracts/test_dispatch_queues.py"),
            *(
                f"tests/integration/test_{name}.py"
                for name in ("queue_reader", "tracking", "full_redis", "worker_queues", "worker_outages", "worker_quarantine")
            ),
            *(f"tests/integration/test_{name}.py" for name in ("worker_outbox", "worker_flower", "worker")),
        ),
    ),
    "onnxruntime": Suite(  # the engine, its inputs and errors, and a worker that measures with it
        packages=("onnxruntime",),
        ends=("lowest",),
        extra="onnx",
        tests=(
            *("tests/unit/worker/engines", "tests/contracts/test_engines.py", "tests/accuracy/test_measured_process.py"),
            *(f"tests/integration/test_{name}.py" for name in ("worker", "worker_models", "worker_model_contents")),
        ),
    ),
}


def version_at(end: str, requirement: Requirement) -> str:
    """Return the lowest or the highest allowed version of a package.

    Raises:
        ValueError: pyproject.toml does not set this bound.
    """
    bounds = [bound.version for bound in requirement.specifier if bound.operator == BOUNDS[end]]
    if len(bounds) != 1:
        raise ValueError(f"pyproject.toml must name the {end} version of {requirement.name} with {BOUNDS[end]}; it says {requirement}")
    return bounds[0]


def environment(name: str, end: str) -> Path:
    """Return the interpreter of one environment. The environment is made if it is missing or has other versions."""
    folder = ROOT / f".venv-{name}-{end}"
    python = folder / "bin" / "python"
    pins = SUITES[name].pins(end)
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
    name, *words = sys.argv[1:] or [""]
    if name not in SUITES:
        print(f"name what to try: {' or '.join(SUITES)}", file=sys.stderr)
        return 2
    suite = SUITES[name]
    ends = [word for word in words if word in BOUNDS] or suite.ends
    more = [word for word in words if word not in BOUNDS]
    failed = []
    for end in ends:
        python = environment(name, end)
        check = f"from importlib.metadata import version; print(*(f'{{name}} {{version(name)}}' for name in {suite.packages!r}), sep=', ')"
        installed = subprocess.run([python, "-c", check], check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()
        print(f"== {end}: {', '.join(suite.pins(end))}; installed: {installed}", flush=True)
        if subprocess.run([python, "-m", "pytest", *suite.tests, *more], check=False, cwd=ROOT).returncode != 0:
            failed.append(end)
    for end in failed:
        print(f"the tests fail with the {end} version of {', '.join(suite.packages)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
