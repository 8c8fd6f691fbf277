"""``deepprivacy-rt run`` from SRT to SRT."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from flashes import make_clip, offsets
from run_process import running
from srt_peers import Recorder, free_udp_port, need_srt, recorder
from stillness import ByTheClock
from waiting import until

SMALL = ("--size", "640x360", "--filter", "solid")
SECRET = "gar-nicht-geheim"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Recorder]:
    yield from recorder(tmp_path / "got.ts")


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[int]:
    """FFmpeg plays a clip that flashes and beeps, again and again, to whoever calls the port."""
    need_srt()
    port, clip = free_udp_port(), tmp_path / "clip.mp4"
    make_clip(clip, 6)
    url = f"srt://127.0.0.1:{port}?mode=listener&latency=500000&passphrase={SECRET}"
    play = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "mpegts", url]
    with subprocess.Popen(play) as process:
        yield port
        process.kill()


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; one whose parent is gone may wait a while for who inherits it."""
    return [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_from_srt_to_srt_with_sound(camera: int, peer: Recorder, tmp_path: Path, by_the_clock: ByTheClock) -> None:
    port = free_udp_port()
    peer.start(port)
    source, sink = f"srt://127.0.0.1:{camera}?latency=500", f"srt://127.0.0.1:{port}?latency=500"
    options = ("--source", source, "--audio", "--sink", sink, "--sink", "null", *SMALL)
    with running(*options, folder=tmp_path, DEEPPRIVACY_SOURCE_PASSWORD=SECRET) as process:
        process.message("with sound")
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > 5)
        peer.stop()
        before = process.status(lambda s: s["outputs"][0]["state"] == "lost")["outputs"][1]["written"]
        process.status(lambda s: s["outputs"][1]["written"] > before + 20)
        first = peer.file.rename(tmp_path / "first.ts")
        peer.start(port)
        peer.until_bytes(50_000)
        family = psutil.Process(process.child.pid).children()
        process.stop(signal.SIGTERM)
        said = "\n".join(map(str, process.lines))
    assert SECRET not in said and not alive(family)
    peer.stop()
    assert np.mean([image.mean() for _, image in peer.images()]) > 20
    with by_the_clock:
        found = offsets(first)[1:]
        assert len(found) >= 2 and abs(found[:, 1].mean()) < 0.08, found


def test_a_killed_program_leaves_nothing_behind(tmp_path: Path) -> None:
    need_srt()
    ports = free_udp_port(), free_udp_port()
    sides = [f"srt://127.0.0.1:{port}?mode=listener" for port in ports]
    with running("--source", sides[0], "--sink", sides[1], *SMALL, folder=tmp_path) as process:
        process.status(lambda s: s["outputs"][0]["slates"] > 20)
        assert process.lines[-1]["source"] == "connecting"
        family = psutil.Process(process.child.pid).children()
        assert family
        process.child.kill()
        process.child.wait(10)
        until(lambda: not alive(family), 30, lambda: alive(family))
