"""The cameras of this machine, and what each offers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from deepprivacy_rt.media.container import reason
from deepprivacy_rt.sources.v4l2 import V4l2Mode, query

_LOOPBACK_DRIVER = "v4l2 loopback"
_VIRTUAL_NAMES = ("obs virtual camera", "unity video capture", "unitycapture")
FFMPEG_DEVICE = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""By ``sys.platform``: the FFmpeg format that reads cameras there."""


@dataclass(frozen=True, slots=True)
class CameraMode:
    """A pixel format at a size.

    :ivar pixels: pixel format, by V4L2's name: "YUYV", "MJPG".
    :ivar rates: frames per second on offer, highest first; empty where the driver does not say.
    """

    pixels: str
    width: int
    height: int
    rates: tuple[Fraction, ...]

    @property
    def compressed(self) -> bool:
        return self.pixels in ("MJPG", "JPEG")


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device.

    :ivar path: what opens it: ``/dev/videoN``, or on other systems FFmpeg's name for it.
    :ivar name: what people call it.
    :ivar driver: kernel driver, or the FFmpeg format where there is none.
    :ivar bus: where it is plugged in; empty where unknown.
    :ivar virtual: a program writes its pictures (v4l2loopback, OBS).
    :ivar captures: it can be read now; a virtual camera that nobody writes to cannot always.
    :ivar modes: on Linux; elsewhere empty.
    :ivar problem: why it could not be asked; empty where it could.
    """

    path: str
    name: str
    driver: str
    bus: str
    virtual: bool
    captures: bool
    modes: tuple[CameraMode, ...]
    problem: str = ""


def list_cameras() -> list[Camera]:
    """Return the cameras and virtual cameras, in the order of their numbers. Nodes that hold no picture are left out.

    Starts no camera.
    """
    if sys.platform == "linux":
        return linux_cameras(_video_nodes())
    return _ffmpeg_cameras(FFMPEG_DEVICE.get(sys.platform, ""))


def linux_cameras(nodes: Sequence[Path]) -> list[Camera]:
    """Return the cameras among some device nodes."""
    cameras = []
    for node in nodes:
        try:
            capability, modes = query(node)
        except OSError as error:
            cure = "; add yourself to the group video" if isinstance(error, PermissionError) else ""
            cameras.append(Camera(str(node), "", "", "", False, False, (), f"{reason(error).lower()}{cure}"))
            continue
        virtual = capability.driver == _LOOPBACK_DRIVER
        if capability.can_capture or (virtual and capability.can_output):
            cameras.append(
                Camera(
                    str(node),
                    capability.name,
                    capability.driver,
                    capability.bus,
                    virtual,
                    capability.can_capture,
                    tuple(_merged(modes)),
                )
            )
    return cameras


def choose_mode(modes: Sequence[CameraMode], width: int, height: int, rate: Fraction) -> CameraMode | None:
    """Return the mode that comes nearest to a wish, or None where none is known.

    The size decides; then whether the rate is reached. Among those a raw format wins, for JPEG costs quality and time.
    """

    def rank(mode: CameraMode) -> tuple[int, Fraction, bool]:
        pixels_off = abs(mode.width - width) * height + abs(mode.height - height) * width
        missing = max(Fraction(0), rate - max(mode.rates, default=rate))
        return pixels_off, missing, mode.compressed

    return min((mode for mode in modes if mode.pixels in READABLE), key=rank, default=None)


READABLE = {
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "NV12": "nv12",
    "YU12": "yuv420p",
    "422P": "yuv422p",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
    "GREY": "gray",
    "MJPG": "mjpeg",
    "JPEG": "mjpeg",
}
"""V4L2's pixel formats that are read, and FFmpeg's ``input_format`` for each."""


def _merged(modes: Sequence[V4l2Mode]) -> list[CameraMode]:
    """Return modes without repetitions: some drivers list one and the same more than once."""
    return list(dict.fromkeys(CameraMode(*mode) for mode in modes))


def _video_nodes() -> list[Path]:
    nodes = [path for path in Path("/dev").glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return sorted(nodes, key=lambda path: int(path.name.removeprefix("video")))


def _ffmpeg_cameras(format_: str) -> list[Camera]:
    """Return what FFmpeg lists on macOS and Windows: names, no modes."""
    try:
        found = av.enumerate_input_devices(format_)
    except (av.FFmpegError, OSError, ValueError):
        return []
    cameras = []
    for device in found:
        if "video" in device.media_types and not device.description.startswith("Capture screen"):
            name = device.description or device.name
            virtual = name.lower().startswith(_VIRTUAL_NAMES)
            cameras.append(Camera(device.name, name, format_, "", virtual, True, ()))
    return cameras
