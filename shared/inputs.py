"""Defines the inputs of a job: a file with the files beside it, each identified by its content."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.content import Content, beside, content_hash
from shared.external_data import VALUE_FILES, is_inside
from shared.names import OneLine
from shared.strict import Strict

INPUTS_SHA256 = "inputs_sha256"  # a key of what the runtime reports: the content of each input, besides the model, that nobody promised


def _relative(name: str) -> str:
    if not is_inside(name):
        raise ValueError(f"{name!r:.300} is no relative path inside the model's own folder, written with `/`")
    return beside(name)


class Companion(Strict):
    """Describes a file in the model's folder that the model needs, such as ONNX external data. It is identified by its SHA-256."""

    name: Annotated[str, AfterValidator(_relative)] = Field(
        min_length=1, max_length=4096, description="the path of the file, from the model's folder"
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


def _each_name_once(companions: tuple[Companion, ...]) -> tuple[Companion, ...]:
    seen: set[str] = set()
    for companion in companions:
        if companion.name in seen:
            raise ValueError(f"{companion.name!r:.300} is listed twice; a file beside the model has one content")
        seen.add(companion.name)
    return companions


Companions = Annotated[tuple[Companion, ...], AfterValidator(_each_name_once)]


class ModelRef(Strict):
    """Says where a model comes from.

    `source` is `http(s)://…`, `hf://…`, `file://…` (on the worker's disk) or `sha256:<hex>` (uploaded to the orchestrator).
    """

    source: OneLine = Field(min_length=1, max_length=4096)
    name: OneLine = Field(min_length=1, max_length=255, description="the file name that reports show")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the model file alone")
    size: int | None = Field(default=None, ge=0, description="size of the model file alone, in bytes")
    companions: Companions = ()

    @property
    def content_sha256(self) -> str | None:
        """Return the SHA-256 of the model file with its weights; see `shared.content`.

        Return None if it is not known before a worker fetches the model.
        """
        if self.sha256 is None or self.size is None or not self.source.startswith("sha256:"):
            return None
        weights = [one for one in self.companions if not one.name.endswith(VALUE_FILES)]  # input values are not part of the model
        return content_hash(Content(self.sha256, self.size), {one.name: Content(one.sha256, one.size) for one in weights})
