"""Implements what samplers of a service's own statistics have in common: a thread asks the service once a second.

So a slow service delays no other sampler. A sample takes the answer that has arrived since the last one; where none has, it is null. The
question is work for the service that is measured, and its connection is one of those that it counts; both are small, and the same in
every measurement.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from shared.columns import Column
from worker.samplers.base import Lack, Place, Values, Vanished

PERIOD_S = 1.0
TIMEOUT_S = 2.0


class NoAnswer(Exception):
    """Raised when a service does not tell its statistics. The message says why."""


def lack_of(watched: PolledService) -> Lack | None:
    """Return why a service cannot be sampled, or None if it tells its statistics."""
    if not watched.place.service_address:
        return Lack("no service is under load")
    try:
        watched.ask()
    except NoAnswer as error:
        return Lack(str(error))
    finally:
        watched.hang_up()
    return None


class PolledService(ABC):
    """Samples what one service tells. A subclass says what that is, and asks."""

    source: ClassVar[str]
    units: ClassVar[Mapping[str, str]]
    """The unit of each statistic that the service may tell."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._names: list[str] = []
        self._told: Mapping[str, float] | None = None
        self._why = ""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def ask(self) -> Mapping[str, float]:
        """Return the statistics of now. A connection that was lost is opened again.

        Raises:
            NoAnswer: The service does not tell them.
        """

    @abstractmethod
    def hang_up(self) -> None:
        """Close the connection, if there is one."""

    def open(self) -> Sequence[Column]:
        try:
            self._told = self.ask()
        except NoAnswer as error:
            self.hang_up()
            raise Vanished(str(error)) from error
        self._names = [name for name in self.units if name in self._told]
        self._thread = threading.Thread(target=self._watch, name=f"statistics of {self.source}", daemon=True)
        self._thread.start()
        return [Column(name=f"{self.source}_{name}", unit=self.units[name], source=self.source) for name in self._names]

    def read(self) -> Values:
        """Return what was told since the last call. The values are None if nothing was."""
        told, self._told = self._told, None
        return [None if told is None else told.get(name) for name in self._names]

    def missing(self) -> Mapping[str, str]:
        return {f"{self.source}_{name}": self._why for name in self._names} if self._why else {}

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)
        self.hang_up()

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD_S):
            try:
                self._told, self._why = self.ask(), ""
            except NoAnswer as error:
                self._why = str(error)
                self.hang_up()
