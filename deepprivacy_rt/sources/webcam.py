"""Frames of a camera on this machine: v4l2 on Linux, avfoundation on macOS, dshow on Windows, all through FFmpeg."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deepprivacy_rt.media.colour import ToRgb, tags_of
from deepprivacy_rt.media.container import reason
from deepprivacy_rt.sources.devices import FFMPEG_DEVICE, READABLE, Camera, choose_mode, list_cameras
from deepprivacy_rt.sources.live import ConnectionLost, HopelessError, LiveSource, Picture, SourceState
from deepprivacy_rt.types import Image

_STALL_S = 3.0
_OPEN_TIMEOUT_S = 5.0
_POLL_S = 0.1
_STALE_NS = 400_000_000
_PACKED = {"yuyv422": cv2.COLOR_YUV2RGB_YUY2, "uyvy422": cv2.COLOR_YUV2RGB_UYVY}
"""Pixel formats that OpenCV converts (BT.601, which is what USB cameras send) at a tenth of swscale's time."""
_CURES = {
    errno.ENOENT: "there is no such device",
    errno.ENODEV: "there is no such device",
    errno.ENXIO: "there is no such device",
    errno.EBUSY: "is in use by another program; close it there",
    errno.EACCES: "permission denied; add yourself to the group video and log in again",
    errno.EPERM: "permission denied; allow this program to use the camera",
    errno.ENOTTY: "is no camera",
    errno.EINVAL: "is no camera that can be read; a virtual camera can be read only while a program writes to it",
}


class WebcamSource(LiveSource):
    """Reads a camera until it is closed; waits for it and reads on when it was unplugged.

    Asks for a size and rate and takes what the camera gives. Where a raw format is too slow for the rate at that size,
    Motion JPEG is asked for. ``Frame.pts`` is the time that the driver stamped, on Linux.
    """

    def __init__(
        self,
        device: int | str = 0,
        *,
        width: int = 1280,
        height: int = 720,
        rate: Fraction | float = 30,
        stall_s: float = _STALL_S,
        on_state: Callable[[SourceState], None] | None = None,
        max_retries: int | None = None,
    ) -> None:
        """
        :param device: number, path, or the beginning or another part of the camera's name.
        :param width, height: pixels wished for. :param rate: frames per second wished for.
        :param stall_s: seconds without a picture after which the camera counts as lost.
        """
        super().__init__(f"camera {device}", on_state=on_state, max_retries=max_retries)
        self._device = device
        self._wish = (width, height, Fraction(rate).limit_denominator(1001))
        self._stall_s = stall_s
        self._known: Camera | None = None

    def _pictures(self) -> Generator[Picture, None, None]:
        camera = self._find()
        before = _descriptors(camera.path)
        container = self._open(camera)
        self._known = camera
        try:
            ready = _Readiness(_descriptors(camera.path) - before)
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield from self._captured(container, stream, ready)
        finally:
            container.close()

    def _find(self) -> Camera:
        """Return the camera that is meant; one that was read before is found again wherever it is plugged in."""
        cameras = list_cameras()
        if self._known is not None:
            known = self._known
            same = [camera for camera in cameras if (camera.name, camera.driver) == (known.name, known.driver)]
            for place in ("path", "bus"):
                for camera in same:
                    if getattr(camera, place) == getattr(known, place):
                        return camera
            raise ConnectionLost("is unplugged")
        match = matching(cameras, self._device)
        if match is not None:
            return match
        there = ", ".join(f"{camera.path} ({camera.name})" for camera in cameras) or "none"
        raise HopelessError(f"there is no such camera; cameras found: {there}")

    def _open(self, camera: Camera) -> av.container.InputContainer:
        if camera.problem:
            raise HopelessError(camera.problem)
        name = {"darwin": f"{camera.path}:none", "win32": f"video={camera.name}"}.get(sys.platform, camera.path)
        problem: OSError | None = None
        for options in self._options(camera):
            try:
                return av.open(
                    name,
                    "r",
                    format=FFMPEG_DEVICE.get(sys.platform, "v4l2"),
                    options=options,
                    timeout=(_OPEN_TIMEOUT_S, self._stall_s),
                )
            except (av.FFmpegError, OSError) as error:
                problem = error
                if error.errno not in (errno.EINVAL, errno.EIO):
                    break  # only these may mean that the mode, not the camera, is refused
        if camera.virtual:
            raise HopelessError("is a virtual camera that no program writes to, or that another one reads")
        if problem is not None and problem.errno in _CURES:
            raise HopelessError(_CURES[problem.errno])
        raise ConnectionLost(reason(problem or OSError("cannot be opened")))

    def _options(self, camera: Camera) -> Iterator[dict[str, str]]:
        """Yield sets of options to try in turn; the last leaves everything to the camera."""
        width, height, rate = self._wish
        mode = choose_mode(camera.modes, width, height, rate)
        size, options = f"{width}x{height}", {"fflags": "nobuffer"}
        if mode is not None:
            reached = min(mode.rates, key=lambda offered: abs(offered - rate), default=rate)
            yield {
                **options,
                "input_format": READABLE[mode.pixels],
                "video_size": f"{mode.width}x{mode.height}",
                "framerate": str(reached),
            }
        elif not camera.modes:
            yield {**options, "video_size": size, "framerate": str(rate)}
        yield options

    def _captured(
        self, container: av.container.InputContainer, stream: av.VideoStream, ready: _Readiness
    ) -> Iterator[Picture]:
        to_rgb = ToRgb()
        last = time.monotonic()
        while not self.closing:
            packet = _next_packet(container, stream) if ready.wait(_POLL_S) else None
            if packet is not None:
                captured_ns = _capture_time(packet)
                image = _decoded(packet, stream, to_rgb)
                del packet  # its memory belongs to the device, which must not be closed before it is given back
                if image is not None:
                    last = time.monotonic()
                    if time.monotonic_ns() - captured_ns < _STALE_NS:
                        yield Picture(image, captured_ns)
            elif time.monotonic() - last > self._stall_s:
                raise ConnectionLost("sends no pictures")


def matching(cameras: list[Camera], device: int | str) -> Camera | None:
    """Return the camera that a number, path or part of a name means, or None.

    Of several with the name the first wins, real ones before virtual ones.
    """
    if isinstance(device, int):
        wanted = f"/dev/video{device}"
        if sys.platform == "linux":
            return next((camera for camera in cameras if camera.path == wanted), None)
        return cameras[device] if 0 <= device < len(cameras) else None
    if device.startswith("/dev/"):
        real = os.path.realpath(device)
        return next((camera for camera in cameras if camera.path == real), None)
    name = device.casefold()
    named = [camera for camera in cameras if name in camera.name.casefold()]
    return min(named, key=lambda camera: (camera.virtual, not camera.name.casefold().startswith(name)), default=None)


class _Readiness:
    """Waits until a device has a picture, for a while.

    FFmpeg's read of a v4l2 device blocks in the kernel, past every time limit. So the device's descriptor is made
    non-blocking and waited for here. Where there is none to be found, waiting is left to FFmpeg.
    """

    def __init__(self, descriptors: set[int]) -> None:
        self._descriptor = min(descriptors, default=None)
        if self._descriptor is not None:
            os.set_blocking(self._descriptor, False)

    def wait(self, seconds: float) -> bool:
        """Return whether reading is worth a try: there is a picture, or an error to be told."""
        if self._descriptor is None:
            return True
        return any(select.select([self._descriptor], [], [self._descriptor], seconds))


def _descriptors(path: str) -> set[int]:
    """Return this process's descriptors of a device; none where the system has no /proc."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.realpath(entry) == path:
                    found.add(int(entry.name))
    return found


def _next_packet(container: av.container.InputContainer, stream: av.VideoStream) -> av.Packet | None:
    """Return a packet, or None where none is there yet. Raises ConnectionLost."""
    try:
        packet = next(container.demux(stream), None)
    except BlockingIOError:
        return None
    except (av.FFmpegError, OSError) as error:
        gone = error.errno in (errno.ENODEV, errno.ENOENT, errno.ENXIO)
        cause = "was unplugged" if gone else reason(error)
    else:
        if packet is not None:
            return packet if packet.size else None
        cause = "sends no more pictures"
    raise ConnectionLost(cause)


def _capture_time(packet: av.Packet) -> int:
    """Return when the picture was taken, in nanoseconds of ``time.monotonic_ns()``.

    Linux drivers stamp with that very clock. A stamp that cannot be (another clock) gives way to now.
    """
    now = time.monotonic_ns()
    if packet.pts is None or sys.platform != "linux":
        return now
    stamped = int(packet.pts * packet.time_base * 10**9)
    return stamped if now - 10 * 10**9 < stamped <= now else now


def _decoded(packet: av.Packet, stream: av.VideoStream, to_rgb: ToRgb) -> Image | None:
    """Return the picture of a packet as new memory, or None where it is damaged."""
    try:
        frames = packet.decode()
    except av.FFmpegError:
        return None
    if not frames:
        return None
    frame = frames[-1]
    if frame.format.name not in _PACKED:
        return to_rgb(frame, tags_of(frame, stream))
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    pairs = rows[:, : frame.width * 2].reshape(frame.height, frame.width, 2)
    image: Image = cv2.cvtColor(pairs, _PACKED[frame.format.name])
    return image
