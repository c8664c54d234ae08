"""Defines the short form of `POST /campaigns`: one model and a list of jobs. It becomes the same `Request` as a recipe does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.domain.planning import Request
from shared.capabilities import kinds_of, resolve
from shared.errors import FieldError, InvalidInput
from shared.jobs import DEFAULT_PRIORITY, DEFAULT_REPEATS, DEFAULT_TIMEOUT_S, MAX_INFERENCES, MAX_JOBS, MAX_REPEATS, MAX_TIMEOUT_S
from shared.kinds.inference import check_samples
from shared.kinds.registry import KINDS
from shared.labels import Labels
from shared.names import OneLine
from shared.recipes import ModelEntry, Recipe
from shared.recipes.cells import Cell
from shared.recipes.schema import ComputeUnit
from shared.strict import Strict

_DEFAULTS = Recipe(model="any", on=("cpu.onnx",))


class ShortJob(Strict):
    """Describes one job of the short form of `POST /campaigns`."""

    compute_unit: ComputeUnit = Field(description="a capability or its label")
    num_inference_runs: int = Field(default=10, ge=1, le=MAX_INFERENCES, description="timed calls in each repeat")
    runs_per_job: int = Field(default=DEFAULT_REPEATS, ge=1, le=MAX_REPEATS, description="fresh processes")
    num_load_runs: int = Field(default=0, ge=0, le=MAX_REPEATS, description="further processes that only load")
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)
    device: OneLine | None = Field(default=None, min_length=1, max_length=200, description="a worker's id or device name")
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9)

    @model_validator(mode="after")
    def _bounded_samples(self) -> ShortJob:
        check_samples(self.num_inference_runs, self.runs_per_job)
        return self

    @property
    def kind(self) -> str:
        """Return the kind of work that the compute unit is for."""
        return kinds_of(resolve(self.compute_unit)[0])[0]

    def cell(self, devices: Literal["one", "any", "every"]) -> Cell:
        """Return the cell of a recipe with only this job. All other keys of the recipe keep their defaults.

        Args:
            devices: where the job goes if it names no device.
        """
        return Cell(
            kind=self.kind,
            entry=0 if KINDS[self.kind].roles else None,
            on=(self.compute_unit,),
            devices=(self.device,) if self.device is not None else devices,
            inferences=self.num_inference_runs,
            repeats=self.runs_per_job,
            loads=self.num_load_runs,
            warmup=_DEFAULTS.warmup,
            stop=_DEFAULTS.stop,
            priority=self.priority,
            requires=_DEFAULTS.requires,
            options=_DEFAULTS.options,
            timeout_s=self.timeout_s,
            retries=_DEFAULTS.retries,
        )


class ShortCampaign(Strict):
    """Describes a campaign in the short form of `POST /campaigns`: one model and a list of jobs."""

    model_url: OneLine | None = Field(
        default=None, min_length=1, max_length=4096, description="the model; left out where the compute units measure the device itself"
    )
    jobs: tuple[ShortJob, ...] = Field(min_length=1, max_length=MAX_JOBS)
    name: OneLine = Field(default="campaign", min_length=1, max_length=200)
    notes: str = Field(default="", max_length=10_000)
    labels: Labels = Field(default_factory=dict, description="labels of the campaign, which help to find it")
    devices: Literal["one", "any", "every"] = Field(
        default="any",
        description="where the jobs go that name no device: `any` means a free device for each job, `one` means that the first free device "
        "takes all of them, and `every` means one job for each device",
    )
    wait_for_device: bool = Field(default=False, description="whether a job's `device` may register later")

    def request(self) -> Request:
        """Return this campaign as a `Request`. Equal jobs share one cell, so a large campaign of few kinds is planned quickly.

        Raises:
            InvalidInput: the jobs are of several kinds of work, a model is missing, or there is one that nothing would run.
        """
        self._check_kind()
        kinds: dict[ShortJob, Cell] = {}
        cells = [kinds.get(job) or kinds.setdefault(job, job.cell(self.devices)) for job in self.jobs]
        return Request(
            name=self.name,
            entries=[] if self.model_url is None else [ModelEntry(model=self.model_url)],
            cells=cells,
            document=self.model_dump(mode="json", exclude_unset=True),
            notes=self.notes,
            labels=self.labels,
            wait_for_device=self.wait_for_device,
        )

    def _check_kind(self) -> None:
        units = {job.kind: job.compute_unit for job in self.jobs}
        if len(units) > 1:
            raise _refused("jobs", f"a campaign has one kind of work; {' and '.join(units.values())} are of different kinds")
        for kind, unit in units.items():
            if not KINDS[kind].in_short_form:
                keys = " or ".join(f"`{mark}`" for mark in KINDS[kind].marks)
                raise _refused(
                    "jobs", f"{unit} is for the kind of work {kind!r}, which the short form cannot describe: send a recipe with {keys}"
                )
            if KINDS[kind].roles and self.model_url is None:
                raise _refused("model_url", f"is required: {unit} runs a model; write which one")
            if not KINDS[kind].roles and self.model_url is not None:
                raise _refused("model_url", f"has no effect: {unit} measures the device itself and runs no model; leave it out")


def _refused(key: str, why: str) -> InvalidInput:
    return InvalidInput(f"{key}: {why}", fields=[FieldError(key, why)])
