"""Installs a package for a test, as pip would: a module, and beside it what says which engines, tasks or scorers the package brings."""

from __future__ import annotations

from pathlib import Path

# This is a whole engine in one file. It needs no library: its model is a text, and one inference counts the words of it.
TOY = """
from __future__ import annotations

from worker.engines.base import Facts, InputSpec
from worker.engines.registry import EngineEntry
from shared.errors import ModelInvalid


class ToyEngine:
    def load(self, model, options, capability):
        try:
            self.text = model.read_text()
        except (OSError, ValueError) as error:
            raise ModelInvalid(f"{model.name} is no text: {error}") from error

    def signature(self):
        return [InputSpec("x", "float", (1,))]

    def limits(self, shapes):
        return {}

    def bind(self, inputs):
        return self.text.split

    def facts(self):
        return Facts({"runtime": "toy", "version": "1.0", "words": len(self.text.split()), "inputs": []}, {"toy": "1.0"})

    def explain(self, error):
        return None

    def unload(self):
        del self.text


def why_not(capability, hardware):
    return ""


ENTRY = EngineEntry("toy_engine:ToyEngine", present="toy_engine:why_not", suffixes=(".txt",))
"""


def install(
    folder: Path,
    entry_points: dict[str, str],
    source: str = TOY,
    package: str = "toys",
    *,
    group: str = "fleetmark.engines",
    module: str = "toy_engine",
) -> Path:
    """Write a package into a folder. Python finds it when the folder is on its path.

    Args:
        entry_points: What the package brings: the name, such as a capability, and where its entry is. A name may begin with a group of its
            own, as in `fleetmark.tasks/mine`.
    """
    described = folder / f"{package}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups: dict[str, list[str]] = {}
    for name, where in entry_points.items():
        own, _, rest = name.rpartition("/")
        groups.setdefault(own or group, []).append(f"{rest} = {where}")
    text = "".join("\n".join([f"[{one}]", *lines, ""]) for one, lines in groups.items())
    (described / "entry_points.txt").write_text(text)
    (folder / f"{module}.py").write_text(source)
    return folder
