"""Names the keys of a recipe that are accepted and have no effect. Whoever submits the recipe sees these remarks as warnings."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from shared.kinds.load_arrivals import not_sent
from shared.recipes.schema import Recipe
from shared.services.base import whole_address
from shared.services.registry import SERVICES

CLUSTER_KEYS = ("partition", "account", "time_limit", "memory", "nodes")  # say where a cluster would run the work
_GRPC_PORTS = {"triton": (8001, 8000), "qdrant": (6334, 6333)}  # and the usual port for HTTP, by the type of service
_MEASURED = ("latency", "throughput", "response_time", "tps", "qps", "rps", "error", "success", "requests", "tokens", "ttft", "tpot")


def remarks(recipe: Recipe) -> list[str]:
    """Return one sentence for each group of keys that have no effect."""
    parts = (_for_a_cluster, _gpus, _metrics, _monitoring, _trace, _grpc, _amount)
    return [said for part in parts for said in part(recipe)]


def _for_a_cluster(recipe: Recipe) -> Iterator[str]:
    sections = {"service": recipe.service, "client": recipe.client}
    found = [
        f"`{name}.{key}`"
        for name, section in sections.items()
        if section is not None
        for key in (*CLUSTER_KEYS, *(("num_gpus",) if name == "client" else ()))
        if key in section.model_fields_set
    ]
    if found:
        verb = "has" if len(found) == 1 else "have"
        yield f"{', '.join(found)} {verb} no effect: the work runs on a registered worker, and not as the job of a cluster"


def _gpus(recipe: Recipe) -> Iterator[str]:
    if recipe.service is None or not recipe.service.num_gpus:
        return
    if recipe.service.address is not None:
        yield "`service.num_gpus` has no effect beside `address`, because that service runs already"
    elif recipe.service.num_gpus > 1:
        number = recipe.service.num_gpus
        yield f"`service.num_gpus: {number}` asks for a device with a GPU; that it has {number} of them is not checked"


def _metrics(recipe: Recipe) -> Iterator[str]:
    if recipe.benchmarks is None or recipe.service is None:
        return
    figures = SERVICES[recipe.service.type].figures
    unknown = [name for name in recipe.benchmarks.metrics if name not in figures and not any(word in name.lower() for word in _MEASURED)]
    if unknown:
        named = ", ".join(f"`{name}`" for name in unknown)
        yield f"`benchmarks.metrics` names {named}, which this version does not measure; every figure that it has is in the result"


def _monitoring(recipe: Recipe) -> Iterator[str]:
    if recipe.monitoring is None:
        return
    stack = sorted({"prometheus", "grafana", "pushgateway", "dashboards"} & recipe.monitoring.model_fields_set)
    if stack:
        named = ", ".join(f"`monitoring.{key}`" for key in stack)
        yield f"{named} {'has' if len(stack) == 1 else 'have'} no effect: this version starts no monitoring stack"


def _trace(recipe: Recipe) -> Iterator[str]:
    if recipe.service is None or recipe.load is None or recipe.load.trace_s is None:
        return
    client = recipe.client.settings if recipe.client is not None else SERVICES[recipe.service.type].client()
    if said := not_sent(recipe.load, client):
        yield f"{said}; without it, a repeat ends with the answer to the last one"


def _grpc(recipe: Recipe) -> Iterator[str]:
    if recipe.service is None or recipe.service.address is None or recipe.service.type not in _GRPC_PORTS:
        return
    port, other = _GRPC_PORTS[recipe.service.type]
    if urlsplit(whole_address(SERVICES[recipe.service.type], recipe.service.address)).port == port:
        usual = f"no gRPC is spoken, and the port for HTTP is usually {other}"
        yield f"`service.address` has the port {port}, which is usually that for gRPC; {usual}"


def _amount(recipe: Recipe) -> Iterator[str]:
    if recipe.service is None or recipe.client is None:
        return
    client = recipe.client.settings
    if client.duration_s is None and (recipe.load is None or recipe.load.duration_s is None):
        return
    of_types = [settings for kind in SERVICES.values() for settings in kind.client_types.values()]
    for name in ("num_requests", "num_queries"):
        number = getattr(client, name) if name in client.model_fields_set else None
        if number and all(number != settings.get(name) for settings in of_types):  # the name of a client stands for some numbers
            yield f"`client.settings.{name}` has no effect beside `duration_s`, which ends each repeat"
