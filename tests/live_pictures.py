"""Pictures with a known content and a running number, and what plays them into a sink."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from waiting import WaitedInVain, until

from deepprivacy_rt.errors import EnvironmentProblem, SinkError
from deepprivacy_rt.stages import Sink
from deepprivacy_rt.types import Image, SafeFrame

QUARTERS = ((200, 30, 30), (30, 180, 40), (40, 60, 200), (128, 128, 128))
"""Colours of the quarters: top left, top right, bottom left, bottom right."""
_BITS = 12


def picture(index: int, size: tuple[int, int] = (320, 240)) -> Image:
    """Return four coloured quarters, (h, w, 3) RGB, with the index as black and white fields across the middle."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    halves = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    for number, colour in enumerate(QUARTERS):
        image[halves[0][number // 2], halves[1][number % 2]] = colour
    field = width // (_BITS + 2)
    for bit in range(_BITS):
        columns = slice((bit + 1) * field, (bit + 2) * field)
        image[height * 7 // 16 : height * 9 // 16, columns] = 255 if index >> bit & 1 else 0
    return image


def number(image: Image) -> int:
    """Read the index."""
    height, width = image.shape[:2]
    field = width // (_BITS + 2)
    row = image[height // 2 - 2 : height // 2 + 2].mean(axis=(0, 2))
    return sum(int(row[(bit + 1) * field + field // 2] > 128) << bit for bit in range(_BITS))


def colour_error(image: Image) -> float:
    """Return how far the quarters are from their colours, at worst, in levels."""
    height, width = image.shape[:2]
    worst = 0.0
    for index, colour in enumerate(QUARTERS):
        y, x = height // 4 + (index // 2) * height // 2, width // 4 + (index % 2) * width // 2
        patch = image[y - height // 16 : y + height // 16, x - 8 : x + 8].reshape(-1, 3).mean(0)
        worst = max(worst, float(np.abs(patch - colour).max()))
    return worst


def safe(image: Image, index: int, pts: Fraction | None = None) -> SafeFrame:
    """Wrap a picture; its time is now unless given."""
    now = Fraction(time.monotonic_ns(), 10**9) if pts is None else pts
    return SafeFrame(image, np.zeros(image.shape[:2], np.bool_), index, now)


class Player(threading.Thread):
    """Does what the engine does for one sink: enters it on a thread and writes at a rate until told to stop.

    :ivar error: what the sink raised.
    :ivar longest: the longest call of ``write`` in seconds.
    :ivar exit_took: seconds.
    """

    def __init__(
        self, sink: Any, rate: float = 30.0, make: Callable[[int], Image] = picture, frames: int | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.sink: Sink = sink
        self._rate, self._make, self._frames = rate, make, frames
        self._stop_asked = threading.Event()
        self.error: BaseException | None = None
        self.written = 0
        self.longest = 0.0
        self.exit_took = 0.0

    def run(self) -> None:
        left = 0.0
        try:
            with self.sink:
                start = time.monotonic()
                try:
                    while not self._stop_asked.is_set() and self.written != self._frames:
                        begun = time.monotonic()
                        self.sink.write(safe(self._make(self.written), self.written))
                        self.longest = max(self.longest, time.monotonic() - begun)
                        self.written += 1
                        self._stop_asked.wait(max(0.0, start + self.written / self._rate - time.monotonic()))
                finally:
                    left = time.monotonic()
            self.exit_took = time.monotonic() - left
        except (SinkError, EnvironmentProblem) as error:
            self.exit_took = time.monotonic() - left
            self.error = error

    def until_open(self) -> None:
        """Wait until the sink, one with an encoder, has got the first picture through."""
        sink: Any = self.sink
        until(lambda: sink.encoder or not self.is_alive())
        self._check()
        assert sink.encoder, "ended before it was open"

    def _check(self) -> None:
        """Say what the sink raised. Where it ran out of patience, that was waiting in vain for this machine."""
        if self.error is not None and "nothing has moved" in str(self.error):
            raise WaitedInVain(str(self.error))
        assert self.error is None, self.error

    def finish(self, seconds: float = 60.0) -> None:
        """Stop and wait; what the sink raised is an error."""
        self._stop_asked.set()
        self.join(seconds)
        if self.is_alive():
            raise WaitedInVain(f"the sink was not closed within {seconds} s")
        self._check()

    def wait_for_error(self, seconds: float) -> str:
        """Wait until the sink has given up; returns its message."""
        self.join(seconds)
        if self.is_alive():
            self._stop_asked.set()
            raise WaitedInVain(f"no SinkError within {seconds} s")
        assert isinstance(self.error, SinkError)
        return str(self.error)
