"""Keeping a process that runs for hours as small as it was."""

from __future__ import annotations

import ctypes
import gc
import sys


def freeze_heap() -> None:
    """Have the garbage collector leave alone, for good, what there is now: collecting the rest then takes no time.

    Call it once, when everything is loaded. What is not used any more is freed all the same, unless it holds itself.
    """
    gc.collect()
    gc.freeze()


def give_back_memory() -> bool:
    """Free what holds itself, and have the C library return what it keeps for later; say whether that could be done.

    FFmpeg's containers, as PyAV wraps them, hold themselves: after a reconnection they wait for a collector that comes
    the less often the more there is. And glibc keeps up to eight heaps per core for threads, and never shrinks one
    below its topmost piece in use: after each moment in which frames piled up, a process stays larger by some of them.
    Over hours, both look like leaks. Takes a few milliseconds once the heap is frozen.
    """
    gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
    if trim is None:
        return False
    trim(0)
    return True
