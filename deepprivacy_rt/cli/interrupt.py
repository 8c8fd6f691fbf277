"""Ctrl-C that always works: the job runs in a thread, the main thread waits for it and for signals.

Python runs signal handlers between two instructions of the main thread. Were the job there, one long call into a
native library (compiling a network takes seconds) would hold the signal up.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

GRACE_S = 1.6
"""How long a job may take to wind up after a signal."""
_SIGNALS = (
    (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGINT, signal.SIGTERM)
)


class UnresponsiveError(Exception):
    """The job was told to stop and still runs."""


def run_interruptibly(work: Callable[[threading.Event], int]) -> int:
    """Run ``work(stop)`` and return what it returns; SIGINT, SIGTERM and SIGHUP set ``stop``.

    Must be called in the main thread. Raises what ``work`` raises, and UnresponsiveError where it has not ended
    ``GRACE_S`` after the first signal; then the caller should clean up and leave with ``os._exit``.
    """
    stop = threading.Event()
    outcome: list[int] = []
    failure: list[BaseException] = []

    def job() -> None:
        try:
            outcome.append(work(stop))
        except BaseException as error:  # handed to the main thread, whatever it is
            failure.append(error)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    thread = threading.Thread(target=job, name="anonymize", daemon=True)
    previous = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        thread.start()
        _wait(thread, stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failure:
        raise failure[0]
    return outcome[0]


def _wait(thread: threading.Thread, stop: threading.Event) -> None:
    deadline = None
    while thread.is_alive():
        thread.join(0.05)
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline and thread.is_alive():
            raise UnresponsiveError
