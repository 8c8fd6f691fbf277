"""A crash writes no memory to disk: original faces are in it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def keep_memory_out_of_core_dumps() -> None:
    """Have the kernel leave this process, and those that it starts, out of core dumps. Does nothing on Windows.

    A limit of no bytes is for core files. Linux does not heed it where a program takes the dump (systemd-coredump,
    apport, which may send it away): that gets the dump without any memory (``man 5 core``, coredump_filter).
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # Linux alone has it, and not every one
        Path("/proc/self/coredump_filter").write_text("0")
