"""Translates recipes for a service under load that were written for other frameworks into the words of this one.

The stored recipe (`recipe.yaml`) holds the translation. What is not translated here is checked by the schema like any other key. Keys that
stay and have no effect are named in warnings (`shared.recipes.remarks`), and keys that cannot be honoured are refused with a sentence
(`shared.recipes.other_frameworks`).
"""

from __future__ import annotations

from typing import Any

from shared.services.base import ServiceKind
from shared.services.native_tools import NATIVE, tools_of
from shared.services.registry import CLIENT_TYPES, SERVICES

_SETTINGS = {"concurrent_requests": "concurrent_clients", "timeout": "request_timeout_s"}  # other words for the client's settings
_PORTS = ("port", "http_port")  # the settings that hold the port of a server
_ENVIRONMENTS = ("environment", "env")
# Variables of the environment of a server that are settings here. A type of service that has no such setting refuses the variable.
_VARIABLES = {"POSTGRES_DB": "db_name", "MINIO_ROOT_USER": "root_user", "MINIO_ROOT_PASSWORD": "root_password"}
_TEXTS = ("time_limit", "memory")
_ONLY_GPU_MB = 1  # asks for any GPU


def in_our_words(content: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe in our words. A recipe without `service` is returned as it is."""
    service = content.get("service")
    if not isinstance(service, dict):
        return content
    content = {**content, "service": _service(service)}
    client, named = content.get("client"), service.get("type")
    if isinstance(client, dict) or (client is None and isinstance(named, str) and named in SERVICES):
        content["client"] = _client(client or {}, named)
    benchmarks = content.get("benchmarks")
    if isinstance(benchmarks, dict) and isinstance(benchmarks.get("repeats"), int) and "repeats" not in content:
        content["repeats"] = benchmarks["repeats"]
        content["benchmarks"] = {key: value for key, value in benchmarks.items() if key != "repeats"}
    sweep = content.get("sweep")
    if isinstance(sweep, dict):
        content["sweep"] = {_path(path): _values(path, values, service.get("type")) for path, values in sweep.items()}
    gpus = service.get("num_gpus")
    started = "address" not in service  # otherwise its GPUs are elsewhere
    if started and isinstance(gpus, int) and gpus > 0 and isinstance(requires := content.get("requires", {}), dict):
        content["requires"] = {"min_gpu_memory_mb": _ONLY_GPU_MB, **requires}
    return content


def _service(service: dict[str, Any]) -> dict[str, Any]:
    """Return the section `service` with the port and the known variables of the environment among the settings."""
    kind = SERVICES.get(service["type"]) if isinstance(service.get("type"), str) else None
    settings = service.get("settings", {})
    made = _with_words(service)
    if kind is None or not isinstance(settings, dict):
        return made
    settings = dict(settings)
    port = next((name for name in _PORTS if name in kind.settings.model_fields), None)
    if "port" in made and port is not None and port not in settings:
        settings[port] = made.pop("port")
    for section in _ENVIRONMENTS:
        if isinstance(made.get(section), dict):
            left = {name: value for name, value in made[section].items() if not _taken(name, value, settings, kind)}
            made = {key: value for key, value in made.items() if key != section} | ({section: left} if left else {})
    if settings or "settings" in service:
        made["settings"] = settings
    return made


def _with_words(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section in which a limit or a memory that is written as a number, such as `time_limit: 600`, is a text."""
    return {key: str(value) if key in _TEXTS and type(value) in (int, float) else value for key, value in section.items()}


def _taken(variable: Any, value: Any, settings: dict[str, Any], kind: ServiceKind) -> bool:
    """Add a variable of the environment to the settings, if the type of service has a setting for it. Returns whether it has."""
    setting = _VARIABLES.get(variable) if isinstance(variable, str) else None
    if setting not in kind.settings.model_fields or settings.get(setting, value) != value:
        return False
    settings[setting] = value
    return True


def _client(client: dict[str, Any], service: Any) -> dict[str, Any]:
    """Return the section `client` with the type of its service, and the settings for which its own type stands."""
    named = client.get("type", service)
    settings = client.get("settings", {})
    if isinstance(settings, dict):
        settings = {_ours(key, settings): value for key, value in settings.items()}
    client = _with_words(client)
    if "driver" in client:
        client["driver"] = _driver(client["driver"], service)
    if not isinstance(named, str) or named not in CLIENT_TYPES:
        return {**client, "type": named, "settings": settings}
    of_service = CLIENT_TYPES[named]
    if isinstance(settings, dict):
        settings = {**SERVICES[of_service].client_types[named], **settings}
    return {**client, "type": of_service, "settings": settings}


def _ours(key: Any, settings: dict[str, Any]) -> Any:
    ours = _SETTINGS.get(key, key) if isinstance(key, str) else key
    return key if ours in settings else ours  # a recipe that has both is refused, by the word that is not known


def _driver(named: Any, service: Any) -> Any:
    """Return the name of the tool that `native` means for a type of service."""
    tools = tools_of(service) if isinstance(service, str) else ()
    return tools[0].name if named == NATIVE and tools else named


def _path(path: Any) -> Any:
    head, dot, last = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    return f"client.settings.{_SETTINGS[last]}" if dot and head == "client.settings" and last in _SETTINGS else path


def _values(path: Any, values: Any, service: Any) -> Any:
    return [_driver(value, service) for value in values] if path == "client.driver" and isinstance(values, list) else values
