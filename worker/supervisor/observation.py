"""Observes the machine for one attempt, only while its own processes are measured, and grades the noise of all of them together."""

from __future__ import annotations

from shared.measurements import Noise
from worker.hardware.noise import grade
from worker.hardware.noise_probe import Measured, NoiseProbe
from worker.hardware.noise_windows import Window, joined
from worker.supervisor.guard_process import GuardProcess


class Observation:
    """Holds what was seen while an attempt was measured. Only one attempt may be observed at a time: the others are paused.

    Args:
        lock_doubt: Why other workers of the host may use another lock. Empty if there is no doubt.
    """

    def __init__(self, probe: NoiseProbe, capability: str, lock_doubt: str) -> None:
        self._probe, self._capability, self._lock_doubt = probe, capability, lock_doubt
        self._windows: list[Window] = []
        self._before: Measured | None = None  # what was measured before the present window; None while nothing is observed
        self.noise: Noise | None = None

    def go_on(self, guard: GuardProcess, measured: Measured) -> None:
        """Begin to observe, unless that has begun.

        Args:
            measured: What is known of all processes of the attempt so far.
        """
        if self._before is None:
            self._probe.before(self._capability, guard.pid, {"steering": guard.steering, "host_lock_doubt": self._lock_doubt})
            self._before = measured

    def pause(self, measured: Measured) -> None:
        """Stop observing, because another attempt is next, or nothing. `measured` is as for `go_on`."""
        if self._before is not None:
            cpu_s, voided = measured.cpu_s - self._before.cpu_s, measured.voided - self._before.voided
            still_s = measured.stood_still_s - self._before.stood_still_s
            self._windows.append(self._probe.observed(Measured(cpu_s, measured.threads, voided, still_s)))
            self._before = None

    def judge(self, measured: Measured) -> Noise | None:
        """End the observation, and return the noise. Returns None if nothing was observed, or if it was judged before."""
        self.pause(measured)
        if not self._windows or self.noise is not None:
            return None
        self.noise = grade(joined(self._windows))
        return self.noise
