"""Defines the structure of a recipe. The sections for a service under load are in `shared.recipes.services`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from shared.capabilities import known_names, names_schema, require_kind, resolve
from shared.engine_options import EngineOptions
from shared.errors import InvalidInput
from shared.inputs import Companions
from shared.jobs import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE_TIMEOUT_S,
    DEFAULT_REPEATS,
    DEFAULT_TIMEOUT_S,
    MAX_INFERENCES,
    MAX_REPEATS,
    MAX_TIMEOUT_S,
)
from shared.kinds.generation import OF_A_TASK, DecodingSection, PromptsSection, check_options
from shared.kinds.generation_task import MAX_ANSWER, MAX_PROMPT, MAX_SCORERS, Prompt, ScorerName, TaskSection
from shared.kinds.hardware import HardwareSection
from shared.kinds.inference import check_samples
from shared.kinds.load import Slo
from shared.kinds.registry import KINDS
from shared.labels import Labels
from shared.names import OneLine
from shared.recipes.services import AnyClient, AnyService, BenchmarksSection, ConfigurationSection, LoadSection, MonitoringSection
from shared.repetition import StopRule, Warmup
from shared.sources import MAX_NAME
from shared.strict import Strict


def _runnable_compute_unit(name: str) -> str:
    try:
        resolve(name)
    except InvalidInput as error:
        raise ValueError(error.detail) from error
    return name


MAX_MODELS = 1_000
MAX_UNITS = 100
MAX_DEVICES = 1_000
MODEL = (
    "`http(s)://…`, `hf://…` (a file, or for a language model a whole repository), `file://…` on the device, a path on this machine (from "
    "the recipe's folder; uploaded by `fleetmark run`), "
    "`sha256:…` of an upload, or a network known by name"
)
ComputeUnit = Annotated[str, AfterValidator(_runnable_compute_unit), Field(json_schema_extra=names_schema(known_names()))]
Device = Annotated[OneLine, Field(min_length=1, max_length=200)]  # a worker's id or device name


class ModelEntry(Strict):
    """Describes one item of the list of models, with the settings that apply to it alone. Two items may name the same model."""

    model: OneLine = Field(min_length=1, max_length=4096, description=MODEL)
    name: OneLine | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NAME,
        description="the name that reports show; if it is left out, they show the file's name",
    )
    inferences: int | None = Field(default=None, ge=1, le=MAX_INFERENCES, description="used instead of the recipe's `inferences`")
    options: EngineOptions | None = Field(
        default=None,
        description="added to the recipe's options, key by key; a key that is written here wins, and `null` means the "
        "runtime's own default",
    )
    # These three describe the expected files. They are checked when the model is uploaded, and on the device that fetches it.
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the model file; a file with another hash is refused and not measured",
    )
    size: int | None = Field(default=None, ge=0, description="size of the model file in bytes; it is checked like `sha256`")
    companions: Companions = Field(
        default=(),
        description="files that belong beside the model (ONNX external data): the `name`, `sha256` and `size` of "
        "each, which are checked too",
    )


class Requirements(Strict):
    """Says what a device must have to get the job."""

    min_memory_mb: int = Field(default=0, ge=0, description="the memory that the device must have, in MB of 2^20 bytes")
    min_gpu_memory_mb: int = Field(default=0, ge=0, description="the memory that its largest GPU must have, in MB of 2^20 bytes")
    labels: dict[str, str] = Field(default_factory=dict, description="labels that the worker must have been started with, all of them")

    def is_empty(self) -> bool:
        return self == Requirements()


class Retries(Strict):
    max_attempts: int = Field(
        default=3,
        ge=1,
        le=100,
        description="how often the job is tried if the measured process dies or a device fails; a job is not tried "
        "again after an error of the model",
    )


class Recipe(Strict):
    """Describes one benchmark. Each combination of model, compute unit, device and swept values is one job.

    The keys that are present decide the kind of work: `model` or `models` measure models, `prompts` or `task` beside them measures language
    models, `hardware` measures the device itself, and `service` puts a service under load.
    """

    name: OneLine = Field(default="campaign", min_length=1, max_length=200, description="the name of the campaign")
    notes: str = Field(default="", max_length=10_000, description="free text that is kept with the results")
    model: OneLine | None = Field(default=None, min_length=1, max_length=4096, description=MODEL)
    models: tuple[OneLine | ModelEntry, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_MODELS,
        description="several models; each is written like `model`, or is a mapping with what differs for it",
    )
    prompts: PromptsSection | None = Field(
        default=None, description="measures language models token by token; it stands beside `model` or `models`, which name snapshots"
    )
    task: TaskSection | None = Field(
        default=None,
        description="gives language models a task, and judges their answers; it stands beside `model` or `models`. It is the name of a "
        "task, or a mapping with its `name` and its settings",
    )
    dataset: OneLine | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="the documents of the task: a data set that the task knows by name, a file on this machine with one JSON object in "
        "each line (from the recipe's folder; uploaded by `fleetmark run`), `sha256:…` of an upload, or an address from which the device "
        "fetches such a file or a page of a wiki (`https://en.wikipedia.org/wiki/…`)",
    )
    prompt: Prompt | None = Field(
        default=None, min_length=1, max_length=MAX_PROMPT, description="the prompt, with `{document}` where the document stands"
    )
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_ANSWER, description="the most tokens of an answer")
    evaluate: tuple[ScorerName, ...] | None = Field(
        default=None, max_length=MAX_SCORERS, description="the scorers that judge the answers; an empty list judges none"
    )
    decoding: DecodingSection | None = Field(
        default=None, description="how a language model chooses the next token; beside `prompts` or `task`"
    )
    hardware: HardwareSection | None = Field(default=None, description="measures the device itself, in place of a model")
    service: AnyService | None = Field(
        default=None, description="puts a service under load, in place of a model: which one, and where it is"
    )
    client: AnyClient | None = Field(default=None, description="what is sent to the service")
    load: LoadSection | None = Field(default=None, description="when it is sent, and how often")
    benchmarks: BenchmarksSection | None = Field(default=None, description="how many client processes send it")
    slo: Slo | None = Field(default=None, description="what the service must keep; the report says up to which load it does")
    configuration: ConfigurationSection | None = Field(default=None, description="where the work runs")
    monitoring: MonitoringSection | None = Field(default=None, description="whether a monitoring stack runs beside it")
    on: tuple[ComputeUnit, ...] = Field(
        min_length=1, max_length=MAX_UNITS, description="what a device must be able to do, as capabilities or their labels"
    )
    devices: Literal["one", "any", "every"] | Annotated[tuple[Device, ...], Field(min_length=1, max_length=MAX_DEVICES)] | None = Field(
        default=None,
        description="`one` means that the first free device takes all jobs, `any` means a free device for each job, `every` means one job "
        "for each device, and a list of names or ids means one job for each of them; the default is `one` in a recipe that compares (a "
        "sweep, or several models), and `any` in any other recipe",
    )
    wait_for_device: bool = Field(
        default=False,
        description="whether a device in the list may register later; otherwise a name that no registered device has is refused",
    )
    inferences: int = Field(default=10, ge=1, le=MAX_INFERENCES, description="how many calls are timed in each repeat, after the warm-up")
    repeats: int = Field(
        default=DEFAULT_REPEATS,
        ge=1,
        le=MAX_REPEATS,
        description="how many fresh processes measure; from 6 on, the interval assumes no distribution",
    )
    loads: int = Field(default=0, ge=0, le=MAX_REPEATS, description="how many further processes only load the model")
    warmup: Warmup = Field(default=Warmup(), description="calls before the timed ones; they enter no figure")
    stop: StopRule | None = Field(default=None, description="runs as many repeats as a precision needs, instead of `repeats`")
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9, description="jobs with 9 go first, jobs with 0 go last")
    queue_timeout_s: float = Field(
        default=DEFAULT_QUEUE_TIMEOUT_S,
        ge=1,
        le=MAX_TIMEOUT_S,
        description="how long a job waits, in seconds, while no worker that could take it is at work; after that it fails",
    )
    requires: Requirements = Field(default=Requirements(), description="what a device must have to get these jobs")
    options: EngineOptions = Field(
        default=EngineOptions(), description="options of the runtime; if a value is not set, the runtime's own default is used and recorded"
    )
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="dotted paths into the recipe, each with a list of values; each combination of values is a job"
    )
    timeout_s: float = Field(
        default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S, description="how long the measuring of one job may take, in seconds"
    )
    retries: Retries = Field(default=Retries(), description="how often a job is tried if its process dies or its device fails")
    labels: Labels = Field(default_factory=dict, description="labels of the campaign, which help to find it")

    @property
    def kind(self) -> str:
        """Return the name of the kind of work."""
        return _kind_of(self._marked())

    def _marked(self) -> list[str]:
        """Return the keys of this recipe that decide its kind of work."""
        return [key for kind in KINDS.values() for key in kind.marks if getattr(self, key) is not None]

    @model_validator(mode="after")
    def _one_kind_of_work(self) -> Recipe:
        found = self._marked()
        marks = [key for kind in KINDS.values() for key in kind.marks if key not in _BESIDE]
        if not found:
            raise ValueError(f"a recipe says what it measures, with one of {_listed(marks)}; it has none of them")
        main = [key for key in found if key not in _BESIDE]
        if len(main) > 1:
            raise ValueError(f"a recipe has only one of {_listed(marks)}; it has {_listed(main)}")
        kind = KINDS[_kind_of(found)]
        if main and not kind.keys.issuperset(found):
            raise ValueError(f"{_listed(found)} make different kinds of work; leave out all but one of them")
        found = [key for key in found if key in kind.marks]
        if kind.roles and self.model is None and self.models is None:
            raise ValueError(f"`{found[0]}` needs a model: write `model` or `models` beside it")
        others = {key for other in KINDS.values() for key in other.keys} - kind.keys
        # A key that has its default says nothing: a recipe that was written out whole has every key.
        written = {key for key in others & self.model_fields_set if getattr(self, key) != type(self).model_fields[key].get_default()}
        if lost := sorted(written):
            raise ValueError(f"{_listed(lost)} cannot stand beside `{found[0]}`: it has no effect on this kind of work; leave it out")
        return self

    @model_validator(mode="after")
    def _units_that_can(self) -> Recipe:
        require_kind(self.on, self.kind)
        return self

    @model_validator(mode="after")
    def _settings_of_a_language_model(self) -> Recipe:
        mark = "prompts" if self.prompts is not None else "task"
        if self.task is None and self.prompts is None:
            return self
        if self.task is not None and self.prompts is not None:
            raise ValueError("a recipe has `prompts` or `task`, not both: random prompts measure the speed alone, a task has its own")
        if self.task is None and (lost := [key for key in OF_A_TASK if getattr(self, key) is not None]):
            raise ValueError(f"`{lost[0]}` stands beside `task`, and this recipe has `prompts`: leave it out, or write a task")
        for number, entry in enumerate(self.entries()):
            if entry.inferences is not None:
                instead = "write `prompts.requests`" if mark == "prompts" else "`task.documents` says how many calls there are"
                raise ValueError(f"`models.{number}.inferences` cannot stand beside `{mark}`: {instead}")
            check_options(entry.options or self.options)
        KINDS[self.kind].spec_of(self).check(self.stop.max_repeats if self.stop else self.repeats)
        return self

    @model_validator(mode="after")
    def _bounded_samples(self) -> Recipe:
        if not self.entries() and not self.sweep:  # each job of a sweep is checked apart: its values may complete the recipe
            KINDS[self.kind].spec_of(self).check(self.stop.max_repeats if self.stop else self.repeats)
        for entry in self.entries():
            check_samples(entry.inferences or self.inferences, self.stop.max_repeats if self.stop else self.repeats)
        return self

    def entries(self) -> list[ModelEntry]:
        """Return the models as entries, whether the recipe uses `model` or `models`. A recipe without a model has no entries."""
        listed = self.models if self.models is not None else () if self.model is None else (self.model,)
        return [entry if isinstance(entry, ModelEntry) else ModelEntry(model=entry) for entry in listed]


# The keys that stand beside the mark of another kind of work and make it theirs, such as `prompts` beside `model`.
_BESIDE = frozenset(
    key
    for kind in KINDS.values()
    for key in kind.marks
    if any(kind.keys.intersection(other.marks) for other in KINDS.values() if other is not kind)
)


def _kind_of(found: Sequence[str]) -> str:
    """Return the kind of work that these marks mean: the first that has one of them and knows all of them, or the first that has one."""
    having = [kind for kind in KINDS.values() if set(kind.marks).intersection(found)]
    return next((kind.name for kind in having if kind.keys.issuperset(found)), having[0].name)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
