"""A slot for one item between two threads: who is late finds the newest, and an end or an error is never lost."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")

_WAKE_S = 0.5
"""A wait without end cannot be interrupted by Ctrl-C on every system."""


class Newest(Generic[T]):
    """Holds the newest item until it is taken. Every method may be called from any thread.

    :ivar replaced: how many items were overwritten before anybody took them.
    """

    def __init__(self) -> None:
        self.replaced = 0
        self._changed = threading.Condition()
        self._items: list[T] = []
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Put an item in place of the one that is there. Without effect after the end."""
        with self._changed:
            if self._ended:
                return
            self.replaced += len(self._items)
            self._items = [item]
            self._changed.notify_all()

    def end(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Say that nothing more comes, and why; the first word counts. ``discard`` forgets what was not taken."""
        with self._changed:
            if discard:
                self._items = []
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> T | None:
        """Wait for an item and return it, or None after the end. Raises the error that ``end`` was given, once."""
        with self._changed:
            while not self._items and not self._ended:
                self._changed.wait(_WAKE_S)
            if self._items:
                return self._items.pop()
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None
