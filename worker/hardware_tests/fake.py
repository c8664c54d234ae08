"""Implements a hardware test whose figures are known in advance."""

from __future__ import annotations

from worker.hardware_tests.base import Reading, Readings, Share


class FakeTest:
    """Returns one figure that is there and one that the device lacks. No worker advertises it: only tests use it."""

    def run(self, share: Share) -> Readings:
        calls = (9.0, 10.0, 11.0)
        return Readings(
            (
                Reading("known_gb_per_s", "GB/s", "higher", max(calls), calls=calls),
                Reading("unknown_tflops", "TFLOP/s", "higher", None, "the fake device has no such unit"),
            ),
            {"method": "none", "share_s": share.seconds},
        )
