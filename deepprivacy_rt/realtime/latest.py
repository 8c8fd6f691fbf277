"""A place for one item between two threads, where the newest wins."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Holds the newest item until it is taken. Nothing ever waits to put one in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self._woken = False

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    def put(self, item: T) -> bool:
        """Offer an item; return whether one that nobody took was dropped for it."""
        with self._changed:
            dropped = self._item is not None
            self._item = item
            self._changed.notify_all()
            return dropped

    def take(self, timeout: float) -> T | None:
        """Return the newest item, waiting up to ``timeout`` seconds; None for a time-out, after ``wake``, or closed."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._item is None and not self._closed and not self._woken:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            item, self._item, self._woken = self._item, None, False
            return item

    def wake(self) -> None:
        """Let ``take`` return at once, with or without an item."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing will come any more. What is in the slot can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
