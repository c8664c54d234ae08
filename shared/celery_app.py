"""Configures Celery. This is the only place that does.

Messages are JSON. A worker takes one message at a time and acknowledges it when the job has ended. Each capability has one queue.
kombu's visibility timeout is longer than any deadline, so kombu never delivers a message twice. Lost jobs are requeued by the watch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.utils.url import parse_url
from redis import CredentialProvider

from shared.brokers import for_kombu
from shared.capabilities import RESULTS_QUEUE
from shared.jobs import MAX_TIMEOUT_S
from shared.protocol import keys

# These are kombu's priorities on Redis. Messages of priority 0 are taken first. Each step other than 0 has its own Redis list.
PRIORITY_STEPS = [0, 3, 6, 9]
VISIBILITY_TIMEOUT_S = MAX_TIMEOUT_S + 86_400


def broker_priority(priority: int) -> int:
    """Converts a job's priority (9 first, 0 last) to the broker's (0 first, 9 last)."""
    return 9 - priority


class _Connection(Connection):  # type: ignore[misc]  # kombu has no types
    """Is kombu's connection, but leaves the credential provider out of `info`.

    Celery's remote-control command `stats` sends `info` as JSON, and the provider cannot be written as JSON.
    """

    def info(self) -> dict[str, Any]:
        return {name: value for name, value in super().info().items() if name != "credential_provider"}


def results_queue() -> Queue:
    return Queue(RESULTS_QUEUE, Exchange("", type="direct"), routing_key=RESULTS_QUEUE)


def make_celery_app(
    broker_url: str, queues: tuple[str, ...] = (), worker_id: str = "", credentials: CredentialProvider | None = None
) -> Celery:
    """Make a Celery application that uses the broker at `broker_url`.

    Args:
        queues: the queues that a worker reads; empty for a process that only publishes.
        worker_id: gives this worker its own `unacked` keys, so that no other process restores its message.
        credentials: is asked for user name and password at each new connection, instead of using those in the URL.
    """
    app = Celery("fleetmark", broker=for_kombu(broker_url), set_as_current=False)
    # Parts of Celery ask for "the current application" and must get this one. Without a default they would make a new application and
    # configure it from a `celeryconfig.py` in the current folder, which belongs to another program.
    app.set_default()
    transport: dict[str, object] = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "priority_steps": PRIORITY_STEPS,
        "queue_order_strategy": "priority",
        # A connection may die without notice, for example when a cable is pulled or a firewall drops it. A publish gives up after this
        # timeout. It is long enough to send a result of 700 kB at 600 kbit/s. A queue reader gives up after a second and one or two
        # health check intervals.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    if worker_id:
        transport |= dict(zip(("unacked_key", "unacked_index_key", "unacked_mutex_key"), keys.unacked(worker_id), strict=True))
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_track_started=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="threads",
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport,
        broker_use_ssl=_tls(broker_url),
        # If mailboxes expire, kombu runs scripts that also delete keys of other clients. So ours never expires; it is deleted when its
        # worker stops.
        control_queue_expires=None,
        task_create_missing_queues=True,
        task_default_queue="fleetmark.default",
        task_default_exchange="",  # queues are addressed by name; a binding table in Redis could be changed to redirect messages
        task_queues=[Queue(name, Exchange("", type="direct"), routing_key=name) for name in queues] or None,
        timezone="UTC",
        enable_utc=True,
    )
    if credentials is not None:
        app.amqp.Connection = partial(_Connection, credential_provider=credentials)
    return app


def _tls(broker_url: str) -> dict[str, Any] | bool:
    """Return the TLS options of the broker connection, or False without TLS.

    For `rediss://`, kombu alone would encrypt but accept any certificate. These options make it check the certificate, as redis-py does.
    """
    if not broker_url.startswith("rediss://"):
        return False
    told: dict[str, Any] = parse_url(broker_url).get("ssl", {})
    return {"ssl_cert_reqs": "required"} | told
