"""Says why keys in a wrong place or of other frameworks cannot be honoured, and recognises recipes whose whole form is another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.kinds.generation import OF_A_TASK

_START_IT = "leave it out, or start the server yourself and write its `address`"
_ENVIRONMENT = "only those variables of a server's environment are taken that have a setting here, and not these; "
_NO_LOGIN = "a server that is started for a measurement asks for no password; leave it out"
# Keys that recipes of other frameworks have, by section and name, and why this version refuses them.
_REFUSED: dict[tuple[str, ...], str] = {
    ("service", "command"): f"a server is started as its `type` says, and not by a command of the recipe; {_START_IT}",
    ("service", "args"): f"a server is started as its `type` says, and not with arguments of the recipe; {_START_IT}",
    ("service", "container_image"): "the image of a container is called `image` here",
    ("service", "container"): "the image of a container is called `image` here, and its engine is the one that the device has",
    ("service", "resources"): "the resources of a cluster's job are keys of `service` itself: `partition`, `nodes`, `time_limit`, `memory`",
    ("service", "health_check"): "the health check follows from the `type`; `health_timeout_s` says how long it may fail",
    ("service", "ports"): "the port is `settings.port`; without it, a free one is taken",
    ("service", "port"): "this type of service has no setting for a port; leave it out",
    ("service", "environment"): _ENVIRONMENT + _START_IT,
    ("service", "env"): _ENVIRONMENT + _START_IT,
    ("service", "settings", "POSTGRES_PASSWORD"): _NO_LOGIN,
    ("service", "settings", "requirepass"): _NO_LOGIN,
    ("client", "command"): "the clients are those of this version, and no command of the recipe is run; name what they send with `type`",
    ("client", "parameters"): "the parameters of the clients are called `settings` here",
    ("client", "resources"): "the clients run on the device of the worker; leave it out",
    ("client", "target_service"): "the clients drive the `service` of the same recipe; for one that runs already, write `service.address`",
    (
        "client",
        "settings",
        "query",
    ): "this version sends inserts into a table of its own and reads from it, and no statement of the recipe; leave it out",
    ("client", "settings", "transactions"): "the numbers of requests are called `num_inserts` and `num_selects` here",
    (
        "client",
        "settings",
        "tokenizer",
    ): "tokens are counted as the server's `usage` says, or else by its events, and not by a tokenizer; leave it out",
    ("client", "settings", "threads"): "the number of client processes is `benchmarks.num_clients`",
}
_NO_GRPC = (
    "the protocol follows from the `type`, and no gRPC is spoken: Triton and Qdrant are asked over HTTP; leave it out, and give the "
    "`address` of the HTTP port (usually 8000 of Triton, and 6333 of Qdrant)"
)
_REFUSED |= {
    (section, *settings, key): _NO_GRPC
    for section in ("service", "client")
    for settings in ((), ("settings",))
    for key in ("protocol", "grpc", "use_grpc", "prefer_grpc")
}
_REFUSED |= {("task", key): f"`{key}` stands beside `task`, not in it" for key in OF_A_TASK}
# Keys at the top that only recipes of other forms have.
_FORMS = ("services", "workload", "dataset", "job", "benchmark", "orchestration", "parameters", "target_service")
FORM = "`service: {type: …}`, `client: {type: …, settings: {…}}` and `benchmarks: {num_clients: …}`"


def why_refused(location: Sequence[str | int]) -> str | None:
    """Return why a key cannot be honoured, or None if it is simply not known."""
    return _REFUSED.get(tuple(map(str, location)))


def other_form(content: Mapping[str, Any], marks: Sequence[str]) -> tuple[str, str] | None:
    """Return the key that shows that a recipe has a form which this version does not read, and a message about it; None if it has ours.

    Args:
        marks: the keys that say what a recipe measures. A recipe with one of them has our form.
    """
    if any(mark in content for mark in marks):
        return None
    key = next((key for key in _FORMS if key in content), None)
    if key == "services":
        return key, f"a recipe has one `service`; write one recipe for each of `services`, with {FORM}"
    if key is not None:
        return key, f"`{key}` belongs to the recipes of another framework, whose form this version does not read; write {FORM}"
    if "client" in content:
        return "client", "`client` stands beside the `service` that it drives, and this recipe has none; write `service: {type: …}`"
    return None
