"""The screen as a source, on a real X server without a monitor."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
from live_helpers import Watch

from deepprivacy_rt.errors import SourceError, UsageError
from deepprivacy_rt.sources.live_spec import parse_live_source
from deepprivacy_rt.sources.screen import Region, ScreenSource, parse_region

BLUE = np.array([20, 60, 200])


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Start Xvfb, 640x480, with a blue window of 200x100 at (100, 50)."""
    if shutil.which("Xvfb") is None or shutil.which("ffplay") is None or "x11grab" not in av.formats_available:
        pytest.skip("no X server, nothing that draws, or no x11grab")
    receive, send = os.pipe()
    command = ["Xvfb", "-displayfd", str(send), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[send], stderr=subprocess.DEVNULL)
    os.close(send)
    with os.fdopen(receive) as pipe:
        monkeypatch.setenv("DISPLAY", f":{pipe.readline().strip()}")
    window = ["-f", "lavfi", "-i", "color=0x143cc8:size=200x100", "-noborder", "-left", "100", "-top", "50"]
    painter = subprocess.Popen(["ffplay", "-v", "error", *window], stdin=subprocess.DEVNULL)
    yield server
    for process in (painter, server):
        process.kill()
        process.wait()


def test_the_screen_and_a_part_of_it(display: subprocess.Popen[bytes]) -> None:
    for region, size, blue in (
        (None, (640, 480), np.s_[60:140, 110:290]),
        (Region(200, 100, 100, 50), (200, 100), np.s_[10:90, 10:190]),
        (Region(64, 48, 0, 0), (64, 48), None),
    ):
        watch = Watch()
        with ScreenSource(region, rate=Fraction(20), on_state=watch.on_state) as source:
            for frame in source:
                drawn = blue is None or np.abs(frame.image[blue].reshape(-1, 3).mean(0) - BLUE).max() < 6
                if frame.index >= 5 and drawn:
                    break
                assert frame.index < 400, "the window was never seen"
            assert frame.image.shape[1::-1] == size
            if blue is None:
                assert frame.image.max() == 0
        assert watch.kinds == ["connecting", "live"]


def test_a_display_that_goes_away_is_lost(display: subprocess.Popen[bytes]) -> None:
    watch = Watch()
    with ScreenSource(None, rate=Fraction(20), on_state=watch.on_state) as source:
        frames = iter(source)
        next(frames)
        display.kill()
        watch.until_state("lost", 10)


def test_what_cannot_be_read_is_one_line(display: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        ScreenSource(Region(600, 400, 600, 0), rate=Fraction(20)) as source,
        pytest.raises(SourceError, match="within"),
    ):
        next(iter(source))
    for name, why in (("", "DISPLAY is not set"), (":4711", "check DISPLAY")):
        monkeypatch.setenv("DISPLAY", name)
        with ScreenSource(None, rate=Fraction(20)) as source, pytest.raises(SourceError, match=why):
            next(iter(source))


def test_parts_of_the_screen_have_one_spelling() -> None:
    assert parse_region("") is None and parse_region("1280x720+0+40") == Region(1280, 720, 0, 40)
    assert parse_live_source("screen:64x48+1+2").kind == "screen"
    for wrong in ("1280x720", "0x720+0+0", "axb+0+0", "64x48+-1+0"):
        with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
            parse_live_source(f"screen:{wrong}")
