"""Giving memory that is free back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_free_memory() -> bool:
    """Have the C library return what it keeps for later, where it can; say whether it could. Takes 1 to 4 ms.

    glibc keeps up to eight heaps per core for threads, and never shrinks one below its topmost piece in use: after
    each moment in which frames piled up, a process stays larger by some of them. Over hours that looks like a leak.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
    if trim is None:
        return False
    trim(0)
    return True
