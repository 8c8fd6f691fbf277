"""The preview window, on a real X server without a screen."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from live_pictures import QUARTERS, Player, colour_error, number, picture, safe
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.errors import EnvironmentProblem
from deepprivacy_rt.sinks.window import WindowSettings, WindowSink
from deepprivacy_rt.types import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs an X server")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start Xvfb; its picture lies in a file."""
    if shutil.which("Xvfb") is None or shutil.which("xdotool") is None:
        pytest.skip("no X server: apt-get install xvfb xdotool")
    receive, send = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(send), "-screen", "0", "800x600x24", "-fbdir", str(tmp_path), "-nolisten", "tcp"],
        pass_fds=[send],
        stderr=subprocess.DEVNULL,
    )
    os.close(send)
    with os.fdopen(receive) as answer:
        monkeypatch.setenv("DISPLAY", f":{answer.readline().strip()}")
    yield server
    server.send_signal(signal.SIGCONT)
    server.kill()
    server.wait()


def screen(folder: Path) -> Image:
    """Read what Xvfb shows, from its X window dump."""
    data = (folder / "Xvfb_screen0").read_bytes()
    header_size, *_, colours = np.frombuffer(data, ">u4", 20)
    pixels = np.frombuffer(data, np.uint8, 800 * 600 * 4, int(header_size) + int(colours) * 12)
    return np.ascontiguousarray(pixels.reshape(600, 800, 4)[:, :, 2::-1])


def first_picture(folder: Path) -> Image:
    """Wait for the picture: a busy machine takes seconds from the window to its first drawing."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.5)
        with contextlib.suppress(AssertionError, ValueError, IndexError):
            image = shown_picture(folder)
            if colour_error(image) < 2:
                return image
    return shown_picture(folder)


def shown_picture(folder: Path) -> Image:
    """Cut the picture out of the screen: from its red quarter on."""
    image = screen(folder)
    red = np.abs(image.astype(int) - (200, 30, 30)).max(2) < 10
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert len(rows), "the picture is not on the screen"
    return image[rows[0] : rows[0] + 240, columns[0] : columns[0] + 320]


def xdotool(*arguments: str) -> str:
    return subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def the_window() -> str:
    """Wait for the window to be on the screen; return its id. A search fails where windows come and go meanwhile."""
    found: list[str] = []

    def is_there() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            found.extend(xdotool("search", "--onlyvisible", "--class", "deepprivacy-rt").split())
        return bool(found)

    until(is_there, what=lambda: "no window")
    return found[0]


class _ClientMessage(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    )


def press_the_cross(window: int) -> None:
    """Send what a window manager sends; none runs here, and this version of xdotool cannot."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    atom = [x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
    message = _ClientMessage(33, 0, 1, display, window, atom[0], 32, (ctypes.c_long * 5)(atom[1]))
    assert x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(display)


def test_pictures_are_shown_and_keys_are_reported(
    display: subprocess.Popen[bytes], tmp_path: Path, by_the_clock: ByTheClock
) -> None:
    keys: queue.Queue[str] = queue.Queue()
    player = Player(WindowSink(WindowSettings(), keys.put))
    player.start()
    window = the_window()
    image = first_picture(tmp_path)
    behind = player.written - number(image)
    assert colour_error(image) < 2 and behind > 0
    with by_the_clock:
        assert behind < 60, "old pictures are shown"
    xdotool("windowfocus", "--sync", window)
    for name, expected in (("p", "p"), ("space", "space"), ("Escape", "escape")):
        xdotool("key", name)
        assert keys.get(timeout=60) == expected
    player.finish()
    with by_the_clock:
        assert player.longest < 1 and player.exit_took < 1.5


def test_a_picture_larger_than_the_screen_is_shown_whole(display: subprocess.Popen[bytes], tmp_path: Path) -> None:
    player = Player(WindowSink(WindowSettings()), make=lambda index: picture(index, (1600, 1200)))
    player.start()
    the_window()
    deadline, colours = time.monotonic() + 60, 0
    while colours < len(QUARTERS) and time.monotonic() < deadline:
        time.sleep(0.5)
        image = screen(tmp_path).astype(int)
        colours = sum(bool((np.abs(image - colour).max(2) < 10).sum() > 20_000) for colour in QUARTERS)
    player.finish()
    assert colours == len(QUARTERS)


def test_display_that_hangs_ends_the_sink_and_nothing_else(
    display: subprocess.Popen[bytes], by_the_clock: ByTheClock
) -> None:
    player = Player(WindowSink(WindowSettings(patience=1.0)))
    player.start()
    the_window()
    assert player.sink.wait_until_open(60)  # type: ignore[attr-defined]
    time.sleep(0.3)
    display.send_signal(signal.SIGSTOP)
    assert "the display hangs" in player.wait_for_error(60)
    with by_the_clock:
        assert player.longest < 1.5 and player.exit_took < 1.5


def test_display_that_goes_away_is_a_sink_error(display: subprocess.Popen[bytes]) -> None:
    player = Player(WindowSink(WindowSettings()))
    player.start()
    the_window()
    display.kill()
    assert "preview window: " in player.wait_for_error(60)


@pytest.mark.parametrize("display_name", ["", ":4711"])
def test_machine_without_display(monkeypatch: pytest.MonkeyPatch, display_name: str) -> None:
    monkeypatch.setenv("DISPLAY", display_name)
    with pytest.raises(EnvironmentProblem, match="DISPLAY.*leave out the sink 'window'"):
        WindowSink(WindowSettings()).__enter__()


def test_machine_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pygame.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="pygame-ce is not installed.*deepprivacy-rt.window."):
        WindowSink(WindowSettings()).__enter__()


def test_only_safe_frames_are_taken(display: subprocess.Popen[bytes]) -> None:
    with WindowSink(WindowSettings()) as sink, pytest.raises(TypeError, match="SafeFrame"):
        sink.write(cv2.flip(picture(0), 1))  # type: ignore[arg-type]


def test_closed_window_stays_closed_without_an_error(display: subprocess.Popen[bytes]) -> None:
    keys: queue.Queue[str] = queue.Queue()
    with WindowSink(WindowSettings(), keys.put) as sink:
        sink.write(safe(picture(0), 0))
        window = the_window()
        time.sleep(0.5)
        press_the_cross(int(window))
        assert keys.get(timeout=60) == "close"
        for index in range(1, 20):
            sink.write(safe(picture(index), index))
            time.sleep(0.02)
