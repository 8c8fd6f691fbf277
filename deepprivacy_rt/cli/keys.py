"""Single keys from the terminal, without Enter."""

from __future__ import annotations

import contextlib
import select
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def reading_keys(on_key: Callable[[str], None]) -> Iterator[bool]:
    """Call ``on_key`` for every key pressed during the with-block, on another thread; yield whether that works here.

    Only in a terminal of a Unix system; its settings are put back in the end.
    """
    try:
        import termios
        import tty
    except ImportError:
        yield False
        return
    if not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            if select.select([descriptor], [], [], 0.05)[0]:
                key = sys.stdin.read(1)
                if not key:
                    return
                # A key pressed at the wrong time says so on the status line; it must not end the reading.
                with contextlib.suppress(Exception):
                    on_key(key)

    thread = threading.Thread(target=read, name="keys", daemon=True)
    try:
        tty.setcbreak(descriptor)
        thread.start()
        yield True
    finally:
        over.set()
        thread.join(0.5)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
