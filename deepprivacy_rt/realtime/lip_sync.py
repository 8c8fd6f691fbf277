"""Sound waits for its picture, and is forgotten where there is none."""

from __future__ import annotations

import threading
from collections import deque

from deepprivacy_rt.sound import SOUND_RATE, Sound

LEAD_S = 0.1
"""How much earlier than its picture sound is handed on: else a muxer would keep pictures back until their sound is
encoded. Both carry the time of their capture, so that players show them together."""
_HOLD_S = 3.0


class LipSync:
    """The sound of one output: held back for as long as its pictures are under way. From any thread.

    Holds three seconds at most; what is older has lost its pictures.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Sound] = deque()
        self._since = float("-inf")
        self._samples = 0

    @property
    def released(self) -> float:
        """Seconds of sound that were let out so far."""
        return self._samples / SOUND_RATE

    def offer(self, sound: Sound) -> None:
        """Hold the next piece of sound."""
        with self._lock:
            if sound.time < self._since:
                return
            self._waiting.append(sound)
            while sound.time - self._waiting[0].time > _HOLD_S:
                self._waiting.popleft()

    def release(self, picture_time: float) -> list[Sound]:
        """Return what was captured until a picture, and :data:`LEAD_S` longer. :param picture_time: of its capture."""
        released = []
        with self._lock:
            while self._waiting and self._waiting[0].end <= picture_time + LEAD_S:
                released.append(self._waiting.popleft())
            self._samples += sum(len(sound.samples) for sound in released)
        return released

    def forget(self, now: float) -> None:
        """Drop everything that was captured before now, whether it is here yet or comes late."""
        with self._lock:
            self._waiting.clear()
            self._since = now
