"""Says at the start of a process what it needs and does not find. The process starts anyway, because these come back by themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable

import redis

from orchestrator.operations.context import Context
from shared.brokers import shown_place
from shared.errors import Unavailable
from shared.readiness import failed_checks, require_writable

log = logging.getLogger(__name__)


def log_what_is_missing(ctx: Context, *, files: bool) -> int:
    """Log within 3 s which of Redis, the database and the folders cannot be used. Return how many.

    Args:
        files: True if the process writes the folders of outputs and models.
    """
    url, settings = ctx.store.url, ctx.settings
    place = url.database if ctx.store.is_sqlite else f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"
    checks: dict[str, Callable[[], object]] = {
        f"the Redis at {shown_place(settings.redis_url)}": lambda: _require_redis(ctx),
        f"the database {place}": ctx.store.ping_ms,
    }
    if files:
        checks["the outputs folder"] = lambda: require_writable(settings.outputs_dir, "FLEETMARK_OUTPUTS_DIR")
        checks["the models folder"] = lambda: require_writable(settings.models_dir, "FLEETMARK_MODELS_DIR")
    errors = failed_checks(checks)
    for error in errors:
        log.warning("%s; this process waits for it, and goes on when it is back", error.detail)
    return len(errors)


def _require_redis(ctx: Context) -> None:
    try:
        ctx.registry.ping_ms()
    except redis.RedisError as error:  # it answers, but for example refuses our user this command
        raise Unavailable(f"Redis cannot be used: {error}") from error
