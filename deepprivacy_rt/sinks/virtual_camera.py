"""A camera that other programs can choose, through pyvirtualcam: v4l2loopback, OBS, Unity Capture.

pyvirtualcam is under the GPL and therefore optional, and imported only here and only when used: docs/adr/0007.
"""

from __future__ import annotations

import importlib
import os
import shutil
import struct
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from deepprivacy_rt.errors import EnvironmentProblem, SinkError, UsageError
from deepprivacy_rt.media.letterbox import even, letterbox
from deepprivacy_rt.types import SafeFrame

_LABEL = "DeepPrivacy"
_DEVICES = Path("/sys/devices/virtual/video4linux")  # real cameras and test drivers have a parent device
_VIDIOC_STREAMON = 0x40045612
_VIDEO_OUTPUT = 2
_INSTALL = {
    "apt-get": "sudo apt-get install v4l2loopback-dkms linux-headers-$(uname -r)",
    "dnf": "sudo dnf install akmod-v4l2loopback (from RPM Fusion)",
    "pacman": "sudo pacman -S v4l2loopback-dkms",
    "zypper": "sudo zypper install v4l2loopback-kmp-default",
}


@dataclass(frozen=True, slots=True)
class VirtualCameraSettings:
    """A virtual camera.

    :ivar device: "/dev/video10", or a camera's name on macOS and Windows; None takes the first that is free.
    :ivar size: width and height, even; None takes those of the first frame, rounded down to even numbers.
    :ivar rate: pictures per second that are announced; the pace is the caller's.
    """

    device: str | None = None
    size: tuple[int, int] | None = None
    rate: Fraction = Fraction(30)

    def __post_init__(self) -> None:
        """Raises UsageError for a size that no reader would get pictures of."""
        if self.size is not None and (min(self.size) < 2 or any(side % 2 for side in self.size)):
            raise UsageError(f"a virtual camera needs an even width and height, not {self.size[0]}x{self.size[1]}")
        if self.rate <= 0:
            raise UsageError(f"the rate must be positive, not {self.rate}")


class VirtualCameraSink:
    """Sends to a virtual camera, whose size and rate stay those of the first frame.

    :ivar device: the camera in use; "" before the first frame.
    :ivar sent: how many frames were sent.
    """

    def __init__(self, settings: VirtualCameraSettings) -> None:
        """Does nothing yet but keep the settings."""
        self._settings = settings
        self._library: Any = None
        self._camera: Any = None
        self._size = settings.size
        self.device = ""
        self.sent = 0

    def __enter__(self) -> VirtualCameraSink:
        """Check that there is a camera, and open it where the size is known. Raises EnvironmentProblem, SinkError."""
        try:
            self._library = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            cure = "pip install 'deepprivacy-rt[virtualcam]'"
            raise EnvironmentProblem(f"virtual camera: pyvirtualcam is not installed; {cure}") from error
        _check_system(self._settings.device)
        if self._size is not None:
            self._open(self._size)
        return self

    def __exit__(self, *exc: object) -> None:
        """Release the camera."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()

    def write(self, frame: SafeFrame) -> None:
        """Send the next frame, letterboxed to the size of the first.

        :raises TypeError: it is no SafeFrame.
        :raises SinkError: the camera cannot be opened or takes no more.
        """
        if type(frame) is not SafeFrame:
            raise TypeError(f"a sink takes SafeFrame only, not {type(frame).__name__}")
        if self._library is None:
            raise SinkError("virtual camera: is not open")
        if self._size is None:
            self._size = even((frame.image.shape[1], frame.image.shape[0]))
        if self._camera is None:
            self._open(self._size)
        try:
            self._camera.send(letterbox(frame.image, self._size))
        except (RuntimeError, OSError, ValueError) as error:
            raise SinkError(f"virtual camera {self.device}: takes no more pictures: {_line(error)}") from error
        self.sent += 1

    def _open(self, size: tuple[int, int]) -> None:
        try:
            self._camera = self._library.Camera(*size, float(self._settings.rate), device=self._settings.device)
        except (RuntimeError, OSError, ValueError) as error:
            name = f"virtual camera {self._settings.device or ''}".rstrip()
            raise SinkError(f"{name}: cannot be opened: {_line(error)}; {_cure_when_refused(_line(error))}") from error
        self.device = str(self._camera.device)
        if sys.platform == "linux":
            start_streaming(self.device)


def virtual_cameras() -> dict[str, str]:
    """Return the virtual cameras of a Linux system, "/dev/videoN" to the name that other programs show."""
    found = {}
    for folder in sorted(_DEVICES.glob("video*")) if sys.platform == "linux" else ():
        try:
            found[f"/dev/{folder.name}"] = (folder / "name").read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return found


def start_streaming(device: str) -> None:
    """Tell v4l2loopback that this process streams, on pyvirtualcam's own descriptor.

    With exclusive_caps=1, which Chrome needs, the device presents itself as a camera from the first picture on, and
    without this it still does so after pyvirtualcam has closed it: the next start would be refused ("is not a video
    output device") until the module is loaded anew.
    """
    import fcntl  # not on Windows

    for link in list(Path("/proc/self/fd").iterdir()):
        try:
            if os.readlink(link) == device:  # noqa: PTH115 - Path.readlink gives a Path, not the kernel's text
                fcntl.ioctl(int(link.name), _VIDIOC_STREAMON, struct.pack("i", _VIDEO_OUTPUT))
        except OSError:
            continue  # the descriptor of the listing, or of somebody who reads from the camera


def _check_system(device: str | None) -> None:
    """Raise EnvironmentProblem with the commands that this system needs where there is no usable camera."""
    if sys.platform != "linux":
        return  # pyvirtualcam says it when it opens
    present = virtual_cameras()
    if device is None and not present:
        raise EnvironmentProblem(f"virtual camera: there is none; run: {_install()}")
    if device is not None and not Path(device).exists():
        others = f"; there are: {', '.join(present)}" if present else f"; run: {_install(device)}"
        raise EnvironmentProblem(f"virtual camera {device}: does not exist{others}")
    if device is not None and not os.access(device, os.W_OK):
        cure = "run: sudo usermod -aG video $USER, then log out and in again"
        raise EnvironmentProblem(f"virtual camera {device}: permission denied; {cure}")


def _install(device: str | None = None) -> str:
    number = (device or "").removeprefix("/dev/video")
    where = f" video_nr={number}" if number.isdigit() else ""
    load = f'sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label="{_LABEL}"{where}'
    if any(Path("/lib/modules", os.uname().release).glob("**/v4l2loopback.ko*")):
        return load
    for tool, command in _INSTALL.items():
        if shutil.which(tool):
            return f"{command} && {load}"
    return f"{load}, after installing v4l2loopback"


def _cure_when_refused(text: str) -> str:
    if sys.platform == "darwin":
        return "install OBS 30 or newer, and in it press Start Virtual Camera once, then Stop"
    if sys.platform == "win32":
        return "install OBS or Unity Capture; where OBS is there, stop its own virtual camera"
    # The second: what pyvirtualcam says without a device name, though _check_system has seen one.
    if "not a video output device" in text or "No v4l2 loopback device found" in text:
        return "load it anew: sudo modprobe -r v4l2loopback && " + _install()
    return "close the program that sends to it (fuser -v /dev/video*), or load it anew: sudo modprobe -r v4l2loopback"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
