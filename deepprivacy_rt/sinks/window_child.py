"""The process behind the preview window. Started by :mod:`.child`.

OpenCV's window library ends the whole process where the display is missing or goes away, waits for ever for a display
that hangs, and on macOS works on the main thread only: reasons enough for a process of its own.
"""

from __future__ import annotations

import os
import sys
import threading

import cv2

from deepprivacy_rt.sinks import wire
from deepprivacy_rt.types import Image

_POLL = 10  # milliseconds
_NAMES = {8: "backspace", 9: "tab", 10: "enter", 13: "enter", 27: "escape", 32: "space", 127: "delete"}
CLOSED = "close"
"""Reported as a key: the user has closed the window."""


class _Newest:
    """Holds the newest picture, and counts those that it took the place of."""

    def __init__(self, side: wire.ChildSide) -> None:
        self._side = side
        self._lock = threading.Lock()
        self._image: Image | None = None
        self._count = 0
        self.over = False

    def fill(self) -> None:
        """Read until the parent closes the pipe."""
        for item in self._side.items():
            if not isinstance(item, wire.PictureItem):
                continue
            copy = item.image.copy()
            with self._lock:
                self._image, self._count = copy, self._count + 1
        self.over = True

    def take(self) -> tuple[Image | None, int]:
        with self._lock:
            taken = self._image, self._count
            self._image, self._count = None, 0
            return taken


def main() -> None:
    """Show pictures until standard input ends or the user closes the window."""
    side = wire.ChildSide()
    try:
        _show(side, str(side.settings["title"]))
    except cv2.error as error:
        side.tell(wire.IMPOSSIBLE, " ".join(str(error).split()))
    sys.stdout.flush()
    os._exit(0)  # the reading thread may still wait


def _show(side: wire.ChildSide, title: str) -> None:
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    side.tell(wire.OPENED, "window")
    newest = _Newest(side)
    threading.Thread(target=newest.fill, daemon=True).start()
    shown = False
    while not newest.over:
        image, count = newest.take()
        if image is not None:
            if not shown:
                cv2.resizeWindow(title, image.shape[1], image.shape[0])
            cv2.imshow(title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            shown = True
        key = cv2.waitKey(_POLL)
        for _ in range(count):
            side.tell(wire.DONE)
        if key >= 0 and (name := _name(key & 0xFF)):
            side.tell(wire.KEY, name)
        if shown and _is_closed(title):
            side.tell(wire.KEY, CLOSED)
            return


def _is_closed(title: str) -> bool:
    try:
        return bool(cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1)
    except cv2.error:  # Qt: the last window is gone, and the library has wound up
        return True


def _name(code: int) -> str:
    """Name a key: itself where it is a visible character, a word for a few others, else ""."""
    return chr(code) if 32 < code < 127 else _NAMES.get(code, "")


if __name__ == "__main__":
    main()
