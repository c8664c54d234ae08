"""Maps each capability to its generator. A new generator needs one file beside this one, and one line here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from shared.errors import EngineUnavailable
from worker import plug_ins
from worker.engines.registry import ENGINES
from worker.generators.base import OPTIONS, Generator

if TYPE_CHECKING:
    from worker.hardware import Hardware

OF_ALL = frozenset({"batch_size", "seed"})  # these options describe the prompts, whatever the generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratorEntry:
    """Says what the rest of the worker must know about a generator.

    Attributes:
        target: Where it is, as `module:Class`.
        extra: The extra of pyproject.toml that installs its libraries.
        needs: The libraries that must be installed, the runtime last.
        present: A function that gets a capability and the `Hardware`. It returns why the capability cannot be used here, or an empty
            text if it really can. It is called often, so what takes long must be remembered.
        forks: Whether the measured processes may be forked from a guard. Otherwise each one is a new interpreter.
        environment: Environment variables of the measured processes.
        options: The options of a recipe that it knows, besides the batch and the seed. All others are refused.
        attention: Whether a recipe may choose the implementation of the attention.
        probe: A module that imports them in a process of its own and prints their versions as JSON. Without one, they count as there if
            they are installed.
    """

    target: str
    extra: str = ""
    needs: tuple[str, ...] = ()
    present: str = ""
    probe: str = ""
    forks: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset()
    attention: bool = False


_TRANSFORMERS = GeneratorEntry(
    "worker.generators.transformers:TransformersGenerator",
    extra="transformers",
    needs=("safetensors", "tokenizers", "torch", "transformers"),
    present="worker.engines.torch_presence:why_not",
    probe="worker.generators.transformers_probe",
    environment=ENGINES["cpu.torch"].environment,
    options=frozenset({"threads", "inter_threads", "dtype", "compile"}),
    attention=True,
)
_VLLM = GeneratorEntry(
    "worker.generators.vllm:VllmGenerator",
    extra="vllm",
    needs=("torch", "vllm"),
    present="worker.generators.vllm_presence:why_not",
    probe="worker.generators.vllm_probe",
    environment={
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in the measured process: see docs/decisions/0043
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # several devices take a process each, and CUDA refuses to work in a forked one
        "VLLM_DISABLE_COMPILE_CACHE": "1",  # each process compiles anew, so that all repeats do the same
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",  # otherwise it prints while it is measured
        "VLLM_LOG_STATS_INTERVAL": "86400",
    },
    options=frozenset({"threads", "dtype", "compile", "tensor_parallel_size", "max_model_len", "gpu_memory_utilization"}),
)
GENERATORS: dict[str, GeneratorEntry] = {
    "cpu.torch": _TRANSFORMERS,
    "gpu.cuda.torch": _TRANSFORMERS,
    "gpu.mps.torch": _TRANSFORMERS,
    "cpu.vllm": _VLLM,
    "gpu.cuda.vllm": _VLLM,
    # Follows a known schedule, so that tests can check what the measured process reports. No worker advertises it.
    "fake": GeneratorEntry("worker.generators.fake:FakeGenerator", forks=True, options=frozenset(OPTIONS) - OF_ALL, attention=True),
}


def entry_of(capability: str) -> GeneratorEntry:
    """Return the entry of a capability.

    Raises:
        EngineUnavailable: No generator runs this capability.
    """
    entry = GENERATORS.get(capability)
    if entry is None:
        raise EngineUnavailable(f"no language model runs on {capability!r} here. Known: {', '.join(GENERATORS)}")
    return entry


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why no language model can run on a capability here, or an empty text if one really can."""
    entry = entry_of(capability)
    if missing := _missing(capability):
        return missing
    return plug_ins.why_not(entry.present, capability, hardware) if entry.present else "no device offers it"


def check_settings(capability: str, spec: Mapping[str, Any]) -> None:
    """Check that the generator of a capability knows every option that a specification sets.

    Raises:
        EngineUnavailable: It does not know one of them.
    """
    entry = entry_of(capability)
    unknown = [
        (f"options.{name}", value, [one for one, other in GENERATORS.items() if name in other.options and other.extra])
        for name in OPTIONS
        if (value := spec["options"].get(name)) is not None and name not in entry.options | OF_ALL
    ]
    if (attention := spec["decoding"].get("attention")) is not None and not entry.attention:
        unknown.append(("decoding.attention", attention, [one for one, other in GENERATORS.items() if other.attention and other.extra]))
    for name, value, takers in unknown:
        raise EngineUnavailable(
            f"{name} is {value!r}, but language models on {capability} have no such option: leave it out, or measure on "
            f"{' or '.join(takers)}"
        )


def resolve(capability: str) -> type[Generator]:
    """Import and return the generator class of a capability.

    Raises:
        EngineUnavailable: No generator runs this capability, or its library is not installed.
    """
    entry = entry_of(capability)
    if missing := _missing(capability):
        raise EngineUnavailable(missing)
    generator: type[Generator] = plug_ins.implementing(Generator, entry.target)
    return generator


def _missing(capability: str) -> str:
    """Return a sentence about the first library that is not installed, or an empty text if all are."""
    entry = entry_of(capability)
    for library in entry.needs:
        if find_spec(library) is None:
            from shared.installation import how_to_install  # imported here, because the guard imports this module

            return f"a language model on {capability} needs {library}, which is not installed: {how_to_install(entry.extra)}"
    return ""


def libraries(capability: str) -> Mapping[str, str] | None:
    """Return the versions of the libraries of a capability's generator, or None if it cannot be used here. The answer is remembered."""
    entry = GENERATORS.get(capability)
    if entry is None or not all(find_spec(library) for library in entry.needs):
        return None
    if not entry.probe:
        return dict.fromkeys(entry.needs, "")
    from worker.generators.probes import answer_once  # imported here, because the guard imports this module

    answer = answer_once(entry.probe, what=entry.extra, library=entry.needs[-1])
    if answer.get("error"):
        log.warning("language models cannot run here: %s", answer["error"])
        return None
    return dict(answer["versions"])
