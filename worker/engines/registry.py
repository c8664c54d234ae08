"""Maps each capability to its engine. A new engine needs one file beside this one, one line here, and one extra."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable

if TYPE_CHECKING:
    from worker.engines.base import Engine


@dataclass(frozen=True)
class EngineEntry:
    """Says where an engine is (`module:Class`), which extra installs its library, and which modules the guard imports before it forks.

    It must be safe to fork after importing the modules of `preload`. So they must not touch a CUDA device or start threads that a child
    needs. `suffixes` are the endings of the engine's model files; `file://` opens no other files of a device.
    """

    target: str
    extra: str = ""
    preload: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = (".onnx",)


_ONNX = EngineEntry("worker.engines.onnx:OnnxEngine", extra="onnx", preload=("numpy", "onnxruntime"))
_ONNX_CUDA = EngineEntry("worker.engines.onnx:OnnxEngine", extra="onnx-cuda", preload=("numpy", "onnxruntime"))

ENGINES: dict[str, EngineEntry] = {
    "cpu.onnx": _ONNX,
    "gpu.cuda.onnx": _ONNX_CUDA,
    "gpu.rocm.onnx": _ONNX,
    "gpu.directml.onnx": _ONNX,
    # Follows a known schedule, so that tests can check what the measured process reports. No worker advertises it.
    "fake": EngineEntry("worker.engines.fake:FakeEngine", suffixes=(".json",)),
}


def entry_of(capability: str) -> EngineEntry:
    """Return the entry of a capability.

    Raises:
        EngineUnavailable: No engine runs this capability.
    """
    entry = find_entry(capability)
    if entry is None:
        raise EngineUnavailable(f"no engine runs {capability!r} here. Known: {', '.join(ENGINES)}")
    return entry


def find_entry(capability: str) -> EngineEntry | None:
    """Return the entry of a capability: our own, or that of another installed package (see `shared.plugins`). None if there is none."""
    return ENGINES.get(capability) or _of_package(capability)


@cache
def _of_package(capability: str) -> EngineEntry | None:
    from shared.plugins import engines_of_packages  # imported here: most processes of ours never look for other packages

    point = engines_of_packages().get(capability)
    if point is None:
        return None
    try:
        entry = point.load()
    except Exception as error:
        raise EngineUnavailable(f"the engine of {capability} cannot be imported: {point.value}: {type(error).__name__}: {error}") from error
    if not isinstance(entry, EngineEntry):
        raise EngineUnavailable(f"the engine of {capability} is described by no EngineEntry: {point.value} is a {type(entry).__name__}")
    return entry


def resolve(capability: str) -> type[Engine]:
    """Import and return the engine class of a capability.

    Raises:
        EngineUnavailable: No engine runs this capability, or its library is not installed.
    """
    entry = entry_of(capability)
    for library in entry.preload:
        if find_spec(library) is None:
            raise EngineUnavailable(missing_extra(capability))
    module, _, name = entry.target.partition(":")
    engine: type[Engine] = getattr(import_module(module), name)
    return engine


def model_suffixes(capability: str) -> tuple[str, ...]:
    """Return the endings of a capability's model files. For a capability without an engine here, return the default endings."""
    entry = find_entry(capability)
    return entry.suffixes if entry is not None else EngineEntry.suffixes


def missing_extra(capability: str) -> str:
    """Return a sentence for a capability whose library is missing: which extra it needs, and the command that installs it here."""
    from shared.installation import how_to_install  # imported here because the guard imports this module, and its memory is the baseline

    extra = entry_of(capability).extra
    return f"{capability} needs the extra {extra!r}: {how_to_install(extra)}"


def preloadable() -> list[str]:
    """Return the installed modules that the guard should import once, before any job."""
    wanted = dict.fromkeys(
        module for entry in ENGINES.values() if entry.extra for module in (*entry.preload, entry.target.partition(":")[0])
    )
    return [module for module in wanted if _installed(module)]


def _installed(module: str) -> bool:
    if not module.startswith("worker.engines."):
        return find_spec(module) is not None
    entries = [entry for entry in ENGINES.values() if entry.target.startswith(f"{module}:")]
    return all(find_spec(library) is not None for entry in entries for library in entry.preload)
