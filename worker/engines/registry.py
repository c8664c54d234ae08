"""Maps each capability to its engine. A new engine needs one file beside this one, one line here, and one extra.

Nothing else in the worker asks for a capability by its name. What depends on it is said by its entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable
from worker import plug_ins
from worker.engines.base import Engine, Options

if TYPE_CHECKING:
    from worker.hardware import Hardware

    Trial = Callable[[str, Path], Path | None]

# These options describe the inputs of a model. The common code of the inputs takes care of them, whatever the engine.
OF_INPUTS = frozenset({"batch_size", "shapes", "dims", "values", "seed"})


@dataclass(frozen=True)
class EngineEntry:
    """Says everything about an engine that the rest of the worker must know. Functions and classes are named as `module:name`.

    Attributes:
        target: The class of the engine.
        present: A function that gets a capability and the `Hardware`. It returns why the capability cannot be used here, or an empty
            text if it really can. It is called often, so what takes long must be remembered.
        extra: The extra of pyproject.toml that installs the engine's libraries. An engine of another package has none.
        needs: The libraries that must be installed, the runtime last.
        preload: The modules that are imported before anything is measured: by the guard before it forks, or by each spawned process.
        forks: Whether the measured processes may be forked from a guard that has imported `preload`. Then these modules must neither
            touch a device when they are imported, nor start threads that a child needs. Otherwise each one is a new interpreter.
        environment: Environment variables of the measured processes.
        options: The options of a recipe that the engine knows, beside those of the inputs. All others are refused.
        suffixes: The endings of the engine's model files. By `file://` a worker opens no other files of its device.
        unloads: Whether the engine has files of its own on the disk, which go when it is unloaded. Any other engine lives until its process
            ends: to free a session takes milliseconds, and a runtime may crash meanwhile.
        trial: A function that gets a capability and a folder. It writes a tiny model there for `worker test`, and returns its path. It
            returns None if no such model can be made here.
    """

    target: str
    present: str = ""
    extra: str = ""
    needs: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    forks: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = (".onnx",)
    unloads: bool = False
    trial: str = ""


def _onnx(extra: str) -> EngineEntry:
    return EngineEntry(
        "worker.engines.onnx:OnnxEngine",
        present="worker.engines.onnx_presence:why_not",
        extra=extra,
        needs=("numpy", "onnxruntime"),
        preload=("numpy", "onnxruntime"),
        options=frozenset({"providers", "threads", "inter_threads", "graph"}),
        trial="worker.engines.onnx_presence:write_trial_model",
    )


_TORCH = EngineEntry(
    "worker.engines.torch:TorchEngine",
    present="worker.engines.torch_presence:why_not",
    extra="torch",
    needs=("numpy", "torch"),
    preload=("numpy", "torch", "torch.export", "torch.export.pt2_archive._package"),
    forks=False,  # torch starts pools of threads, and CUDA refuses to work in a forked process
    environment={
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # no pickle inside a model's archive may run code
        "PYTORCH_ENABLE_MPS_FALLBACK": "0",  # otherwise the CPU computes what the GPU of a Mac cannot
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # each process compiles anew, so that all repeats do the same
    },
    options=frozenset({"threads", "inter_threads", "dtype", "compile"}),
    suffixes=(".pt2", ".pt", ".pts"),
    trial="worker.engines.torch_presence:write_trial_model",
)
_COREML = EngineEntry(
    "worker.engines.coreml:CoremlEngine",
    present="worker.engines.coreml_presence:why_not",
    extra="coreml",
    preload=("numpy", "onnxruntime", "coremltools"),  # one of the two runtimes is enough
    forks=False,
    options=frozenset({"threads", "graph"}),  # only the ONNX Runtime has these; the engine refuses them for CoreML's own models
    suffixes=(".mlpackage", ".mlmodel", ".onnx"),
    unloads=True,
    trial="worker.engines.coreml_presence:write_trial_model",
)

ENGINES: dict[str, EngineEntry] = {
    "cpu.onnx": _onnx("onnx"),
    "gpu.cuda.onnx": _onnx("onnx-cuda"),
    "gpu.rocm.onnx": _onnx("onnx"),
    "gpu.directml.onnx": _onnx("onnx-directml"),
    "gpu.coreml": _COREML,
    "ane.coreml": _COREML,
    "cpu.coreml": _COREML,
    "cpu.torch": _TORCH,
    "gpu.cuda.torch": _TORCH,
    "gpu.mps.torch": _TORCH,
    # This engine follows a known schedule, so that tests can check what the measured process reports. No worker advertises it.
    "fake": EngineEntry(
        "worker.engines.fake:FakeEngine", suffixes=(".json",), options=frozenset(one.name for one in fields(Options)) - OF_INPUTS
    ),
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
    except (Exception, SystemExit) as error:  # the package is not ours, and its code may raise anything
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
    for library in entry.needs:
        if find_spec(library) is None:
            raise EngineUnavailable(_missing(capability, library))
    engine: type[Engine] = plug_ins.implementing(Engine, entry.target)
    return engine


def check_options(capability: str, options: Options) -> None:
    """Check that the engine of a capability knows every option that is set. An option that it would ignore must not be in a result.

    Raises:
        EngineUnavailable: It does not know one of them.
    """
    known = entry_of(capability).options | OF_INPUTS
    for one in fields(options):
        value = getattr(options, one.name)
        if value is not None and one.name not in known:
            takers = [name for name, entry in ENGINES.items() if one.name in entry.options and entry.extra]
            elsewhere = f"or measure on {' or '.join(takers)}" if takers else "because it is for language models"
            raise EngineUnavailable(f"options.{one.name} is {value!r}, but {capability} has no such option: leave it out, {elsewhere}")


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why a capability cannot be used on this device, or an empty text if it really can."""
    try:
        entry = find_entry(capability)
    except EngineUnavailable as error:
        return error.detail
    if entry is None:
        return "this version has no engine for it"
    if not entry.present:
        return "its EngineEntry names no function `present`, which finds out whether it is really there"
    return plug_ins.why_not(entry.present, capability, hardware)


def write_trial_model(capability: str, folder: Path) -> Path | None:
    """Write a tiny model that the engine of a capability can measure. Returns None if none can be made here, or if no engine is needed."""
    entry = find_entry(capability)
    write: Trial | None = plug_ins.named(entry.trial) if entry is not None and entry.trial else None
    return write(capability, folder) if write is not None else None


def model_suffixes(capability: str) -> tuple[str, ...]:
    """Return the endings of a capability's model files. For a capability without an engine here, return the default endings."""
    entry = find_entry(capability)
    return entry.suffixes if entry is not None else EngineEntry.suffixes


def missing_extra(capability: str) -> str:
    """Return a sentence for a capability whose library is missing: which extra it needs, and the command that installs it here."""
    from shared.installation import how_to_install  # imported here because the guard imports this module, and its memory is the baseline

    extra = entry_of(capability).extra
    return f"{capability} needs the extra {extra!r}: {how_to_install(extra)}"


def _missing(capability: str, library: str) -> str:
    if entry_of(capability).extra:
        return missing_extra(capability)
    return f"{capability} needs {library}, which is not installed: install it, or install the package with this engine again"


def first_installed() -> str:
    """Return the first capability whose libraries are installed. If none is, return the first one."""
    return next((name for name, entry in ENGINES.items() if all(find_spec(library) for library in entry.needs)), next(iter(ENGINES)))


def preloadable(capability: str) -> list[str]:
    """Return the installed modules that are imported before the engine of a capability measures."""
    entry = entry_of(capability)
    if not all(_installed(library) for library in entry.needs):
        return []
    return [module for module in (*entry.preload, entry.target.partition(":")[0]) if _installed(module)]


def _installed(module: str) -> bool:
    return find_spec(module.partition(".")[0]) is not None
