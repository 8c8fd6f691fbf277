"""Ctrl-C that always works: the job runs in a thread, the main thread waits for it and for signals.

Python runs signal handlers between two instructions of the main thread. Were the job there, one long call into a
native library (compiling a network takes seconds) would hold the signal up.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], None]

GRACE_S = 1.6
"""How long a job may take to wind up after a signal."""
_SIGNALS = (
    (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGINT, signal.SIGTERM)
)


class UnresponsiveError(Exception):
    """The job was told to stop and still runs."""


def run_interruptibly(work: Callable[[threading.Event], int], grace_s: float = GRACE_S) -> int:
    """Run ``work(stop)`` and return what it returns; SIGINT, SIGTERM and SIGHUP set ``stop``, but those ignored so far.

    Must be called in the main thread. Raises what ``work`` raises, and UnresponsiveError where it has not ended
    ``grace_s`` after the first signal; then the caller should clean up and leave with ``os._exit``.
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
    with _handled(_SIGNALS, on_signal):
        thread.start()
        _wait(thread, stop, grace_s)
    if failure:
        raise failure[0]
    return outcome[0]


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, once, so that what is temporary is removed: it may be private.

    Does nothing outside of the main thread, where no handler can be set.
    """

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for one in others:  # a second one would hold up the removal
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    others = [number for number in _SIGNALS if number != signal.SIGINT]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled(others, on_signal):
        yield


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """Handle signals, but those that are ignored: under ``nohup``, a terminal that closes is to end nothing."""
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


def _wait(thread: threading.Thread, stop: threading.Event, grace_s: float) -> None:
    deadline = None
    while thread.is_alive():
        thread.join(0.05)
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + grace_s
        if deadline is not None and time.monotonic() > deadline and thread.is_alive():
            raise UnresponsiveError
