"""Computes the figures of a job from what was sampled beside it: power, energy, and the GPU's use, heat and memory. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from shared.columns import Column, Feeds, Role
from shared.energy import Measured, Window, added, average, energy_of, highest, inside
from shared.figures import Figure
from shared.telemetry import (
    ENERGY,
    ENERGY_ABOVE_IDLE,
    ENERGY_PER_TOKEN,
    FIGURES,
    GPU_MEMORY,
    GPU_PERCENT,
    GPU_TEMPERATURE,
    POWER,
    Beside,
    Energy,
)
from worker.samplers.looks import Looks
from worker.samplers.registry import SAMPLERS

Found = tuple[tuple[Figure, ...], Beside]
Series = tuple[Column, Sequence[float]]
# What a capability's first word says about whose energy its jobs take. Other words mean the processor.
GPU_WORDS = frozenset({"gpu", "cuda"})
NO_UNITS = "this kind of work counts no inferences"
NO_IDLE = "the idle power was not measured"
NOT_ON_A_GPU = "the job did not run on a GPU"
OF: Mapping[Feeds, str] = {"cpu": "processor", "gpu": "GPU", "board": "whole device"}


def belongs_to(capability: str) -> Feeds:
    """Return what a job of this capability uses: `gpu` for `gpu.cuda.onnx` and `hardware.cuda`, else `cpu`."""
    return "gpu" if GPU_WORDS & set(capability.split(".")) else "cpu"


def beside(looks: Looks, windows: Sequence[Window], on: Feeds, idle: Window | None = None, known_idle_w: float | None = None) -> Found:
    """Return the figures of one job, and how they were found.

    Args:
        windows: when the timed inferences of each repeat ran, on the clock of the samples.
        on: what the job uses (see `belongs_to`).
        idle: when the device was idle before the first process; None if that was not sampled this time.
        known_idle_w: the idle power that an earlier measurement found not long ago.
    """
    gpus, unknown = _gpus_of_job(looks) if on == "gpu" else (frozenset(), NOT_ON_A_GPU)
    energy, columns = _energy(looks, windows, on, gpus, unknown)
    idle_w, no_idle = _idle_watts(looks, columns, idle) if idle is not None else (known_idle_w if columns else None, NO_IDLE)
    watts, counted, no_watts = _watts(looks, columns, windows, energy)
    figures = [
        _gpu_figure(looks, GPU_PERCENT, "use", gpus, unknown, windows),
        _gpu_figure(looks, GPU_TEMPERATURE, "temperature", gpus, unknown, windows),
        _gpu_figure(looks, GPU_MEMORY, "memory", gpus, unknown, None),
        _figure(POWER, watts, no_watts, n=counted),
        _figure(ENERGY, energy.per_inference, energy.missing or NO_UNITS, n=energy.inferences, repeats=energy.repeats),
        _above_idle(energy, idle_w, no_idle),
    ]
    return tuple(figures), Beside(
        energy=Energy(
            source=energy.source,
            of=", ".join(column.name for column, _ in columns) if energy.source else "",
            measured_s=energy.measured_s,
            steps=energy.steps,
            checked=energy.checked,
            idle_w=idle_w,
            missing=energy.missing[:4_000],
        ),
        devices={column.name.partition("_")[0]: column.device for column in looks.columns if column.feeds == "gpu" and column.device},
        samples=len(looks.times),
        gaps=sum(gap > 0 for gap in looks.gaps),
        cpu_s=looks.cpu_s,
        ended=looks.ended,
    )


def per_token(figures: Sequence[Figure], tokens: float) -> Figure:
    """Return the energy of one token, for units of work that write so many tokens each."""
    energy = next(figure for figure in figures if figure.name == ENERGY)
    value = None if energy.value is None else energy.value / tokens
    return _figure(ENERGY_PER_TOKEN, value, energy.missing, n=round(energy.n * tokens), repeats=[one / tokens for one in energy.repeats])


def _energy(looks: Looks, windows: Sequence[Window], on: Feeds, gpus: frozenset[str], unknown: str) -> tuple[Measured, list[Series]]:
    """Return the energy, and the columns that it is of. What belongs to the part itself comes before what feeds the whole device."""
    if on == "gpu" and not gpus:
        return Measured(missing=unknown), []
    said: list[str] = []
    sources: tuple[Feeds, ...] = ("gpu",) if on == "gpu" else ("cpu", "board")
    for feeds in sources:
        counters, powers = _of_one_source(looks, feeds, gpus)
        if not counters and not powers:
            said += _why_not_read(looks, feeds, gpus)
            continue
        steps = [column.step_s for column, _ in counters]
        found = energy_of(
            looks.times,
            windows,
            counter=added([values for _, values in counters]) if counters else None,
            power=added([values for _, values in powers]) if powers else None,
            step_s=max(step for step in steps if step is not None) if steps and None not in steps else None,
        )
        lost = [column.missing for column, _ in (*counters, *powers) if column.missing]
        if found.missing and (why := list(dict.fromkeys(filter(None, [*lost, looks.ended])))):
            found = replace(found, missing="; ".join([found.missing, *why]))
        return found, [*counters, *powers]
    nothing = f"nothing here shows the energy of the {OF[on]}"
    return Measured(missing=f"{nothing}: {'; '.join(said)}" if said else looks.ended or nothing), []


def _of_one_source(looks: Looks, feeds: Feeds, gpus: frozenset[str]) -> tuple[list[Series], list[Series]]:
    """Return the counters and the powers of the first sampler that has any. A second one may show the same energy again."""
    both = [*_of_devices(looks, "energy", feeds, gpus), *_of_devices(looks, "power", feeds, gpus)]
    source = both[0][0].source if both else ""
    counters, powers = ([one for one in both if one[0].source == source and one[0].role == role] for role in ("energy", "power"))
    return counters, powers


def _of_devices(looks: Looks, role: Role, feeds: Feeds, gpus: frozenset[str]) -> list[Series]:
    """Return the columns of a role that have values. For a GPU, only those of the job's GPUs."""
    found = list(looks.of(role=role, feeds=feeds))
    return [(column, values) for column, values in found if (feeds != "gpu" or column.device in gpus) and not all(map(math.isnan, values))]


def _why_not_read(looks: Looks, feeds: Feeds, gpus: frozenset[str]) -> list[str]:
    """Return why nothing shows this energy: what the samplers said that could, and what is wrong with their columns."""
    said = [looks.absent[name] for name, entry in SAMPLERS.items() if feeds in entry.feeds and name in looks.absent]
    columns = [
        column
        for column in looks.columns
        if column.feeds == feeds and column.role in ("energy", "power") and (feeds != "gpu" or column.device in gpus)
    ]
    said += [column.missing for column in columns if column.missing]
    return list(dict.fromkeys(said))


def _gpus_of_job(looks: Looks) -> tuple[frozenset[str], str]:
    """Return the UUIDs of the GPUs that the job used, or why they are not known."""
    columns = [column for column in looks.columns if column.feeds == "gpu"]
    if not columns:
        said = [looks.absent[name] for name, entry in SAMPLERS.items() if "gpu" in entry.feeds and name in looks.absent]
        return frozenset(), "; ".join(said) or looks.ended or "nothing here shows a GPU"
    if chosen := frozenset(column.device for column in columns if column.chosen):
        return chosen, ""
    used = {column.device for column, values in looks.of(role="ours", feeds="gpu") if any(value > 0 for value in values)}
    if used:
        return frozenset(used), ""
    if len({column.device for column in columns}) == 1 and columns[0].chosen is None:
        return frozenset({columns[0].device}), ""
    return frozenset(), (
        "it is not known which of the GPUs the job used: set CUDA_VISIBLE_DEVICES to a UUID that `nvidia-smi -L` shows, for this worker"
    )


def _gpu_figure(looks: Looks, name: str, role: Role, gpus: frozenset[str], unknown: str, windows: Sequence[Window] | None) -> Figure:
    """Return a figure of the job's GPUs. With several, use is their average, and heat and memory are the highest."""
    if not gpus:
        return _figure(name, None, unknown)
    series = _of_devices(looks, role, "gpu", gpus)
    if not series:
        said = [column.missing for column in looks.columns if column.role == role and column.device in gpus and column.missing]
        return _figure(name, None, "; ".join(dict.fromkeys(said)) or "the GPU was never read")
    counted = sum(len(inside(looks.times, values, windows)) for _, values in series)
    if role == "use":
        found = [value for _, values in series if (value := average(looks.times, values, windows or [])) is not None]
        value = sum(found) / len(found) if found else None
    else:
        value = max((top for _, values in series if (top := highest(looks.times, values, windows)) is not None), default=None)
    return _figure(name, value, "no sample lies in the timed inferences: they took less than the time between two samples", n=counted)


def _watts(looks: Looks, columns: Sequence[Series], windows: Sequence[Window], energy: Measured) -> tuple[float | None, int, str]:
    """Return the average power, from how many samples it is computed, and why it is not known. It needs fewer samples than an energy.

    It is that of the counter if the energy of the counter is valid, else the average of the sampled power.
    """
    role = "energy" if energy.source == "counter" else "power"
    found = [values for column, values in columns if column.role == role]
    if not found or (energy.watts is None and energy.checked is not None):  # counter and power disagree, so neither is believed
        return None, 0, energy.missing
    values = added(found)
    watts = energy.watts if energy.watts is not None else average(looks.times, values, windows)
    if watts is not None and watts <= 0:  # more inferences, which the reason of the energy may ask for, would not mend this
        return None, 0, f"the sampled power is {watts:.3g} W on average, which no device takes: its meter does not work"
    return watts, len(inside(looks.times, values, windows)), energy.missing


def _idle_watts(looks: Looks, columns: Sequence[Series], idle: Window) -> tuple[float | None, str]:
    """Return the power while the device was idle, from the same columns as the energy, or why it is not known."""
    powers = [values for column, values in columns if column.role == "power"]
    counters = [values for column, values in columns if column.role == "energy"]
    if not powers and not counters:
        return None, NO_IDLE
    points = inside(looks.times, added(powers or counters), [idle])
    if powers:
        watts = math.fsum(value for _, value in points) / len(points) if points else None
    else:
        if any(after[1] < before[1] for before, after in pairwise(points)):
            return (
                None,
                "the counter of energy fell while the device was idle (it was set to zero, or corrected): the idle power is unknown",
            )
        watts = (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0]) if len(points) > 1 else None
        if watts == 0:  # the window is short, and a counter that is broken gives no energy either
            return None, "the counter did not step while the device was idle, so the idle power is unknown"
    if watts is None:
        return None, "no sample was taken while the device was idle"
    if watts <= 0:
        return None, f"the sampled power of the idle device is {watts:.3g} W, which no device takes: its source cannot be believed"
    return watts, ""


def _above_idle(energy: Measured, idle_w: float | None, no_idle: str) -> Figure:
    """Return the energy for one inference without what the idle device takes, or why it is not known."""
    if energy.watts is None:
        return _figure(ENERGY_ABOVE_IDLE, None, energy.missing)
    if not energy.inferences:
        return _figure(ENERGY_ABOVE_IDLE, None, NO_UNITS)
    if idle_w is None:
        return _figure(ENERGY_ABOVE_IDLE, None, no_idle)
    if energy.watts < idle_w:
        took = f"the device took {energy.watts:.4g} W while it measured and {idle_w:.4g} W while it was idle"
        return _figure(ENERGY_ABOVE_IDLE, None, f"{took}, so their difference says nothing")
    return _figure(ENERGY_ABOVE_IDLE, (energy.watts - idle_w) * energy.seconds / energy.inferences, "", n=energy.inferences)


def _figure(name: str, value: float | None, missing: str, n: int = 0, repeats: Sequence[float] = ()) -> Figure:
    why = "" if value is not None else (missing or "it could not be computed")[:2_000]
    return Figure.of(name, FIGURES[name], value, missing=why, n=n, repeats=tuple(repeats))
