"""Lowers effort before frames are lost, and raises it again when there is room."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from deepprivacy_rt.stages import TakesTurns


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a detector looks, in seconds from one look to the next, at least, and who is drawn less often.

    :ivar quick: cheap looks. :ivar full: thorough ones; each is in place of a cheap one.
    :ivar turns_from: so many faces in a frame that those at rest are drawn in turns; 1: time is short.
    :ivar busy: effort is not raised to this while a stage works for a larger share of the time.
    """

    name: str
    quick: Fraction
    full: Fraction
    turns_from: int
    busy: float = 0.7


# Drawing less comes before looking less: a late look may leave a new face bare, a late drawing only its smile late.
# A look at every frame finds a new face a sixtieth of a second earlier, and costs 5 ms: other programs live here, too.
PACES = (
    Pace("a look at every frame", Fraction(0), Fraction(9, 100), 2, busy=0.4),
    Pace("20 looks per second", Fraction(1, 20), Fraction(9, 100), 2),
    Pace("20 looks per second, faces at rest drawn less often", Fraction(1, 20), Fraction(9, 100), 1),
    Pace("10 looks per second, faces at rest drawn less often", Fraction(1, 10), Fraction(3, 10), 1),
    Pace("6 quick looks per second, faces at rest drawn less often", Fraction(1, 6), Fraction(2), 1),
)
_START = 1
_TOO_MANY = 0.05
"""Share of dropped frames above which effort is lowered."""
_CALM_SECONDS = 10.0
_MUCH, _LONG_SECONDS = 0.2, 5.0
"""Share of dropped frames, and for how long, at which effort that cannot be lowered any more is not enough."""


class Paced(Protocol):
    """A detector whose pace can be changed while it runs."""

    def set_pace(self, quick: Fraction, full: Fraction) -> None:
        """Look so often from now on."""
        ...


class Governor:
    """Watches drops and load, a few times per second at most.

    :param report: called with one line for every change.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._level = _START
        self._detector: Paced | None = None
        self._replacer: TakesTurns | None = None
        self._captured = self._dropped = 0
        self._calm = self._short = 0.0

    @property
    def effort(self) -> str:
        """What is done at present."""
        return PACES[self._level].name

    def attach(self, detector: Paced | None, replacer: TakesTurns) -> None:
        """Govern these from now on. :param detector: None where the pace is fixed: then nothing is changed."""
        self._detector, self._replacer = detector, replacer
        self._apply()

    def update(self, seconds: float, captured: int, dropped: int, busy: float) -> None:
        """Take the account of some time.

        :param seconds: since the last call. :param captured, dropped: totals so far.
        :param busy: share of that time that the busiest stage worked, 0 to 1.
        """
        frames, lost = captured - self._captured, dropped - self._dropped
        self._captured, self._dropped = captured, dropped
        if self._replacer is None or frames <= 0:
            return
        self._advise(seconds, lost / frames)
        if self._detector is None:
            return
        if lost / frames > _TOO_MANY:
            self._calm = 0.0
            self._move(1)
        elif 0.0 < busy < PACES[max(self._level - 1, 0)].busy:  # 0: nothing was finished, all may be stuck
            self._calm += seconds
            if self._calm >= _CALM_SECONDS:
                self._calm = 0.0
                self._move(-1)
        else:
            self._calm = 0.0

    def _advise(self, seconds: float, lost: float) -> None:
        """Say once what helps where nothing is left to lower. :param lost: share of the frames."""
        if lost <= _MUCH or (self._detector is not None and self._level < len(PACES) - 1):
            self._short = min(self._short, 0.0)
            return
        self._short += seconds
        if self._short >= _LONG_SECONDS:
            self._short = -math.inf
            self._report(
                f"still too slow: {lost:.0%} of the frames are left out; a smaller picture (--size), fewer (--rate) "
                "or --filter solid take less"
            )

    def _move(self, step: int) -> None:
        level = min(max(self._level + step, 0), len(PACES) - 1)
        if level != self._level:
            self._level = level
            self._apply()
            self._report(f"{'too slow' if step > 0 else 'room to spare'}: {self.effort}")

    def _apply(self) -> None:
        if self._detector is not None and self._replacer is not None:
            pace = PACES[self._level]
            self._detector.set_pace(pace.quick, pace.full)
            self._replacer.take_turns(pace.turns_from)
