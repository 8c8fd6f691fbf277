"""``deepprivacy-rt run --audio``: a clip that flashes and beeps at once goes in, and both come out together."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from flashes import beeps, loudness, make_clip, offsets
from live_helpers import RtspServer, rtsp_server
from rtmp_server import KEY, RtmpServer, free_port
from run_process import is_slate, running
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.cli.main import main

SMALL = ("--size", "640x360", "--filter", "solid")
FLASHES = ("--flashes", "--picture", "640x360x30")
MEAN_S, DRIFT_S = 0.08, 0.04


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flashes") / "clip.mp4"
    make_clip(path, 12)
    assert np.abs(offsets(path)[:, 1]).max() < 0.003
    return path


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    yield from rtsp_server()


def check_together(path: Path, least: int, drift_s: float = DRIFT_S) -> None:
    """The start is left out: there a source may still learn how late its pictures are."""
    found = offsets(path)[1:]
    assert len(found) >= least, found
    assert abs(found[:, 1].mean()) < MEAN_S, found
    middle = len(found) // 2
    drift = np.median(found[middle:, 1]) - np.median(found[:middle, 1])
    assert abs(drift) < drift_s, found


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as file:
        return [stream.type for stream in file.streams]


def wait_for_listener(port: int, process: subprocess.Popen[bytes]) -> None:
    until(lambda: any(c.laddr.port == port for c in psutil.Process(process.pid).net_connections()))


def test_a_file_is_heard_as_it_is_seen(clip: Path, tmp_path: Path, by_the_clock: ByTheClock) -> None:
    port, pushed = free_port(), tmp_path / "pushed.mkv"
    url = f"rtsp://127.0.0.1:{port}/x"
    listen = ["ffmpeg", "-v", "error", "-rtsp_flags", "listen", "-i", url, "-c", "copy", str(pushed)]
    with subprocess.Popen(listen, stdin=subprocess.PIPE) as listener:
        try:
            wait_for_listener(port, listener)
            sinks = itertools.chain(*(("--sink", sink) for sink in ("a.mkv", "a.mp4", "hls:hls", url, "null")))
            with running("--source", clip, "--loop", "--audio", *sinks, *SMALL, folder=tmp_path) as process:
                process.message("no sound goes to null")
                process.message("with sound")
                process.status(lambda s: all(o["sound_seconds"] > 8 for o in s["outputs"] if o["name"] != "null"))
                process.stop()
            listener.wait(20)
        finally:
            listener.kill()
    for name in ("a.mkv", "a.mp4", "hls/stream.m3u8", "pushed.mkv"):
        assert kinds(tmp_path / name) == ["video", "audio"]
        with by_the_clock:
            check_together(tmp_path / name, 5)


def test_without_the_option_nothing_is_heard(clip: Path, tmp_path: Path) -> None:
    with running("--source", clip, "--loop", "--sink", "out.mkv", *SMALL, folder=tmp_path) as process:
        last = process.status(lambda s: s["outputs"][0]["written"] > 20)
        process.stop()
    assert kinds(tmp_path / "out.mkv") == ["video"] and last["outputs"][0]["sound_seconds"] == 0


def test_an_rtmp_server_gets_sound_and_picture_together(clip: Path, tmp_path: Path, by_the_clock: ByTheClock) -> None:
    server, got = RtmpServer(tmp_path / "rtmp"), tmp_path / "got.mkv"
    server.start()
    try:
        url = f"{server.url}/{KEY}"
        with running("--source", clip, "--loop", "--audio", "--sink", url, *SMALL, folder=tmp_path) as process:
            process.status(lambda s: s["outputs"][0]["sound_seconds"] > 1)
            subprocess.run(["ffmpeg", "-v", "error", "-i", url, "-t", "14", "-c", "copy", got], timeout=60, check=True)
            process.stop()
    finally:
        server.kill()
    with by_the_clock:
        check_together(got, 7)


def test_a_camera_on_the_network_is_heard_as_it_is_seen(
    camera: RtspServer, tmp_path: Path, by_the_clock: ByTheClock
) -> None:
    camera.start(*FLASHES)
    options = ("--source", camera.url(), "--audio", "--sink", "out.mkv", *SMALL)
    with running(*options, folder=tmp_path) as process:
        process.message("with sound")
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > 10)
        process.stop()
    with by_the_clock:
        check_together(tmp_path / "out.mkv", 6)


def loud_beside_slates(path: Path) -> list[tuple[float, float]]:
    """Return (time, level) of all sound to a slate, but for 0.15 s around: one frame, and what AAC smears."""
    with av.open(str(path)) as file:
        shown = [(float(f.time), is_slate(f.to_ndarray(format="rgb24"))) for f in file.decode(video=0)]
    times, slates = np.array([s[0] for s in shown]), np.array([s[1] for s in shown])
    assert slates[-3:].any() or slates[len(slates) // 3 :].any(), "no slate after the start"
    found = []
    for time_, level in zip(*loudness(path), strict=True):
        near = slates[(times > time_ - 0.15) & (times < time_ + 0.15)]
        if level > 0.02 and len(near) and near.all():
            found.append((float(time_), float(level)))
    return found


def test_panic_silences_and_nothing_of_it_is_heard_later(clip: Path, tmp_path: Path, by_the_clock: ByTheClock) -> None:
    options = ("--source", clip, "--loop", "--audio", "--sink", "out.mkv", "--control", 0, *SMALL)
    with running(*options, folder=tmp_path, DEEPPRIVACY_CONTROL_TOKEN="secret") as process:
        port = int(process.message("control: ").split(":")[3].split("/")[0])
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > 2)
        process.child.send_signal(signal.SIGUSR1)
        before = process.status(lambda s: s["panic"])["outputs"][0]["sound_seconds"]
        time.sleep(3)
        silent = process.status(lambda s: s["seconds"] > 0)["outputs"][0]["sound_seconds"]
        for step in ("arm", "resume"):
            command = ["curl", "-sf", "-X", "POST", "-H", "Authorization: Bearer secret"]
            subprocess.run([*command, f"http://127.0.0.1:{port}/{step}"], check=True, timeout=10, capture_output=True)
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > silent + 3)
        process.stop()
    assert silent <= before + 0.1
    assert not loud_beside_slates(tmp_path / "out.mkv")
    with by_the_clock:
        assert len(beeps(tmp_path / "out.mkv")) >= 4
        check_together(tmp_path / "out.mkv", 3)


def test_after_a_lost_camera_nothing_old_is_heard(camera: RtspServer, tmp_path: Path, by_the_clock: ByTheClock) -> None:
    camera.start(*FLASHES)
    options = ("--source", camera.url(), "--audio", "--sink", "out.mkv", *SMALL)
    with running(*options, folder=tmp_path) as process:
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > 2)
        camera.kill()
        lost = process.status(lambda s: s["source"] == "lost")["outputs"][0]
        process.status(lambda s: s["outputs"][0]["slates"] > lost["slates"] + 20)
        camera.start(*FLASHES)
        process.status(lambda s: s["outputs"][0]["sound_seconds"] > lost["sound_seconds"] + 4)
        process.stop()
    assert not loud_beside_slates(tmp_path / "out.mkv")
    # Before and after are two connections: each may be early or late by its own bit.
    with by_the_clock:
        check_together(tmp_path / "out.mkv", 3, drift_s=MEAN_S)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "0", "--audio"), "name a microphone with --audio-device"),
        (("--source", "0", "--audio-device", "hw:0"), "audio_device needs audio"),
        (("--source", "0", "--audio", "--audio-device", "nobody"), "microphone nobody: cannot be opened"),
    ],
)
def test_sound_that_cannot_be_is_one_clear_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--sink", "null", *arguments]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
