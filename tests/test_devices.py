"""Listing cameras: what drivers answer, how a mode is chosen, and the command."""

from __future__ import annotations

import errno
import json
import os
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from deepprivacy_rt.cli import devices as command
from deepprivacy_rt.cli.main import main
from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.sources import webcam
from deepprivacy_rt.sources.devices import Camera, CameraMode, choose_mode, linux_cameras
from deepprivacy_rt.sources.v4l2 import V4l2Mode, query
from deepprivacy_rt.sources.webcam import WebcamSource, matching

YUYV, MJPG = b"YUYV", b"MJPG"
FAST = (Fraction(30), Fraction(15))
MODES = (
    CameraMode("YUYV", 640, 480, FAST),
    CameraMode("YUYV", 1280, 720, (Fraction(10),)),
    CameraMode("MJPG", 640, 480, FAST),
    CameraMode("MJPG", 1280, 720, FAST),
    CameraMode("MJPG", 1920, 1080, FAST),
    CameraMode("H264", 1280, 720, (Fraction(60),)),
)


class Driver:
    """Answers the four questions as a driver does: some discrete sizes, or a range of them."""

    def __init__(self, *, stepwise: bool = False, flags: int = 0x1, name: bytes = b"HD Webcam\0\0junk") -> None:
        self.stepwise, self.flags, self.name = stepwise, flags, name

    def __call__(self, _descriptor: int, request: int, question: bytes) -> bytes:
        index = struct.unpack_from("=I", question)[0]
        answers = {0: self.capability, 2: self.format, 74: self.size, 75: self.interval}
        answer = answers[request & 0xFF](index, question)
        if answer is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        assert len(answer) == len(question) == request >> 16 & 0x3FFF
        return answer

    def capability(self, _index: int, _question: bytes) -> bytes | None:
        texts = struct.pack("=16s32s32s", b"uvcvideo", self.name, b"usb-1")
        return texts + struct.pack("=6I", 0x60100, 0x80000003, self.flags, 0, 0, 0)

    def format(self, index: int, _question: bytes) -> bytes | None:
        if index > 1:
            return None
        fourcc = int.from_bytes((YUYV, MJPG)[index], "little")
        return struct.pack("=3I32s5I", index, 1, 0, b"a format", fourcc, 0, 0, 0, 0)

    def size(self, index: int, question: bytes) -> bytes | None:
        fourcc = struct.unpack_from("=I", question, 4)[0]
        if self.stepwise:
            numbers = (2, (320, 1280, 2, 180, 960, 2)) if index == 0 else None
        else:
            numbers = (1, ((640, 480), (1280, 720))[index] + (0,) * 4) if index < 2 else None
        return None if numbers is None else struct.pack("=3I6I2I", index, fourcc, numbers[0], *numbers[1], 0, 0)

    def interval(self, index: int, question: bytes) -> bytes | None:
        fourcc, width, height = struct.unpack_from("=3I", question, 4)
        if self.stepwise:
            numbers = (3, (1, 30, 1, 10, 1, 1)) if index == 0 else None
        elif width == 1280 and fourcc == int.from_bytes(YUYV, "little"):
            numbers = (1, (1, 10, 0, 0, 0, 0)) if index == 0 else None
        else:
            numbers = (1, ((1, 15), (1001, 30000))[index] + (0,) * 4) if index < 2 else None
        if numbers is None:
            return None
        return struct.pack("=5I6I2I", index, fourcc, width, height, numbers[0], *numbers[1], 0, 0)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "video0").touch()
    return tmp_path / "video0"


def test_discrete_modes_are_read(node: Path) -> None:
    capability, modes = query(node, Driver())
    assert capability == ("uvcvideo", "HD Webcam", "usb-1", True, False)
    ntsc = (Fraction(30000, 1001), Fraction(15))
    assert modes == (
        V4l2Mode("YUYV", 640, 480, ntsc),
        V4l2Mode("YUYV", 1280, 720, (Fraction(10),)),
        V4l2Mode("MJPG", 640, 480, ntsc),
        V4l2Mode("MJPG", 1280, 720, ntsc),
    )


def test_of_a_range_the_common_sizes_and_rates_are_listed(node: Path) -> None:
    modes = query(node, Driver(stepwise=True))[1]
    sizes = [(mode.width, mode.height) for mode in modes if mode.fourcc == "YUYV"]
    assert sizes == [(320, 240), (640, 360), (640, 480), (800, 600), (1280, 720), (1280, 960)]
    assert modes[0].rates == (30, 25, 15)


def test_the_flags_of_the_node_count_not_those_of_the_device(node: Path) -> None:
    capability, modes = query(node, Driver(flags=0x00800000))  # the node of a camera that carries its metadata
    assert not capability.can_capture and modes == ()


def test_what_is_no_video_device_is_reported_not_raised(node: Path) -> None:
    missing = node.with_name("video1")
    assert [(camera.path, camera.problem) for camera in linux_cameras([node, missing])] == [
        (str(node), "inappropriate ioctl for device"),
        (str(missing), "no such file or directory"),
    ]


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ((640, 480, 30), MODES[0]),
        ((1280, 720, 30), MODES[3]),
        ((1280, 720, 10), MODES[1]),
        ((1920, 1080, 60), MODES[4]),
        ((1366, 768, 30), MODES[3]),
    ],
)
def test_raw_is_chosen_where_it_is_fast_enough(wish: tuple[int, int, int], chosen: CameraMode) -> None:
    assert choose_mode(MODES, wish[0], wish[1], Fraction(wish[2])) == chosen


def test_without_a_readable_mode_nothing_is_chosen() -> None:
    assert choose_mode(MODES[-1:], 1280, 720, Fraction(30)) is None


def camera(path: str, name: str, *, virtual: bool = False) -> Camera:
    return Camera(path, name, "uvcvideo", "usb-1", virtual, True, MODES)


def test_cameras_are_found_by_number_path_and_name() -> None:
    cameras = [camera("/dev/video1", "OBS HD Cam", virtual=True), camera("/dev/video2", "Logi HD Cam")]
    cameras.append(camera("/dev/video4", "HD Cam"))

    def found(device: int | str) -> str | None:
        match = matching(cameras, device)
        return match and match.path

    assert (found(2), found("/dev/video4"), found("logi")) == ("/dev/video2", "/dev/video4", "/dev/video2")
    assert (found("hd cam"), found("obs")) == ("/dev/video4", "/dev/video1")
    assert (found(0), found("/dev/video0"), found("Sony")) == (None, None, None)


def test_a_camera_that_is_not_there_is_an_error_that_lists_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam, "list_cameras", lambda: [camera("/dev/video2", "Logi HD Cam")])
    expected = r"camera Sony: there is no such camera; cameras found: /dev/video2 \(Logi HD Cam\)$"
    with WebcamSource("Sony") as source, pytest.raises(SourceError, match=expected):
        next(iter(source))


def test_the_command_lists_cameras(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = Camera("/dev/video9", "", "", "", False, False, (), "permission denied")
    idle = Camera("/dev/video10", "TestCam", "v4l2 loopback", "", True, False, ())
    monkeypatch.setattr(command, "list_cameras", lambda: [camera("/dev/video0", "Logi\x1b"), idle, blocked])
    assert main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"/dev/video0  Logi\x1b  [camera, uvcvideo]"
    assert "  YUYV 1280x720   10 fps" in lines
    assert lines[-3:] == [
        "/dev/video10  TestCam  [virtual camera, v4l2 loopback, nobody writes to it]",
        "/dev/video9",
        "  permission denied",
    ]
    assert main(["devices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in listed] == ["/dev/video0", "/dev/video10", "/dev/video9"]
    assert listed[0]["modes"][0] == {"pixels": "YUYV", "width": 640, "height": 480, "rates": [30.0, 15.0]}


def test_the_command_says_what_to_do_without_cameras(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "list_cameras", list)
    assert main(["devices"]) == 0
    assert capsys.readouterr().out.startswith("no camera found; plug one in")
