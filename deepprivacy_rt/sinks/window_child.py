"""The process behind the preview window. Started by :mod:`.child`.

A display may be missing, go away or hang, which ends or stops whoever draws on it, and macOS gives windows to a
process's main thread only: reasons enough for a process of its own.

The window is SDL's. OpenCV's, which is Qt, stayed black for good in one start of twelve: docs/adr/0018-window.md.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType
from typing import Any

from deepprivacy_rt.media.letterbox import letterbox
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.types import Image

_POLL = 10  # milliseconds
_SIZE = 640, 360  # before the first picture
_PART = 0.9  # of the desktop's sides that a window takes at most, unless it is enlarged
_NAMES = {"\b": "backspace", "\t": "tab", "\n": "enter", "\r": "enter", "\x1b": "escape", " ": "space"}
_DESKTOPS = "x11,wayland"
"""On Linux; SDL would also take a bare console over, or draw into nothing and call that success."""
NOT_INSTALLED = "not installed"
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


class _Window:
    """A window that can be resized; the picture keeps its proportions. Raises ``pygame.error``."""

    def __init__(self, pygame: ModuleType, title: str) -> None:
        pygame.display.init()
        pygame.key.set_repeat()  # a key that is held down is pressed once: two Ps are another thing than one
        self._pygame = pygame
        self._window = pygame.Window(title, _SIZE, resizable=True)
        self._image: Image | None = None

    def show(self, image: Image) -> None:
        """Draw an (h, w, 3) uint8 RGB picture; the first one gives the window its size, where the desktop has room."""
        if self._image is None:
            self._make_room(image.shape[1], image.shape[0])
        self._image = image
        self._draw()

    def happened(self) -> list[str]:
        """Wait a moment for what the user does: return names of keys, or CLOSED."""
        pygame, names, uncovered = self._pygame, [], False
        for event in [pygame.event.wait(_POLL), *pygame.event.get()]:
            if event.type in (pygame.QUIT, pygame.WINDOWCLOSE):
                return [CLOSED]
            if event.type == pygame.KEYDOWN:
                names.append(_name(event))
            uncovered |= event.type in (pygame.WINDOWEXPOSED, pygame.WINDOWSIZECHANGED)
        if uncovered and self._image is not None:
            self._draw()
        return [name for name in names if name]

    def _make_room(self, width: int, height: int) -> None:
        desktop_width, desktop_height = self._pygame.display.get_desktop_sizes()[0]
        scale = min(1.0, _PART * desktop_width / width, _PART * desktop_height / height)
        self._window.size = max(1, round(width * scale)), max(1, round(height * scale))
        self._window.position = self._pygame.WINDOWPOS_CENTERED

    def _draw(self) -> None:
        assert self._image is not None
        surface = self._window.get_surface()
        fitted = letterbox(self._image, surface.get_size())
        surface.blit(self._pygame.image.frombuffer(fitted, fitted.shape[1::-1], "RGB"), (0, 0))
        self._window.flip()


def main() -> None:
    """Show pictures until standard input ends or the user closes the window."""
    side = wire.ChildSide()
    try:
        pygame = _library()
        _run(side, _Window(pygame, str(side.settings["title"])))
    except ImportError as error:
        side.tell(wire.IMPOSSIBLE, f"{NOT_INSTALLED}: {error}")
    except Exception as error:  # pygame.error, or whatever else this display makes of it
        side.tell(wire.IMPOSSIBLE, " ".join(str(error).split()))
    sys.stdout.flush()
    os._exit(0)  # the reading thread may still wait


def _library() -> ModuleType:
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")  # with it, the window is made, ended and made again
    if sys.platform == "linux":
        os.environ.setdefault("SDL_VIDEODRIVER", _DESKTOPS)
        os.environ["SDL_VIDEO_X11_WMCLASS"] = os.environ["SDL_VIDEO_WAYLAND_WMCLASS"] = "deepprivacy-rt"
    import pygame

    return pygame


def _run(side: wire.ChildSide, window: _Window) -> None:
    side.tell(wire.OPENED, "window")
    newest = _Newest(side)
    threading.Thread(target=newest.fill, daemon=True).start()
    while not newest.over:
        image, count = newest.take()
        if image is not None:
            window.show(image)
        for _ in range(count):
            side.tell(wire.DONE)
        for name in window.happened():
            side.tell(wire.KEY, name)
            if name == CLOSED:
                return


def _name(event: Any) -> str:
    """Name a pressed key: itself where it is a visible character, a word for a few others, else ""."""
    character = str(event.unicode)
    return character if len(character) == 1 and "!" <= character <= "~" else _NAMES.get(character, "")


if __name__ == "__main__":
    main()
