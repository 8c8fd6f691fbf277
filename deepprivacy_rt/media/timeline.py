"""Make time stamps strictly rising, across files that were glued together and frames that carry none."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

_DISCONTINUITY = Fraction(1)
"""A step back of more than this many seconds means that the clock restarted, not that two frames are out of order."""


@dataclass(slots=True)
class Timeline:
    """Turns the time stamps of one stream into strictly rising ones and counts what had to be changed.

    :ivar tick: smallest step, in seconds.
    :ivar step: seconds to add where a time stamp is missing.
    :ivar invented: how many were missing.
    :ivar moved: how many were not rising.
    """

    tick: Fraction
    step: Fraction
    invented: int = 0
    moved: int = 0
    _last: Fraction | None = field(default=None, init=False)
    _offset: Fraction = field(default=Fraction(0), init=False)

    def place(self, time: Fraction | None) -> Fraction:
        """Return the time in seconds of the next frame; the first one without any starts at 0."""
        if time is None:
            self.invented += 1
            placed = Fraction(0) if self._last is None else self._last + self.step
        else:
            placed = self._rising(time + self._offset)
        self._last = placed
        return placed

    def _rising(self, time: Fraction) -> Fraction:
        if self._last is None or time > self._last:
            return time
        self.moved += 1
        if self._last - time > _DISCONTINUITY:
            self._offset += self._last + self.step - time
            return self._last + self.step
        return self._last + self.tick
