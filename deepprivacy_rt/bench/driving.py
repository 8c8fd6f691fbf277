"""Runs the streams of one cell side by side, and ends them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from deepprivacy_rt.bench.watching import Watcher
from deepprivacy_rt.errors import StageError, Stopped

_PATIENCE_SECONDS = 60.0
_JOIN_SECONDS = 10.0


def drive(works: Sequence[Callable[[], object]], watcher: Watcher, stop: threading.Event) -> None:
    """Do the works, each on a thread of its own, and watch that frames are written. Interrupts end them.

    Where one ends, all do: what is measured is all of them at once. Raises what one of them raised, and StageError
    where no frames are written any more, where one does not end, and where all end before the run does.
    """
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # it belongs to the caller
            failures.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,), name="bench", daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        _watch(watcher, stop)
    finally:
        stop.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    if any(thread.is_alive() for thread in threads):  # it would take its share of the next cell
        raise StageError(f"the pipeline did not end within {_JOIN_SECONDS:.0f} seconds")
    if not watcher.end:
        raise StageError("the pipeline ended before the run did")


def _watch(watcher: Watcher, stop: threading.Event) -> None:
    """Return when it is time to stop. Raises StageError."""
    last = time.monotonic()
    while not stop.wait(0.05):
        if watcher.progress.is_set():
            watcher.progress.clear()
            last = time.monotonic()
        if time.monotonic() - last > _PATIENCE_SECONDS:
            cause = f": {watcher.problem}" if watcher.problem else ""
            raise StageError(f"no frame was written for {_PATIENCE_SECONDS:.0f} seconds{cause}")
