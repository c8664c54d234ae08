"""Translates recipes for a service under load that were written for other frameworks into the words of this one.

The stored recipe (`recipe.yaml`) holds the translation. What is not translated here is checked by the schema like any other key.
"""

from __future__ import annotations

from typing import Any

from shared.services.registry import CLIENT_TYPES, SERVICES

_SETTINGS = {"concurrent_requests": "concurrent_clients", "timeout": "request_timeout_s"}  # other words for the client's settings


def in_our_words(content: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe in our words. A recipe without `service` is returned as it is."""
    service = content.get("service")
    if not isinstance(service, dict):
        return content
    content = dict(content)
    client = content.get("client")
    if isinstance(client, dict) or (client is None and service.get("type") in SERVICES):
        content["client"] = _client(client or {}, service.get("type"))
    benchmarks = content.get("benchmarks")
    if isinstance(benchmarks, dict) and isinstance(benchmarks.get("repeats"), int) and "repeats" not in content:
        content["repeats"] = benchmarks["repeats"]
        content["benchmarks"] = {key: value for key, value in benchmarks.items() if key != "repeats"}
    sweep = content.get("sweep")
    if isinstance(sweep, dict):
        content["sweep"] = {_path(path): values for path, values in sweep.items()}
    return content


def _client(client: dict[str, Any], service: Any) -> dict[str, Any]:
    """Return the section `client` with the type of its service, and the settings for which its own type stands."""
    named = client.get("type", service)
    settings = client.get("settings", {})
    if isinstance(settings, dict):
        settings = {_ours(key, settings): value for key, value in settings.items()}
    if not isinstance(named, str) or named not in CLIENT_TYPES:
        return {**client, "type": named, "settings": settings}
    of_service = CLIENT_TYPES[named]
    if isinstance(settings, dict):
        settings = {**SERVICES[of_service].client_types[named], **settings}
    return {**client, "type": of_service, "settings": settings}


def _ours(key: Any, settings: dict[str, Any]) -> Any:
    ours = _SETTINGS.get(key, key) if isinstance(key, str) else key
    return key if ours in settings else ours  # a recipe that has both is refused, by the word that is not known


def _path(path: Any) -> Any:
    head, dot, last = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    return f"client.settings.{_SETTINGS[last]}" if dot and head == "client.settings" and last in _SETTINGS else path
