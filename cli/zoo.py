"""Makes the networks that are known by name, on first use and without a download.

The light graphs are published networks of the ONNX model zoo, in the form that the `onnx` package contains. Their graphs are real, but the
graph itself generates constant weights. They are suitable for measuring latency, load time and memory, but not accuracy.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from shared.errors import FleetmarkError, InvalidInput
from shared.installation import how_to_install

# Maps the name of a network to a file in the test data of the onnx package.
LIGHT_GRAPHS = {
    "alexnet": "light_bvlc_alexnet",
    "densenet121": "light_densenet121",
    "inception_v1": "light_inception_v1",
    "inception_v2": "light_inception_v2",
    "resnet50": "light_resnet50",
    "shufflenet": "light_shufflenet",
    "squeezenet": "light_squeezenet",
    "vgg19": "light_vgg19",
    "zfnet512": "light_zfnet512",
}
SMALL_BYTES = 2**20  # no network of this list stores its weights in so few bytes
TINY_YOLO = "tiny-yolov2"
NAMES = sorted([*LIGHT_GRAPHS, TINY_YOLO])


class ZooUnavailable(FleetmarkError):
    """Is raised when the package that contains or builds the networks is not installed."""


def is_known(name: str) -> bool:
    return name in NAMES


def remark(file: Path) -> str:
    """Return why the file of a light graph is so small, as a part of a sentence; empty for every other file."""
    is_light = file.stem in LIGHT_GRAPHS and file.stat().st_size < SMALL_BYTES
    return "the published graph, which makes its weights when it is loaded" if is_light else ""


def make(name: str, folder: Path, say: Callable[[str], None]) -> Path:
    """Return the file of a network. It is made in `folder` if it is not there yet.

    Args:
        say: is called with a one-line message when a file is made.

    Raises:
        InvalidInput: no network has that name.
        ZooUnavailable: the `onnx` package is missing.
    """
    if not is_known(name):
        raise InvalidInput(f"no network is known by the name {name!r}. Known: {', '.join(NAMES)}")
    file = folder / f"{name}.onnx"
    if file.exists():
        return file
    package = find_spec("onnx")
    if package is None or package.origin is None:
        raise ZooUnavailable(f"the network {name!r} comes with the extra 'onnx': {how_to_install('onnx')}")
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Making {file.name} (once)")
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        made = Path(unfinished, file.name)
        if name == TINY_YOLO:
            from cli.tiny_yolo import write_tiny_yolo  # imported here because onnx and numpy take half a second

            write_tiny_yolo(made)
        else:
            shutil.copyfile(Path(package.origin).parent / "backend" / "test" / "data" / "light" / f"{LIGHT_GRAPHS[name]}.onnx", made)
        made.replace(file)  # a rename, so that no other process sees an incomplete file
    return file
