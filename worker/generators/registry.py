"""Maps each capability to its generator. A new generator needs one file beside this one, and one line here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable

if TYPE_CHECKING:
    from worker.generators.base import Generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratorEntry:
    """Says what the rest of the worker must know about a generator.

    Attributes:
        target: Where it is, as `module:Class`.
        extra: The extra of pyproject.toml that installs its libraries.
        needs: The libraries that must be installed.
        probe: A module that imports them in a process of its own and prints their versions as JSON. Without one, they count as there if
            they are installed.
    """

    target: str
    extra: str = ""
    needs: tuple[str, ...] = ()
    probe: str = ""


_TRANSFORMERS = GeneratorEntry(
    "worker.generators.transformers:TransformersGenerator",
    "transformers",
    ("torch", "transformers", "tokenizers", "safetensors"),
    probe="worker.generators.transformers_probe",
)
GENERATORS: dict[str, GeneratorEntry] = {
    "cpu.torch": _TRANSFORMERS,
    "gpu.cuda.torch": _TRANSFORMERS,
    # Follows a known schedule, so that tests can check what the measured process reports. No worker advertises it.
    "fake": GeneratorEntry("worker.generators.fake:FakeGenerator"),
}


def resolve(capability: str) -> type[Generator]:
    """Import and return the generator class of a capability.

    Raises:
        EngineUnavailable: No generator runs this capability, or its library is not installed.
    """
    entry = GENERATORS.get(capability)
    if entry is None:
        raise EngineUnavailable(f"no language model runs on {capability!r} here. Known: {', '.join(GENERATORS)}")
    for library in entry.needs:
        if find_spec(library) is None:
            from shared.installation import how_to_install  # imported here, because the guard imports this module

            raise EngineUnavailable(
                f"a language model on {capability} needs {library}, which is not installed: {how_to_install(entry.extra)}"
            )
    module, _, name = entry.target.partition(":")
    generator: type[Generator] = getattr(import_module(module), name)
    return generator


def libraries(capability: str) -> Mapping[str, str] | None:
    """Return the versions of the libraries of a capability's generator, or None if it cannot be used here. The answer is remembered."""
    entry = GENERATORS.get(capability)
    if entry is None or not all(find_spec(library) for library in entry.needs):
        return None
    return _probed(entry) if entry.probe else dict.fromkeys(entry.needs, "")


@cache
def _probed(entry: GeneratorEntry) -> Mapping[str, str] | None:
    """Import the libraries once in a process of their own: an installed library may not import, and importing takes seconds."""
    from worker.hardware.short_process import answer_of  # imported here, because the guard imports this module

    answer = answer_of(entry.probe, what=entry.extra, library=entry.needs[-1])
    if answer.get("error"):
        log.warning("language models cannot run here: %s", answer["error"])
        return None
    return dict(answer["versions"])
