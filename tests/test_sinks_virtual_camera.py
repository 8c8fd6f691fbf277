"""The virtual camera sink, with a stand-in for pyvirtualcam; test_virtual_camera_real.py has the real one."""

from __future__ import annotations

import fcntl
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from live_pictures import picture, safe

from deepprivacy_rt.errors import EnvironmentProblem, SinkError, UsageError
from deepprivacy_rt.sinks import virtual_camera
from deepprivacy_rt.sinks.virtual_camera import VirtualCameraSettings, VirtualCameraSink, virtual_cameras


class Camera:
    """Keeps what pyvirtualcam.Camera would send."""

    def __init__(self, width: int, height: int, fps: float, *, device: str | None) -> None:
        self.size, self.fps, self.device = (width, height), fps, device or "/dev/video10"
        self.images: list[Any] = []
        self.closed = False
        Camera.latest = self

    latest: Camera

    def send(self, image: Any) -> None:
        assert image.shape == (self.size[1], self.size[0], 3) and image.flags.c_contiguous
        self.images.append(image.copy())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = ModuleType("pyvirtualcam")
    module.Camera = Camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    (tmp_path / "video10").mkdir()
    (tmp_path / "video10" / "name").write_text("TestCam\n")
    monkeypatch.setattr(virtual_camera, "_DEVICES", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    return module


def test_size_and_rate_are_those_of_the_first_frame_and_stay(library: ModuleType) -> None:
    with VirtualCameraSink(VirtualCameraSettings(rate=Fraction(30000, 1001))) as sink:
        sink.write(safe(picture(0, (641, 481)), 0))
        sink.write(safe(picture(1, (240, 480)), 1))
        assert sink.device == "/dev/video10" and sink.sent == 2
    camera = Camera.latest
    assert camera.size == (640, 480) and camera.fps == pytest.approx(29.97, abs=0.001) and camera.closed
    assert np.array_equal(camera.images[0], picture(0, (641, 481))[:480, :640])
    assert np.array_equal(camera.images[1][:, 200:440], picture(1, (240, 480)))
    assert not camera.images[1][:, :200].any() and not camera.images[1][:, 440:].any()


def test_known_size_opens_before_the_first_frame(library: ModuleType) -> None:
    with VirtualCameraSink(VirtualCameraSettings(size=(1280, 720))) as sink:
        assert sink.device and Camera.latest.size == (1280, 720)


def test_camera_is_told_that_it_streams_before_the_first_picture(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[int, int, bytes]] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda *arguments: calls.append(arguments))
    device = tmp_path / "device"
    with device.open("wb") as file:
        settings = VirtualCameraSettings(str(device), size=(640, 480))
        with VirtualCameraSink(settings):
            assert calls == [(file.fileno(), 0x40045612, b"\x02\0\0\0")] and not Camera.latest.images


def test_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'deepprivacy-rt\[virtualcam\]'"):
        VirtualCameraSink(VirtualCameraSettings()).__enter__()


def test_missing_device_says_what_to_run(library: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(virtual_camera, "_DEVICES", tmp_path / "none")
    with pytest.raises(EnvironmentProblem, match="modprobe v4l2loopback devices=1 exclusive_caps=1 card_label="):
        VirtualCameraSink(VirtualCameraSettings()).__enter__()
    with pytest.raises(EnvironmentProblem, match=r"/dev/video77: does not exist.*video_nr=77"):
        VirtualCameraSink(VirtualCameraSettings("/dev/video77")).__enter__()


def test_devices_are_listed(library: ModuleType) -> None:
    assert virtual_cameras() == {"/dev/video10": "TestCam"}


@pytest.mark.parametrize("why", ["Device /dev/video10\nis not a video output device.", "No v4l2 loopback device found"])
def test_camera_in_use_is_a_sink_error_and_a_new_sink_may_try_again(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError(f"'v4l2loopback' backend: {why}")

    monkeypatch.setattr(library, "Camera", refuse)
    with VirtualCameraSink(VirtualCameraSettings()) as sink, pytest.raises(SinkError) as problem:
        sink.write(safe(picture(0), 0))
    assert "sudo modprobe -r v4l2loopback && " in str(problem.value) and "\n" not in str(problem.value)
    monkeypatch.setattr(library, "Camera", Camera)
    with VirtualCameraSink(VirtualCameraSettings()) as sink:
        sink.write(safe(picture(0), 0))


def test_camera_that_goes_away_is_a_sink_error(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Camera, image: object) -> None:
        raise RuntimeError("no such device")

    with VirtualCameraSink(VirtualCameraSettings()) as sink:
        sink.write(safe(picture(0), 0))
        monkeypatch.setattr(Camera, "send", fail)
        with pytest.raises(SinkError, match="/dev/video10: takes no more pictures: no such device"):
            sink.write(safe(picture(1), 1))
    assert Camera.latest.closed


def test_only_safe_frames_and_even_sizes(library: ModuleType) -> None:
    with VirtualCameraSink(VirtualCameraSettings()) as sink, pytest.raises(TypeError, match="SafeFrame"):
        sink.write(picture(0))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="even"):
        VirtualCameraSettings(size=(641, 480))
