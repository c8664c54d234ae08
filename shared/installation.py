"""Says how this installation of Fleetmark is extended and called, so that the commands in messages work where the user stands.

No index publishes a package of the name `fleetmark`, so `pip install 'fleetmark[onnx]'` would fail. The right command depends on how this
copy came here: a clone, an image, or a wheel.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

ROOT = Path(__file__).resolve().parent.parent  # the folder of the packages: a clone, or `site-packages`
SHIPPED = ROOT / "recipes"  # the recipes that come with Fleetmark
IMAGE = ".fleetmark-image"  # a file that our Dockerfiles write into the environment; it names the Dockerfile

# Maps an extra to the file of requirements that contains it, and to the Dockerfile that installs that file.
IMAGES = {
    "orchestrator": ("orchestrator", "orchestrator.Dockerfile"),
    "worker": ("worker-cpu", "worker.Dockerfile"),
    "onnx": ("worker-cpu", "worker.Dockerfile"),
    "onnx-cuda": ("worker-cuda", "worker.Dockerfile"),
    "embedded": ("demo", "orchestrator.Dockerfile"),
}


def how_to_install(extra: str) -> str:
    """Return the command that adds an extra of pyproject.toml to this installation."""
    if (Path(sys.prefix) / IMAGE).exists() and extra in IMAGES:
        role, file = IMAGES[extra]
        return f"build the image again, in a clone: docker build -f deploy/docker/{file} --build-arg ROLE={role} ."
    installed = _distribution()
    clone = _clone(installed)
    if clone is not None:
        editable = ["-e"] if clone == ROOT else []
        return _pip(*editable, f"{'.' if clone == Path.cwd() else clone}[{extra}]")
    return _pip(*_libraries(installed, extra))


def how_to_install_library(name: str) -> str:
    """Return the command that adds a library from the package index to this installation."""
    return _pip(name)


def how_to_call(*arguments: str) -> str:
    """Return what the user types to run `fleetmark` of this installation, followed by `arguments` as they are.

    It is `fleetmark` if the shell finds this installation's program under that name, and a path to the program otherwise.
    """
    program = Path(sys.executable).parent / ("fleetmark.exe" if os.name == "nt" else "fleetmark")
    found = shutil.which("fleetmark")
    if found is not None and program.exists() and Path(found).resolve() == program.resolve():
        name = "fleetmark"
    elif program.exists():
        name = _quoted([_shown(program)])
    else:
        name = _quoted([_shown(Path(sys.executable)), "-P", "-m", "cli.main"])
    return " ".join([name, *arguments])


def in_clone() -> bool:
    """Return whether the code runs from a clone, not from an installed package."""
    return _is_clone(ROOT)


def shown_recipe(name: str) -> str:
    """Return the path of a recipe that comes with Fleetmark, as the user would type it."""
    return _quoted([_shown(SHIPPED / name)])


def _pip(*arguments: str) -> str:
    python = Path(sys.executable)
    pip = python.parent / ("pip.exe" if os.name == "nt" else "pip")
    if find_spec("pip") is None:  # uv makes environments without pip
        return _quoted(["uv", "pip", "install", "--python", _shown(python), *arguments])
    if pip.exists() and sys.prefix != sys.base_prefix:
        return _quoted([_shown(pip), "install", *arguments])
    return _quoted([_shown(python), "-m", "pip", "install", *arguments])


def _shown(path: Path) -> str:
    """Return a path as the user would type it: relative to the current folder if it is inside. Symbolic links stay as they are."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _quoted(words: list[str]) -> str:
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _distribution() -> Distribution | None:
    """Return what is installed under the name `fleetmark`. None if the code runs from a folder that was never installed."""
    from importlib.metadata import PackageNotFoundError, distribution  # this and the imports below are slow, and only advice needs them

    try:
        return distribution("fleetmark")
    except PackageNotFoundError:
        return None


def _clone(installed: Distribution | None) -> Path | None:
    """Return the clone that this copy runs from, or that it was installed from. None if there is none, or if it is gone."""
    if _is_clone(ROOT):
        return ROOT
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    # PEP 610: pip and uv write here where they took a package from, unless they found it in an index by its name.
    origin = json.loads((installed.read_text("direct_url.json") if installed is not None else None) or "{}")
    url = urlsplit(origin.get("url", ""))
    if "dir_info" not in origin or url.scheme != "file":
        return None
    folder = Path(url2pathname(url.path))
    return folder if _is_clone(folder) else None


def _is_clone(folder: Path) -> bool:
    return (folder / "pyproject.toml").exists() and (folder / "shared" / "installation.py").exists()


def _libraries(installed: Distribution | None, extra: str) -> list[str]:
    """Return the requirements that an extra adds on this system. They can be installed by name, because an index has them."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in (installed.requires if installed is not None else None) or []]
    chosen = [
        one for one in wanted if one.marker is not None and not one.marker.evaluate({"extra": ""}) and one.marker.evaluate({"extra": extra})
    ]
    for one in chosen:
        one.marker = None
    return [str(one) for one in chosen]
