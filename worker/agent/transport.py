"""kombu's Redis transport, except that it never puts a message back into a queue.

Lost work comes back through the watch, not through redelivery. Whoever may write to a queue could give other workers any
work, so a worker's login may not (shared.protocol.logins). kombu puts a job in hand back whenever its connection is lost;
here the job stays booked, and its message is acknowledged when the job is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.transport import redis, virtual
from redis import ConnectionPool, OutOfMemoryError, Redis


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """Whether to ask Redis for a message, or to read the answer to what was asked.

        kombu asks here before it does either. An answer on its way must be read: Redis has taken the message out of its
        queue, and nobody else has it.
        """
        return bool(super().can_consume() and (self.channel.may_take() or self.channel.is_reading))

    def append(self, message: Any, delivery_tag: str) -> None:
        """Book a message that was taken. A full Redis cannot book it; the message is kept all the same.

        kombu would raise, and the message, which is out of its queue already, would be lost.
        """
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError:
            virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Do nothing with messages that have been unacknowledged for long. The next start of this worker forgets them."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, also one that came over a connection that was lost since."""
        if not self.channel.closed:
            super().ack(delivery_tag)
            return
        with Redis(connection_pool=ConnectionPool(**self.channel.way)) as client, client.pipeline() as pipe:
            pipe.zrem(self.unacked_index_key, delivery_tag).hdel(self.unacked_key, delivery_tag).execute()
            client.connection_pool.disconnect()


class Channel(redis.Channel):  # type: ignore[misc]
    QoS = QoS
    may_take: Callable[[], bool] = staticmethod(lambda: True)  # the queue reader sets its own

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.way = self._connparams()  # how to reach the broker; a closed channel does not know it any more

    def _basic_cancel(self, consumer_tag: str) -> Any:
        """Cancel, and still hand over a message that is on its way at this moment: kombu would put it back."""
        queue = self._tag_to_queue.get(consumer_tag)
        callback = self.connection._callbacks.get(queue)
        answer = super()._basic_cancel(consumer_tag)
        if callback is not None:
            self.connection._callbacks[queue] = callback
        return answer

    def forget_booked(self) -> None:
        """Forget what was taken over earlier connections: nobody restores it, and its acknowledgement may have been lost."""
        with self.conn_or_acquire() as client:
            client.delete(self.unacked_key, self.unacked_index_key)

    @property
    def is_reading(self) -> bool:
        """Whether a message may still come: Redis has been asked, a second ago at most, and has not answered."""
        return bool(self._in_poll)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel
