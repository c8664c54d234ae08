"""Holds an example for each key of a recipe. docs/reference/recipes.md shows them, and a test checks that each is valid."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from shared.engine_options import EngineOptions
from shared.kinds.generation import OF_A_TASK, DecodingSection, PromptsSection
from shared.kinds.generation_task import TaskSection
from shared.kinds.hardware import HardwareSection
from shared.kinds.load import Slo
from shared.recipes import ModelEntry, Recipe, Requirements
from shared.recipes.schema import Retries
from shared.recipes.services import BenchmarksSection, ClientSection, ConfigurationSection, LoadSection, MonitoringSection, ServiceSection
from shared.repetition import StopRule, Warmup
from shared.services.base import ClientSettings
from shared.services.chroma import ChromaClient, ChromaSettings
from shared.services.http import HttpClient
from shared.services.minio import MinioClient, MinioSettings
from shared.services.postgres import PostgresClient, PostgresSettings, Tuning
from shared.services.qdrant import QdrantClient, QdrantSettings
from shared.services.redis import RedisClient, RedisSettings
from shared.services.registry import SERVICES
from shared.services.triton import TritonClient, TritonSettings
from tools import language_model_examples

_HASH = "a" * 64

# The sections of a recipe for a service, by their keys.
_LOAD: dict[str, Any] = {
    "service": {"type": "redis"},
    "client": {"type": "redis_stress", "settings": {"concurrent_clients": 4}},
    "load": {"pattern": "poisson", "rate": 1000, "duration_s": 10},
    "benchmarks": {"num_clients": 2},
    "slo": {"p99_latency_ms": 10},
    "configuration": {"target": "local"},
    "monitoring": {"enabled": False},
}
_OF_CLIENTS: dict[str, Any] = {
    "concurrent_clients": 16,
    "rate": 1000.0,
    "duration_s": 10.0,
    "seed": 7,
    "warmup_delay": 0.0,
    "request_timeout_s": 5.0,
}
_OF_VECTORS: dict[str, Any] = {
    "dim": 768,
    "num_queries": 1_000,
    "top_k": 100,
    "batch_size": 500,
    "metric": "l2",
    "distribution": "normal",
    "collection": "benchmark",
    "ef_construction": 200,
    "max_neighbors": 32,
    "ef_search": 100,
    "index_timeout_s": 3_600,
}

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
        "task": "summarization",
        "dataset": "articles.jsonl",
        "prompt": "Summarize this for children: {document}",
        "max_tokens": 64,
        "evaluate": ["rouge"],
        **_LOAD,
    },
    PromptsSection: {"input_tokens": 512, "output_tokens": 128, "requests": 20},
    DecodingSection: {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "attention": "eager"},
    TaskSection: {"name": "planted_fact", "documents": 20, "words": 2_000, "depth": 0.5},
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
        "tensor_parallel_size": 2,
        "max_model_len": 8_192,
        "gpu_memory_utilization": 0.8,
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
    ServiceSection: {
        "type": "redis",
        "name": "cache",
        "address": "redis://127.0.0.1:6379",
        "launcher": "process",
        "image": "redis:8",
        "fresh": "repeat",
        "restarts": 0,
        "health_timeout_s": 30,
        "partition": "cpu",
        "account": "lab",
        "time_limit": "01:00:00",
        "memory": "64G",
        "nodes": 1,
        "num_gpus": 0,
        "settings": {"maxmemory": "4gb"},
    },
    RedisSettings: {
        "port": 6379,
        "appendonly": True,
        "save": "900 1",
        "maxmemory": "4gb",
        "maxmemory_policy": "allkeys-lru",
        "io_threads": 4,
    },
    PostgresSettings: {
        "port": 5432,
        "db_name": "benchmark",
        "data_dir": "/scratch/pgdata",
        "auth": "trust",
        "tuning": {"shared_buffers": "1GB"},
    },
    Tuning: {
        "shared_buffers": "1GB",
        "effective_cache_size": "4GB",
        "maintenance_work_mem": "64MB",
        "work_mem": "16MB",
        "max_connections": 200,
        "synchronous_commit": False,
    },
    ClientSection: {
        "type": "redis_stress",
        "driver": "redis-benchmark",
        "name": "clients",
        "partition": "cpu",
        "account": "lab",
        "time_limit": "00:30:00",
        "memory": "8G",
        "nodes": 1,
        "num_gpus": 0,
        "settings": {"num_requests": 100_000},
    },
    RedisClient: {
        **_OF_CLIENTS,
        "num_requests": 100_000,
        "key_size_bytes": 16,
        "value_size_bytes": 1_024,
        "num_keys": 1_000_000,
        "key_distribution": "zipf",
        "pipeline": 16,
        "operation_mix": "get:set=90:10",
        "database": 1,
    },
    PostgresClient: {
        **_OF_CLIENTS,
        "db_name": "benchmark",
        "num_inserts": 1_000,
        "num_selects": 100_000,
        "num_rows": 100_000,
        "table_name": "stress_test",
        "user": "me",
    },
    HttpClient: {
        **_OF_CLIENTS,
        "num_requests": 10_000,
        "method": "POST",
        "path": "/predict",
        "headers": {"Content-Type": "application/json"},
        "body": '{"inputs": [1, 2]}',
        "expect_status": 201,
        "expect_body": '"ok": true',
    },
    TritonSettings: {
        "http_port": 8000,
        "grpc_port": 8001,
        "metrics_port": 8002,
        "model_repo": "/data/models",
        "log_verbose": 1,
    },
    TritonClient: {
        **_OF_CLIENTS,
        "scenario": "http",
        "model": "resnet50",
        "model_version": "1",
        "num_requests": 10_000,
        "batch_size": 8,
        "payload_size_bytes": 4_096,
        "encoding": "json",
        "server_metrics_url": "http://127.0.0.1:8002/metrics",
    },
    ChromaSettings: {"host": "127.0.0.1", "port": 8000, "data_dir": "/scratch/vectors"},
    ChromaClient: {
        **_OF_CLIENTS,
        **_OF_VECTORS,
        "num_vectors": 10_000,
        "tenant": "default_tenant",
        "database": "default_database",
        "check_only": True,
    },
    QdrantSettings: {"port": 6333, "grpc_port": 6334, "storage_path": "/scratch/vectors"},
    QdrantClient: {**_OF_CLIENTS, **_OF_VECTORS, "num_points": 100_000},
    MinioSettings: {
        "program": "rclone",
        "port": 9000,
        "console_port": 9001,
        "root_user": "minioadmin",
        "root_password": "minioadmin",
        "data_dir": "/scratch/objects",
    },
    MinioClient: {
        **_OF_CLIENTS,
        "object_size_bytes": 65_536,
        "num_objects": 1_000,
        "num_requests": 10_000,
        "operation_mix": "put:get=10:90",
        "key_distribution": "zipf",
        "bucket": "benchmark",
        "region": "eu-central-1",
        "use_https": True,
    },
    LoadSection: {
        "pattern": "poisson",
        "rate": 1000,
        "rate_from": 10,
        "burstiness": 0.5,
        "trace_s": [0, 0.5, 0.6],
        "per_query": 4,
        "seed": 7,
        "ramp_up_s": 2,
        "duration_s": 10,
        "count": 5000,
    },
    BenchmarksSection: {"num_clients": 2, "client_delay": 1, "metrics": ["latency"], "repeats": 3},
    Slo: {
        **{"p50_latency_ms": 1, "p95_latency_ms": 5, "p99_latency_ms": 10, "max_error_rate": 0.01},
        **language_model_examples.SLO,
    },
    ConfigurationSection: {"target": "local"},
    MonitoringSection: {
        "enabled": False,
        "mode": "local",
        "prometheus": {"port": 9090, "scrape_interval": "15s"},
        "grafana": {"port": 3000},
        "pushgateway": {"enabled": True, "port": 9091},
        "dashboards": ["database-benchmark"],
    },
}
for _model, _of_model in language_model_examples.EXAMPLES.items():
    _of_clients = _OF_CLIENTS if issubclass(_model, ClientSettings) else {}
    EXAMPLES[_model] = _of_clients | _of_model


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
    if model is Recipe and (key == "hardware" or key in _LOAD):
        return part if key == "hardware" else {"service": {"type": "redis"}} | part
    if model in _PLACES:
        return _in_a_load(model, key, part)
    language_model = {"model": "models/llama", "prompts": {}, "on": ["cpu.torch"]}
    if model in (PromptsSection, DecodingSection):
        drawn = {"temperature": 0.7} if key.startswith("top_") else {}
        return language_model | {"prompts" if model is PromptsSection else "decoding": drawn | part}
    if model is Recipe and key in ("prompts", "decoding"):
        return language_model | part
    with_task = {"model": "models/llama", "task": "summarization", "on": ["cpu.torch"]}
    if model is TaskSection:
        return with_task | {"task": {"name": "planted_fact"} | part}
    if model is Recipe and key in ("task", *OF_A_TASK):
        return with_task | part
    if model is Recipe:
        return {name: value for name, value in base.items() if (name, key) != ("model", "models")} | part
    if model is ModelEntry:
        return {"models": [{"model": "squeezenet"} | part], "on": ["cpu.onnx"]}
    if model is HardwareSection:
        return {"hardware": part}
    section = {EngineOptions: "options", Warmup: "warmup", StopRule: "stop", Requirements: "requires", Retries: "retries"}[model]
    needed = {"precision": 0.02} if model is StopRule else {}
    return base | {section: needed | part}


# Where each section of a recipe for a service stands: the type of the service, and the keys that lead to the section.
_PLACES: dict[type[BaseModel], tuple[str, tuple[str, ...]]] = {
    ServiceSection: ("redis", ("service",)),
    RedisSettings: ("redis", ("service", "settings")),
    PostgresSettings: ("postgres", ("service", "settings")),
    Tuning: ("postgres", ("service", "settings", "tuning")),
    ClientSection: ("redis", ("client",)),
    RedisClient: ("redis", ("client", "settings")),
    PostgresClient: ("postgres", ("client", "settings")),
    HttpClient: ("http", ("client", "settings")),
    ChromaSettings: ("chroma", ("service", "settings")),
    ChromaClient: ("chroma", ("client", "settings")),
    QdrantSettings: ("qdrant", ("service", "settings")),
    QdrantClient: ("qdrant", ("client", "settings")),
    MinioSettings: ("minio", ("service", "settings")),
    MinioClient: ("minio", ("client", "settings")),
    TritonSettings: ("triton", ("service", "settings")),
    TritonClient: ("triton", ("client", "settings")),
    LoadSection: ("redis", ("load",)),
    BenchmarksSection: ("redis", ("benchmarks",)),
    Slo: ("redis", ("slo",)),
    ConfigurationSection: ("redis", ("configuration",)),
    MonitoringSection: ("redis", ("monitoring",)),
    **language_model_examples.PLACES,
}
# What a key cannot do without.
_BESIDE: dict[str, dict[str, Any]] = {
    "rate": {"pattern": "poisson"},
    "rate_from": {"pattern": "ramp", "rate": 1000},
    "trace_s": {"pattern": "trace"},
    "burstiness": {"pattern": "gamma", "rate": 1000},
    **language_model_examples.BESIDE,
}


def _in_a_load(model: type[BaseModel], key: str, part: dict[str, Any]) -> dict[str, Any]:
    """Return a whole recipe for a service in which a section holds `part`."""
    service, way = _PLACES[model]
    service = "openai" if key in language_model_examples.SLO else service
    found: dict[str, Any] = {"service": {"type": service}}
    if not SERVICES[service].startable:
        found["service"]["address"] = "http://127.0.0.1:8000"
    here = found
    for name in way:
        here = here.setdefault(name, {})
    if model is LoadSection:
        here |= {"rate": 1000} if key == "pattern" else _BESIDE.get(key, {})
    if key in language_model_examples.BESIDE:
        here |= _BESIDE[key]
    if key == "driver":
        here["settings"] = {"operation_mix": "get"}  # what this tool can do
    if model is ServiceSection and key == "launcher":
        return found | {"service": {"type": service} | part}
    here |= part
    return found
