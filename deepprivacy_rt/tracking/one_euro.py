"""The One Euro filter: calm at rest, quick in motion."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_DERIVATIVE_CUTOFF = 3.0


class OneEuroFilter:
    """Low-pass filter of a vector, whose cut-off rises with the speed of each component.

    Casiez, Roussel, Vogel: 1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems,
    CHI 2012. Speed is measured in multiples of ``scale`` (the size of the face), so near and far faces are smoothed
    alike.
    """

    def __init__(self, min_cutoff: float, beta: float) -> None:
        """:param min_cutoff: Hz at rest. :param beta: Hz per (scale per second)."""
        self._min_cutoff = min_cutoff
        self._beta = beta
        self._value: Vector | None = None
        self._speed: Vector | None = None

    def __call__(self, value: Vector, seconds: float, scale: float) -> Vector:
        """Return the smoothed value.

        :param value: (n,) float64.
        :param seconds: time since the last call, above 0.
        :param scale: size of the face in the value's unit, above 0.
        """
        if self._value is None or self._speed is None:
            self._value, self._speed = value.copy(), np.zeros_like(value)
            return self._value
        speed = (value - self._value) / (seconds * scale)
        self._speed = self._speed + _weight(_DERIVATIVE_CUTOFF, seconds) * (speed - self._speed)
        cutoff = self._min_cutoff + self._beta * np.abs(self._speed)
        time_constant = 1.0 / (2.0 * math.pi * cutoff)
        self._value = np.asarray(self._value + (value - self._value) / (1.0 + time_constant / seconds))
        return self._value

    def move_to(self, value: Vector) -> None:
        """Replace the filter's value, without a change of speed."""
        self._value = value.copy()


def _weight(cutoff: float, seconds: float) -> float:
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * seconds))
