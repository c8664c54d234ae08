"""Provides a network connection between a process and a server that a test can cut.

It runs in user space, so it works on every system and for every user. It cannot drop packets: a connection that is opened while it is cut
is accepted but never answered, as by a machine that hangs.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Forwarder:
    """Forwards connections to a port of this machine. While it is cut, it accepts data and answers nothing."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._cut = False
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, name="forwarder", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                connection = _Connection(near, None if self._cut else socket.create_connection(self._target))
                self._connections.append(connection)
            connection.start()

    def cut(self) -> None:
        """Stop forwarding without closing the connections, so that neither end notices."""
        with self._lock:
            self._cut = True
            for connection in self._connections:
                connection.dead.set()

    def heal(self) -> None:
        """Forward new connections again. Earlier connections stay half open, as behind a firewall that has dropped them."""
        with self._lock:
            self._cut = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # this wakes the thread that waits in accept
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()


class _Connection:
    def __init__(self, near: socket.socket, far: socket.socket | None) -> None:
        self._near, self._far = near, far
        self.dead = threading.Event()
        if far is None:
            self.dead.set()

    def start(self) -> None:
        threading.Thread(target=self._pump, args=(self._near, self._far), daemon=True).start()
        if self._far is not None:
            threading.Thread(target=self._pump, args=(self._far, self._near), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if sink is not None and not self.dead.is_set():
                    sink.sendall(data)
            if not self.dead.is_set():
                self.close()

    def close(self) -> None:
        for end in (self._near, self._far):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


@contextlib.contextmanager
def forwarder(port: int) -> Iterator[Forwarder]:
    made = Forwarder(port)
    try:
        yield made
    finally:
        made.close()
