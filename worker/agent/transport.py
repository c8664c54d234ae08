"""kombu's Redis transport, except that it never puts a message back into a queue.

Redelivery is not how lost work comes back, the watch is; and whoever may write to a queue could give other workers any work, so a
worker's login does not (shared.protocol.logins). kombu itself puts a job in hand back whenever its connection is lost; here it stays
booked, and is acknowledged when it is done.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis import ConnectionPool, Redis


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    restore_at_shutdown = False

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """What has been unacknowledged for too long stays so: the next start of this worker forgets it."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, also what came over a connection that was lost since."""
        if not self.channel.closed:
            super().ack(delivery_tag)
            return
        with Redis(connection_pool=ConnectionPool(**self.channel.way)) as client, client.pipeline() as pipe:
            pipe.zrem(self.unacked_index_key, delivery_tag).hdel(self.unacked_key, delivery_tag).execute()
            client.connection_pool.disconnect()


class Channel(redis.Channel):  # type: ignore[misc]
    QoS = QoS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.way = self._connparams()  # to the broker: known no longer once the channel is closed

    def _basic_cancel(self, consumer_tag: str) -> Any:
        """Cancel, and go on handing over what is on its way at this moment: kombu would put it back."""
        queue = self._tag_to_queue.get(consumer_tag)
        callback = self.connection._callbacks.get(queue)
        answer = super()._basic_cancel(consumer_tag)
        if callback is not None:
            self.connection._callbacks[queue] = callback
        return answer

    def forget_booked(self) -> None:
        """Forget what was taken over earlier connections: nothing is given out from there, and an acknowledgement may have been lost."""
        with self.conn_or_acquire() as client:
            client.delete(self.unacked_key, self.unacked_index_key)

    @property
    def is_reading(self) -> bool:
        """Whether a message may still come: Redis has been asked, a second ago at most, and has not answered."""
        return bool(self._in_poll)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel
