"""Pictures of the screen, or of a part of it, under X11."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator
from fractions import Fraction
from typing import NamedTuple

import av

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.colour import ToRgb, tags_of
from deepprivacy_rt.media.container import reason
from deepprivacy_rt.sources.live import ConnectionLost, HopelessError, LiveSource, Picture, SourceState

_TIMEOUT_S = 5.0
_REGION = re.compile(r"(?P<width>\d{1,5})x(?P<height>\d{1,5})\+(?P<x>\d{1,5})\+(?P<y>\d{1,5})")


class Region(NamedTuple):
    """A rectangle in pixels, from the top left corner of the screen."""

    width: int
    height: int
    x: int
    y: int


def parse_region(text: str) -> Region | None:
    """Read ``WIDTHxHEIGHT+X+Y``; empty: None, the whole screen. Raises UsageError."""
    if not text:
        return None
    match = _REGION.fullmatch(text)
    if match is None or not int(match["width"]) or not int(match["height"]):
        raise UsageError(f"source screen:{text}: write screen: for all of it, or screen:WIDTHxHEIGHT+X+Y")
    return Region(*map(int, match.groups()))


class ScreenSource(LiveSource):
    """Reads the screen that DISPLAY names, the pointer included."""

    def __init__(
        self, region: Region | None, *, rate: Fraction, on_state: Callable[[SourceState], None] | None = None
    ) -> None:
        """:param region: None for the whole screen. :param rate: pictures per second."""
        super().__init__("screen", on_state=on_state)
        self._region, self._rate = region, rate

    def _pictures(self) -> Generator[Picture, None, None]:
        container = self._open()
        try:
            stream, to_rgb = container.streams.video[0], ToRgb()
            for packet in container.demux(stream):
                now = time.monotonic_ns()
                for frame in packet.decode():
                    yield Picture(to_rgb(frame, tags_of(frame, stream)), now)
                if self.closing:
                    return
        except (av.FFmpegError, OSError) as error:
            raise ConnectionLost(reason(error)) from None
        finally:
            container.close()
        raise ConnectionLost("the display has gone")

    def _open(self) -> av.container.InputContainer:
        if "x11grab" not in av.formats_available:
            raise HopelessError("this build of PyAV reads no screens; use OBS and its virtual camera")
        display = os.environ.get("DISPLAY", "")
        if not display:
            raise HopelessError("there is no X11 display: DISPLAY is not set; under Wayland use OBS")
        options = {"framerate": str(self._rate)}
        if self._region is not None:
            width, height, x, y = self._region
            display, options = f"{display}+{x},{y}", {**options, "video_size": f"{width}x{height}"}
        try:
            return av.open(display, format="x11grab", options=options, timeout=_TIMEOUT_S)
        except (av.FFmpegError, OSError, ValueError) as error:
            cure = "check DISPLAY, and that the region lies within the screen"
            raise HopelessError(f"cannot be read: {reason(error)}; {cure}") from None
