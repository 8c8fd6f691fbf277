"""Tells pictures that were held back, by the network or because this process stood still, from fresh ones."""

from __future__ import annotations

from fractions import Fraction

TOLERANCE_S = 0.7
_LATE_FOR_S = 3.0
_DRIFT = 0.001
"""How much faster than ours a camera's clock may seem to run, in seconds per second; real ones: 0.0001."""


class Lateness:
    """Compares the arrival of pictures with their own time stamps; the best delay seen so far is the usual one.

    What arrives much later than usual waited somewhere: it shows the past. Where that goes on, or the stream's clock
    has jumped, a new connection is the cure.

    :ivar hopeless: pictures have been late for three seconds without a break.
    """

    def __init__(self, tolerance_s: float = TOLERANCE_S) -> None:
        """:param tolerance_s: seconds more than usual that a picture may take."""
        self._tolerance_s = tolerance_s
        self.hopeless = False
        self._usual: float | None = None
        self._last_arrival = 0.0
        self._late_since: float | None = None

    def is_late(self, arrival_ns: int, stream_time: Fraction | None) -> bool:
        """Judge the next picture.

        :param arrival_ns: ``time.monotonic_ns()``.
        :param stream_time: its own time stamp in seconds; a picture without one counts as fresh.
        """
        if stream_time is None:
            return False
        arrival = arrival_ns / 1e9
        delay = arrival - float(stream_time)
        if self._usual is None:
            self._usual = delay
        else:
            drifted = self._usual + _DRIFT * (arrival - self._last_arrival)
            self._usual = min(delay, drifted)
        self._last_arrival = arrival
        if delay - self._usual <= self._tolerance_s:
            self._late_since = None
            return False
        if self._late_since is None:
            self._late_since = arrival
        self.hopeless = arrival - self._late_since > _LATE_FOR_S
        return True
