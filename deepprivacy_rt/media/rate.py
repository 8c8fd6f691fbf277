"""A limit on how many pictures per second go on."""

from __future__ import annotations

from fractions import Fraction

_TOLERANCE = Fraction(11, 10)  # a camera that is a little faster than it says loses no pictures


class RateLimit:
    """Lets pictures through up to a rate, spread evenly; time stamps are not changed.

    A credit of at most two pictures grows with time, so that jitter around the right rate loses nothing.
    """

    def __init__(self, rate: Fraction) -> None:
        """:param rate: pictures per second."""
        self._rate = rate * _TOLERANCE
        self._credit = Fraction(2)
        self._last: Fraction | None = None

    def admits(self, pts: Fraction) -> bool:
        """Tell whether the picture at this time in seconds goes on. One that is not later than the last never does."""
        if self._last is not None:
            if pts <= self._last:
                return False
            self._credit = min(Fraction(2), self._credit + (pts - self._last) * self._rate)
        self._last = pts
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
