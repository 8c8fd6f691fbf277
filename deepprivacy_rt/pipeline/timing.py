"""Time per stage, cheaply."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Call(NamedTuple):
    """One call of a stage, in seconds.

    :ivar wall: time elapsed, waiting for a GPU or for a turn on the CPU included.
    :ivar cpu: CPU time of the thread that runs the stage.
    """

    wall: float
    cpu: float


class StageTimes:
    """Adds up the CPU time that each stage spends. Safe to share between threads.

    Counts the thread that runs the stage; threads that a library starts by itself (a decoder's, an inference
    runtime's) are not seen here: compare with the process's CPU time.
    """

    def __init__(self, keep: int = 0) -> None:
        """:param keep: so many of the last calls of every stage are kept one by one, for percentiles."""
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._keep = keep
        self._calls: dict[str, deque[Call]] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU time of the with-block, on this thread, to a stage; also when it raises."""
        begin, start = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            elapsed = time.perf_counter() - begin
            with self._lock:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent
                if self._keep:
                    self._calls.setdefault(stage, deque(maxlen=self._keep)).append(Call(elapsed, spent))

    def seconds(self) -> dict[str, float]:
        """Return CPU seconds by stage so far."""
        with self._lock:
            return dict(self._seconds)

    def take_calls(self) -> dict[str, list[Call]]:
        """Return the calls that were kept since this was last asked, oldest first, and forget them."""
        with self._lock:
            taken, self._calls = self._calls, {}
        return {stage: list(calls) for stage, calls in taken.items()}
