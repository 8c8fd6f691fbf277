"""What goes over the pipes between a sink and its child process: pictures down, one-line events up.

Down: one line of JSON with the settings (an address with its key belongs on no command line), then pictures, each a
header of time stamp, width and height, and its RGB bytes. Up: lines of JSON, ``["event", "detail"]``.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np

from deepprivacy_rt.types import Image

HEADER = struct.Struct("<qII")  # microseconds, width, height

READY = "ready"
"""The child runs and has read its settings."""
OPENED = "opened"
"""The output is open; detail: the encoder."""
DONE = "done"
"""One picture was taken, whether shown, sent or skipped."""
KEY = "key"
"""A key was pressed in a window; detail: which."""
FAILED = "failed"
"""The child gives up; detail: why. Waiting and starting again may help."""
IMPOSSIBLE = "impossible"
"""The child gives up; detail: what this machine lacks."""


def header(image: Image, microseconds: int) -> bytes:
    """Return what goes before the bytes of a picture, (h, w, 3) uint8."""
    return HEADER.pack(microseconds, image.shape[1], image.shape[0])


def event(line: bytes) -> tuple[str, str] | None:
    """Read one line from a child; None where it is no event but something that a library printed."""
    try:
        name, detail = json.loads(line)
    except ValueError:
        return None
    return (name, detail) if isinstance(name, str) and isinstance(detail, str) else None


class ChildSide:
    """The child's end of the pipes: its standard input and output."""

    def __init__(self) -> None:
        """Read the settings. Ctrl-C reaches the whole process group; the parent alone decides when the child ends."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._input = cast("IO[bytes]", sys.stdin.buffer)
        self.settings: dict[str, Any] = json.loads(self._input.readline())
        self.tell(READY)

    def tell(self, name: str, detail: str = "") -> None:
        """Send an event. A parent that is gone is no error: the end of the input follows."""
        try:
            sys.stdout.write(json.dumps([name, detail]) + "\n")
            sys.stdout.flush()
        except OSError:
            pass

    def pictures(self) -> Iterator[tuple[Image, int]]:
        """Yield (h, w, 3) uint8 RGB and microseconds until the parent closes the pipe, or is gone.

        The memory of a picture is used again for the next one.
        """
        image = np.empty((0, 0, 3), np.uint8)
        while len(head := self._input.read(HEADER.size)) == HEADER.size:
            microseconds, width, height = HEADER.unpack(head)
            if image.shape[:2] != (height, width):
                image = np.empty((height, width, 3), np.uint8)
            target = image.data.cast("B")
            while target.nbytes:
                count = self._input.readinto(target)  # type: ignore[attr-defined]
                if not count:
                    return
                target = target[count:]
            yield image, microseconds
