"""CPU time per stage, cheaply."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimes:
    """Adds up the CPU time that each stage spends. Safe to share between threads.

    Counts the thread that runs the stage; threads that a library starts by itself (a decoder's, an inference
    runtime's) are not seen here: compare with the process's CPU time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU time of the with-block, on this thread, to a stage; also when it raises."""
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            with self._lock:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent

    def seconds(self) -> dict[str, float]:
        """Return CPU seconds by stage so far."""
        with self._lock:
            return dict(self._seconds)
