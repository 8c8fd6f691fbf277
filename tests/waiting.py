"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


class WaitedInVain(AssertionError):
    """What a test waited for did not come in time: of a machine that stood still meanwhile, it says nothing."""


def until(
    condition: Callable[[], object], seconds: float = 60, what: Callable[[], object] = lambda: "nothing came"
) -> None:
    """Return once the condition is met. Raises WaitedInVain with ``what()`` where it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise WaitedInVain(f"not within {seconds:.0f} s: {what()}")
        time.sleep(0.02)
