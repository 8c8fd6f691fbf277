"""What goes over the pipes between a sink and its child process: pictures and sound down, one-line events up.

Down: one line of JSON with the settings (an address with its key belongs on no command line), then items, each a
header of kind, time stamp, columns and rows, and its bytes: RGB, or int16 stereo. Up: lines of JSON,
``["event", "detail"]``.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, TypeAlias, cast

import numpy as np

from deepprivacy_rt.sound import Samples
from deepprivacy_rt.types import Image

HEADER = struct.Struct("<BqII")  # kind, microseconds, columns, rows
_SILENT_PICTURE, _PICTURE, _SOUND = range(3)


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


class PictureItem(NamedTuple):
    """A picture on its way down.

    :ivar image: (h, w, 3) uint8 RGB, contiguous.
    :ivar microseconds: of its capture.
    :ivar silent: there is no sound to it; else that comes by itself.
    """

    image: Image
    microseconds: int
    silent: bool = True


class SoundItem(NamedTuple):
    """Sound on its way down.

    :ivar samples: (n, 2) int16, contiguous.
    :ivar microseconds: of its capture.
    """

    samples: Samples
    microseconds: int


Item: TypeAlias = PictureItem | SoundItem


def header(item: Item) -> bytes:
    """Return what goes before the bytes of an item."""
    rows, columns = item[0].shape[:2]
    kind = _SOUND if isinstance(item, SoundItem) else _SILENT_PICTURE if item.silent else _PICTURE
    return HEADER.pack(kind, item.microseconds, columns, rows)


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

    def items(self) -> Iterator[Item]:
        """Yield what comes until the parent closes the pipe, or is gone.

        The memory of a picture is used again for the next one.
        """
        image = np.empty((0, 0, 3), np.uint8)
        while len(head := self._input.read(HEADER.size)) == HEADER.size:
            kind, microseconds, columns, rows = HEADER.unpack(head)
            if kind == _SOUND:
                samples = np.empty((rows, columns), np.int16)
                if not self._fill(samples):
                    return
                yield SoundItem(samples, microseconds)
                continue
            if image.shape[:2] != (rows, columns):
                image = np.empty((rows, columns, 3), np.uint8)
            if not self._fill(image):
                return
            yield PictureItem(image, microseconds, kind == _SILENT_PICTURE)

    def _fill(self, array: Image | Samples) -> bool:
        """Read until the array is full; return whether that was possible."""
        target = array.data.cast("B")
        while target.nbytes:
            count = self._input.readinto(target)  # type: ignore[attr-defined]
            if not count:
                return False
            target = target[count:]
        return True
