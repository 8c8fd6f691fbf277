"""Live recordings: readable after a crash, and never over an existing file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import psutil
import pytest
from live_pictures import Player, colour_error, number, picture, safe
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_recording import RecordingSettings, RecordingSink
from deepprivacy_rt.types import Image


def read(path: Path) -> list[tuple[float, Image]]:
    with av.open(str(path)) as file:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_writer_killed_in_the_middle_loses_a_second_and_a_half_at_most(
    tmp_path: Path, ending: str, by_the_clock: ByTheClock
) -> None:
    sink = RecordingSink(RecordingSettings(tmp_path / f"live{ending}"))
    player = Player(sink)
    player.start()
    player.until_open()
    # 114 pictures: 1.8 s after the second keyframe; 5000 bytes: at least one piece is written
    until(
        lambda: (player.written >= 114 and sink.path.stat().st_size > 5000) or not player.is_alive(),
        100,
        lambda: player.written,
    )
    assert sink.pid is not None
    written = player.written
    os.kill(sink.pid, signal.SIGKILL)
    assert "ended by signal 9" in player.wait_for_error(60)
    found = read(sink.path)
    assert max(colour_error(image) for _, image in found) < 6
    with by_the_clock:
        assert number(found[-1][1]) >= written - 45


def test_program_killed_in_the_middle_leaves_a_complete_file(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]; from live_pictures import Player; "
            "from deepprivacy_rt.sinks.live_recording import RecordingSettings, RecordingSink; "
            "p = Player(RecordingSink(RecordingSettings(Path(sys.argv[1])))); p.start(); p.join()",
            str(path),
            *filter(None, sys.path),
        ]
    )
    try:
        until(lambda: path.exists() and path.stat().st_size > 10_000)
        children = psutil.Process(program.pid).children()
    finally:
        program.kill()
        program.wait()
    assert len(children) == 1
    psutil.wait_procs(children, timeout=30)
    assert not children[0].is_running()
    found = read(path)
    numbers = [number(image) for _, image in found]
    assert numbers[-1] > 10 and numbers == sorted(set(numbers))


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_uneven_times_are_kept(tmp_path: Path, ending: str) -> None:
    gaps = [0, 33, 40, 250, 20, 500, 33, 34, 1200, 40]
    times = [Fraction(sum(gaps[: i + 1]), 1000) for i in range(len(gaps))]
    settings = RecordingSettings(tmp_path / f"live{ending}", LivePicture(rate=Fraction(60)))
    with RecordingSink(settings) as sink:
        for index, pts in enumerate(times):
            sink.write(safe(picture(index), index, 5000 + pts))
            if not index:
                assert sink.wait_until_open(60)
            time.sleep(0.1)  # the queue holds two
    found = read(sink.path)
    assert [number(image) for _, image in found] == list(range(len(gaps)))
    with av.open(str(sink.path)) as file:
        keys = [packet.is_keyframe for packet in file.demux(video=0) if packet.size]
    assert keys == [True, *[False] * 7, True, False]  # the first picture after two seconds
    assert [round(at - found[0][0], 3) for at, _ in found] == pytest.approx([float(t) for t in times], abs=0.0011)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    path.write_bytes(b"precious")
    (tmp_path / "live-2.mkv").write_bytes(b"too")
    with RecordingSink(RecordingSettings(path)) as sink:
        sink.write(safe(picture(0), 0))
        assert sink.wait_until_open(60)
        assert sink.path == tmp_path / "live-3.mkv" and sink.path.exists()
    assert path.read_bytes() == b"precious"
    assert len(read(sink.path)) == 1


def test_a_recording_without_pictures_leaves_no_file(tmp_path: Path) -> None:
    with RecordingSink(RecordingSettings(tmp_path / "live.mkv")):
        pass
    assert not list(tmp_path.iterdir())


def test_newest_pictures_win_where_the_encoder_is_too_slow(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    with RecordingSink(RecordingSettings(tmp_path / "live.mkv")) as sink:
        sink.write(safe(picture(0), 0, Fraction(0)))
        assert sink.wait_until_open(60) and sink.pid is not None
        os.kill(sink.pid, signal.SIGSTOP)
        for index in range(1, 60):
            sink.write(safe(picture(index), index, Fraction(index, 30)))
        assert sink.dropped >= 50
        os.kill(sink.pid, signal.SIGCONT)
    with by_the_clock:  # a second is given to write what is left
        assert sink.path.exists() and sink.path.stat().st_size > 1000
        numbers = [number(image) for _, image in read(sink.path)]
        assert numbers[0] == 0 and numbers == sorted(set(numbers))
        assert numbers[-2:] == [58, 59] and len(numbers) == 60 - sink.dropped


def test_ctrl_c_is_for_the_program_and_not_for_its_child(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    with RecordingSink(RecordingSettings(tmp_path / "live.mkv")) as sink:
        sink.write(safe(picture(0), 0))
        assert sink.wait_until_open(60) and sink.pid is not None
        assert os.getpgid(sink.pid) != os.getpgid(0)
        os.kill(sink.pid, signal.SIGINT)
        time.sleep(0.1)
        sink.write(safe(picture(1), 1))
    with by_the_clock:
        assert len(read(sink.path)) == 2


def test_an_error_of_the_engine_keeps_what_was_recorded(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RecordingSink(RecordingSettings(tmp_path / "live.mp4")) as sink:
        sink.write(safe(picture(0), 0))
        assert sink.wait_until_open(60)
        raise ZeroDivisionError
    assert len(read(sink.path)) == 1


def test_frames_beyond_the_rate_are_left_out_evenly(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    with RecordingSink(RecordingSettings(tmp_path / "live.mkv", LivePicture(rate=Fraction(15)))) as sink:
        for index in range(60):
            sink.write(safe(picture(index), index, Fraction(index, 30)))
            if not index:
                assert sink.wait_until_open(60)
            time.sleep(0.02)
    numbers = [number(image) for _, image in read(sink.path)]
    assert len(numbers) <= 35
    with by_the_clock:
        assert len(numbers) >= 29 and max(b - a for a, b in pairwise(numbers)) <= 3


def test_a_folder_that_is_not_there_is_one_line() -> None:
    sink = RecordingSink(RecordingSettings(Path("/nowhere/live.mkv")))
    with pytest.raises(SinkError, match=r"/nowhere/live\.mkv: cannot be written: No such file or directory"):
        sink.__enter__()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no limit on the files of another process: Linux only")
def test_a_disk_that_takes_no_more_is_one_line_and_keeps_the_file(tmp_path: Path) -> None:
    sink = RecordingSink(RecordingSettings(tmp_path / "live.mkv"))
    player = Player(sink)
    player.start()
    player.until_open()
    until(lambda: sink.path.stat().st_size >= 20_000 or not player.is_alive())
    assert sink.pid is not None
    resource.prlimit(sink.pid, resource.RLIMIT_FSIZE, (sink.path.stat().st_size + 1000, resource.RLIM_INFINITY))
    message = player.wait_for_error(60)
    assert message == f"{sink.path}: cannot be written: File too large; check that the disk is not full"
    assert len(read(sink.path)) > 10


def test_other_endings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\.mkv or \.mp4"):
        RecordingSettings(Path("live.avi"))
