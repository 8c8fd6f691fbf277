"""Sound on its way beside the pictures: frozen, and checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.int16]
"""(n, 2) int16: left, right."""

SOUND_RATE = 48_000
"""Samples per second."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A short piece of sound, just as it was captured: a voice identifies.

    :ivar samples: (n, 2) int16 C-contiguous, left and right, ``SOUND_RATE`` per second.
    :ivar time: ``time.monotonic()`` when the first sample was captured, in seconds.
    """

    samples: Samples
    time: float

    def __post_init__(self) -> None:
        samples = self.samples
        stereo = samples.ndim == 2 and samples.shape[1] == 2 and len(samples) > 0
        if samples.dtype != np.int16 or not stereo or not samples.flags.c_contiguous:
            raise ValueError(f"sound must be (n, 2) int16 C-contiguous, not {samples.shape} {samples.dtype}")

    @property
    def end(self) -> float:
        """``time.monotonic()`` after the last sample."""
        return self.time + len(self.samples) / SOUND_RATE
