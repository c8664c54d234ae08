"""Configures Celery, in this one place: JSON only, late acknowledgement, one message at a time, one queue for each capability.

kombu's visibility timeout is longer than any deadline, because the watch brings lost work back and redelivery must not.
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

# kombu's priorities on Redis: 0 is taken first. Each step is a list of its own, beside the queue's list.
PRIORITY_STEPS = [0, 3, 6, 9]
VISIBILITY_TIMEOUT_S = MAX_TIMEOUT_S + 86_400


def broker_priority(priority: int) -> int:
    """Converts a job's priority (9 first, 0 last) to the broker's (0 first, 9 last)."""
    return 9 - priority


class _Connection(Connection):  # type: ignore[misc]  # kombu has no types
    """kombu's connection, without the credential provider in what remote control's `stats` reports: it is no JSON."""

    def info(self) -> dict[str, Any]:
        return {name: value for name, value in super().info().items() if name != "credential_provider"}


def results_queue() -> Queue:
    return Queue(RESULTS_QUEUE, Exchange("", type="direct"), routing_key=RESULTS_QUEUE)


def make_celery_app(
    broker_url: str, queues: tuple[str, ...] = (), worker_id: str = "", credentials: CredentialProvider | None = None
) -> Celery:
    """Make a Celery application on `broker_url`. A worker names its queues, a publisher names none.

    Args:
        worker_id: gives this worker `unacked` keys of its own, so that no other process restores its message.
        credentials: is asked for user and password at each new connection. Those in the URL are not used then.
    """
    app = Celery("fleetmark", broker=for_kombu(broker_url), set_as_current=False)
    # Parts of Celery ask for "the current application" where they mean this one; without a default they would make one, and configure it
    # from a `celeryconfig.py` in the current folder, which belongs to another application.
    app.set_default()
    transport: dict[str, object] = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "priority_steps": PRIORITY_STEPS,
        "queue_order_strategy": "priority",
        # A connection may die unnoticed (a cable is pulled, a firewall forgets it). A publish gives it up after this timeout, in which
        # a result of 700 kB must pass over 600 kbit/s. A queue reader gives it up after a second and one or two intervals.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    if worker_id:
        transport |= {
            "unacked_key": f"unacked:{worker_id}",
            "unacked_index_key": f"unacked_index:{worker_id}",
            "unacked_mutex_key": f"unacked_mutex:{worker_id}",
        }
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
        # For mailboxes that expire, kombu runs scripts that delete keys of others. Our mailbox goes with its worker.
        control_queue_expires=None,
        task_create_missing_queues=True,
        task_default_queue="fleetmark.default",
        task_default_exchange="",  # queues are reached by their names alone, as a table of bindings could be changed to lead elsewhere
        task_queues=[Queue(name, Exchange("", type="direct"), routing_key=name) for name in queues] or None,
        timezone="UTC",
        enable_utc=True,
    )
    if credentials is not None:
        app.amqp.Connection = partial(_Connection, credential_provider=credentials)
    return app


def _tls(broker_url: str) -> dict[str, Any] | bool:
    """Returns how to encrypt. kombu would encrypt for `rediss://` and accept any certificate; here it is checked, as in redis-py."""
    if not broker_url.startswith("rediss://"):
        return False
    told: dict[str, Any] = parse_url(broker_url).get("ssl", {})
    return {"ssl_cert_reqs": "required"} | told
