"""Says where a type of service serves a page with its metrics in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PAGES: Mapping[str, str] = {"vllm": "/metrics", "qdrant": "/metrics"}  # at the address of the service itself


def page_of(service: str, address: str, settings: Mapping[str, Any]) -> str:
    """Return the address of the page. Empty if this type of service has none, or nothing is known of it.

    Args:
        settings: those of the client and of a service that was started. `server_metrics_url` names a page that is elsewhere, and
            `metrics_port` its port.
    """
    if named := settings.get("server_metrics_url"):
        return str(named)
    parts = urlsplit(address)
    if port := settings.get("metrics_port"):
        return f"http://{parts.hostname}:{port}/metrics"
    if service not in PAGES or parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], PAGES[service], "", ""))
