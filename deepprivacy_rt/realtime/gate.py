"""The panic switch: one step to the slate, two steps back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

ARM_SECONDS = 10.0
"""How long the first step back is good for."""


class Gate:
    """Says whether the picture may be shown. Safe to use from any thread, signal handlers excepted.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._closed = False
        self._armed_at: float | None = None
        self._listeners: list[Callable[[], None]] = []

    def listen(self, callback: Callable[[], None]) -> None:
        """Call this after every change, on the thread that made it."""
        self._listeners.append(callback)

    @property
    def closed(self) -> bool:
        """Whether the slate has to be shown."""
        return self._closed

    @property
    def armed(self) -> bool:
        """Whether the first step back was made a moment ago."""
        armed_at = self._armed_at
        return self._closed and armed_at is not None and self._clock() - armed_at <= ARM_SECONDS

    def panic(self) -> None:
        """Show the slate from now on."""
        with self._lock:
            self._closed, self._armed_at = True, None
        self._tell()

    def arm(self) -> None:
        """Make the first step back. Without effect on an open gate."""
        with self._lock:
            self._armed_at = self._clock() if self._closed else None
        self._tell()

    def resume(self) -> bool:
        """Make the second step back, good only shortly after ``arm``; return whether the picture is shown now."""
        with self._lock:
            if self._closed and self.armed:
                self._closed = False
            self._armed_at = None
        self._tell()
        return not self._closed

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()
