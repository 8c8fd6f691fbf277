"""Looking at video often enough to follow faces, and no oftener."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from deepprivacy_rt.stages import Detector
from deepprivacy_rt.types import Detection, Frame

QUICK_PERIOD = Fraction(1, 20)
FULL_PERIOD = Fraction(9, 100)
"""Seconds from one look to the next, at least. At 30 frames per second that is a quick look at every second frame and
a full one at every fourth; at 10 and below, a full look at every frame."""


class PacedDetector:
    """Looks by time, not by frame: the best look at the first frame, then quick ones, and full ones less often.

    A picture is a stream of one frame: no later look finds what the first one missed.

    Implements :class:`deepprivacy_rt.stages.Detector` for one stream. It returns nothing for the frames between two
    looks: a tracker that looks ahead knows where the faces are there from before and after, one that does not lets
    them move on. Periods are in stream time, whatever the frame rate, so slow and variable ones are safe.

    :param quick: the cheaper of both; it may be the same. :param first: for the first frame; None: ``full``.
    """

    def __init__(self, quick: Detector, full: Detector, first: Detector | None = None) -> None:
        self._quick = quick
        self._full = full
        self._first = first or full
        self._quick_period, self._full_period = QUICK_PERIOD, FULL_PERIOD
        self._last_look: Fraction | None = None
        self._last_full_look: Fraction | None = None

    def set_pace(self, quick: Fraction, full: Fraction) -> None:
        """Change the periods, in seconds, from the next frame on. From any thread."""
        self._quick_period, self._full_period = quick, full

    def detect(self, frame: Frame) -> Sequence[Detection]:
        """Return the faces of a frame that it is time to look at, best first; nothing for another.

        Raises what the detectors raise; the next frame is looked at then.
        """
        if not _is_due(self._last_look, frame.pts, self._quick_period):
            return []
        is_full = _is_due(self._last_full_look, frame.pts, self._full_period)
        full = self._first if self._last_look is None else self._full
        found = (full if is_full else self._quick).detect(frame)
        self._last_look = frame.pts
        if is_full:
            self._last_full_look = frame.pts
        return found


def _is_due(last: Fraction | None, now: Fraction, period: Fraction) -> bool:
    return last is None or not 0 <= now - last < period
