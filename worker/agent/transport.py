"""Extends kombu's Redis transport so that it never puts a message back into a queue.

Lost jobs are sent again by the watch, not by redelivery. With the right to write to a queue, a worker could give others any work. So
a worker's login does not have that right (shared.protocol.logins). kombu puts the current job's message back whenever its connection
is lost. Here the message stays reserved, and is acknowledged when the job is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.transport import redis, virtual
from redis import ConnectionPool, OutOfMemoryError, Redis


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """Return whether to ask Redis for a message, or to read the answer to an earlier request.

        kombu calls this before it does either. A pending answer must be read: Redis has already removed the message from its queue, so
        nobody else can get it.
        """
        return bool(super().can_consume() and (self.channel.may_take() or self.channel.is_reading))

    def append(self, message: Any, delivery_tag: str) -> None:
        """Reserve a message that was taken. If Redis is full and cannot store the reservation, keep the message anyway.

        kombu would raise an error, and the message, which is already out of its queue, would be lost.
        """
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError:
            virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Do nothing. kombu would restore messages that were unacknowledged for long; here the next start of this worker removes them."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, even if the connection that it came over has been lost."""
        if not self.channel.closed:
            super().ack(delivery_tag)
            return
        with Redis(connection_pool=ConnectionPool(**self.channel.way)) as client, client.pipeline() as pipe:
            pipe.zrem(self.unacked_index_key, delivery_tag).hdel(self.unacked_key, delivery_tag).execute()
            client.connection_pool.disconnect()


class Channel(redis.Channel):  # type: ignore[misc]
    QoS = QoS
    may_take: Callable[[], bool] = staticmethod(lambda: True)  # the queue reader replaces it

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.way = self._connparams()  # the connection parameters, which a closed channel no longer has

    def _basic_cancel(self, consumer_tag: str) -> Any:
        """Cancel the consumer, but still deliver a message that is on its way. kombu would put it back."""
        queue = self._tag_to_queue.get(consumer_tag)
        callback = self.connection._callbacks.get(queue)
        answer = super()._basic_cancel(consumer_tag)
        if callback is not None:
            self.connection._callbacks[queue] = callback
        return answer

    def forget_booked(self) -> None:
        """Forget the messages of earlier connections. Nothing restores them, and their acknowledgement may have been lost."""
        with self.conn_or_acquire() as client:
            client.delete(self.unacked_key, self.unacked_index_key)

    @property
    def is_reading(self) -> bool:
        """Return whether a message may still arrive: Redis has been asked, at most a second ago, and has not answered."""
        return bool(self._in_poll)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel
