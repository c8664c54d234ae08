"""Holds an example for each key of a recipe. docs/reference/recipes.md shows them, and a test checks that each is valid."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from shared.engine_options import EngineOptions
from shared.kinds.generation import DecodingSection, PromptsSection
from shared.kinds.hardware import HardwareSection
from shared.recipes import ModelEntry, Recipe, Requirements
from shared.recipes.schema import Retries
from shared.repetition import StopRule, Warmup

_HASH = "a" * 64

EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    Recipe: {
        "name": "tiny-yolov2 by batch",
        "notes": "before the driver was updated",
        "model": "./mine.onnx",
        "models": ["squeezenet", {"model": "./mine.onnx", "inferences": 50}],
        "on": ["cpu.onnx", "gpu.cuda.onnx"],
        "devices": "every",
        "wait_for_device": True,
        "inferences": 200,
        "repeats": 6,
        "loads": 4,
        "warmup": {"min_calls": 20},
        "stop": {"precision": 0.02},
        "priority": 9,
        "queue_timeout_s": 3600,
        "requires": {"labels": {"site": "lab"}},
        "options": {"threads": 4},
        "sweep": {"options.batch_size": [1, 8]},
        "timeout_s": 600,
        "retries": {"max_attempts": 1},
        "labels": {"team": "vision"},
        "hardware": {"tests": ["bandwidth"], "seconds": 30},
        "prompts": {"input_tokens": 512, "output_tokens": 128},
        "decoding": {"temperature": 0.7},
    },
    PromptsSection: {"input_tokens": 512, "output_tokens": 128, "requests": 20},
    DecodingSection: {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "attention": "eager"},
    HardwareSection: {"tests": ["bandwidth", "flops"], "seconds": 30},
    ModelEntry: {
        "model": "https://models.example/net.onnx",
        "name": "net, quantised",
        "inferences": 50,
        "options": {"batch_size": 8},
        "sha256": _HASH,
        "size": 4956208,
        "companions": [{"name": "net.data", "sha256": _HASH, "size": 102400}],
    },
    EngineOptions: {
        "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "threads": 4,
        "inter_threads": 1,
        "graph": "all",
        "dtype": "bfloat16",
        "compile": "max-autotune",
        "batch_size": 8,
        "shapes": {"image": [8, 3, 224, 224]},
        "dims": {"sequence": 128},
        "values": {"ids": [0, 30521]},
        "seed": 7,
    },
    Warmup: {"min_calls": 20, "min_s": 2, "max_s": 60},
    StopRule: {"precision": 0.02, "max_repeats": 30, "budget_s": 300},
    Requirements: {"min_memory_mb": 4096, "min_gpu_memory_mb": 16000, "labels": {"site": "lab"}},
    Retries: {"max_attempts": 1},
}


def shown_example(model: type[BaseModel], key: str) -> str:
    """Return the example of a key as it is written in a recipe, on one line. Empty if the key has none."""
    if key not in EXAMPLES.get(model, {}):
        return ""
    value = yaml.safe_dump(EXAMPLES[model][key], default_flow_style=True, sort_keys=False, width=1000)
    value = value.removesuffix("...\n").strip()  # PyYAML ends a document that is a single value with dots
    return f"{key}: {value}".replace(_HASH, "aaaa…")


def recipe_with(model: type[BaseModel], key: str) -> dict[str, Any]:
    """Return a whole recipe in which a key has its example."""
    part, base = {key: EXAMPLES[model][key]}, {"model": "squeezenet", "on": ["cpu.onnx"]}
    if model is Recipe and key == "hardware":
        return part
    language_model = {"model": "models/llama", "prompts": {}, "on": ["cpu.torch"]}
    if model in (PromptsSection, DecodingSection):
        drawn = {"temperature": 0.7} if key.startswith("top_") else {}
        return language_model | {"prompts" if model is PromptsSection else "decoding": drawn | part}
    if model is Recipe and key in ("prompts", "decoding"):
        return language_model | part
    if model is Recipe:
        return {name: value for name, value in base.items() if (name, key) != ("model", "models")} | part
    if model is ModelEntry:
        return {"models": [{"model": "squeezenet"} | part], "on": ["cpu.onnx"]}
    if model is HardwareSection:
        return {"hardware": part}
    section = {EngineOptions: "options", Warmup: "warmup", StopRule: "stop", Requirements: "requires", Retries: "retries"}[model]
    needed = {"precision": 0.02} if model is StopRule else {}
    return base | {section: needed | part}
