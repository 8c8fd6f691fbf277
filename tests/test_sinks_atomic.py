"""A file appears under its name only when it is complete, and nothing is ever overwritten unasked."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from media_clips import gradient, pass_through, read_facts, safe, steady, write_clip
from stillness import ByTheClock

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sinks.pending import PendingFile
from deepprivacy_rt.sources.file import FileSource

SLOW_COPY = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from media_clips import safe
from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sinks.pending import PendingFile
from deepprivacy_rt.sources.file import FileSource
with FileSource(Path({source!r})) as reader, FileSink(Path({output!r}), reader.info) as sink:
    for frame in reader:
        sink.write(safe(frame))
        print("frame", flush=True)
        time.sleep({pause})
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return write_clip(folder / "a.mp4", steady(40), audio="aac")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def test_hidden_until_complete(clip: Path, folder: Path) -> None:
    output = folder / "b.mp4"
    with FileSource(clip) as reader, FileSink(output, reader.info) as sink:
        for frame in reader:
            sink.write(safe(frame))
            assert not output.exists()
            assert [path.name[0] for path in folder.iterdir()] == ["."]
    assert list(folder.iterdir()) == [output]
    assert len(read_facts(output).times) == 40


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing(clip: Path, folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), FileSource(clip) as reader, FileSink(folder / "b.mp4", reader.info) as sink:
        for frame in reader:
            sink.write(safe(frame))
            if frame.index == 20:
                raise error
    assert list(folder.iterdir()) == []


def test_an_exception_keeps_the_older_output(clip: Path, folder: Path) -> None:
    output = folder / "b.mp4"
    output.write_bytes(b"older")
    with (
        pytest.raises(RuntimeError),
        FileSource(clip) as reader,
        FileSink(output, reader.info, overwrite=True) as sink,
    ):
        sink.write(safe(next(iter(reader))))
        raise RuntimeError
    assert output.read_bytes() == b"older"
    assert list(folder.iterdir()) == [output]


def test_existing_output_needs_overwrite(clip: Path, folder: Path) -> None:
    output = folder / "b.mp4"
    output.write_bytes(b"older")
    with pytest.raises(SinkError, match="exists already; use --overwrite"):
        pass_through(clip, output)
    assert output.read_bytes() == b"older"
    pass_through(clip, output, overwrite=True)
    assert len(read_facts(output).times) == 40


def test_an_output_that_appears_meanwhile_is_kept(clip: Path, folder: Path) -> None:
    output = folder / "b.mp4"
    with (
        pytest.raises(SinkError, match="exists already"),
        FileSource(clip) as reader,
        FileSink(output, reader.info) as sink,
    ):
        for frame in reader:
            sink.write(safe(frame))
        output.write_bytes(b"somebody else's")
    assert output.read_bytes() == b"somebody else's"
    assert list(folder.iterdir()) == [output]


def test_renaming_itself_refuses_a_taken_name(clip: Path, folder: Path) -> None:
    """Between the last look and the renaming somebody else may be faster."""
    pending = PendingFile(folder / "b.mp4", clip, overwrite=False)
    (folder / "b.mp4").write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        pending._publish()
    pending.discard()
    assert (folder / "b.mp4").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("kind", ["itself", "symbolic link", "hard link"])
def test_never_overwrites_the_input(clip: Path, folder: Path, kind: str) -> None:
    before = clip.read_bytes()
    output = clip if kind == "itself" else folder / "b.mp4"
    if kind == "symbolic link":
        output.symlink_to(clip)
    elif kind == "hard link":
        os.link(clip, output)
    with pytest.raises(SinkError, match="is the input itself"):
        pass_through(clip, output, overwrite=True)
    assert clip.read_bytes() == output.read_bytes() == before


def test_no_frame_is_no_output(clip: Path, folder: Path) -> None:
    with (
        pytest.raises(SinkError, match="no picture came"),
        FileSource(clip) as reader,
        FileSink(folder / "b.mp4", reader.info),
    ):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_full_disk_is_one_clear_line(tmp_path: Path, folder: Path, suffix: str) -> None:
    """The limit on file size stands for the full disk: both make write() fail in the middle."""

    def noise(index: int) -> av.VideoFrame:
        pixels = np.random.default_rng(index).integers(0, 255, (240, 320, 3)).astype(np.uint8)
        return av.VideoFrame.from_ndarray(pixels, "rgb24")

    source = write_clip(tmp_path / "noise.mp4", steady(40), size=(320, 240), picture=noise)
    script = SLOW_COPY.format(
        tests=str(Path(__file__).parent), source=str(source), output=str(folder / f"b{suffix}"), pause=0
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("deepprivacy_rt.errors.SinkError") and last.endswith(
        f"b{suffix}: cannot be written: File too large"
    )
    assert list(folder.iterdir()) == []


def test_interrupt_leaves_nothing(clip: Path, folder: Path, by_the_clock: ByTheClock) -> None:
    script = SLOW_COPY.format(
        tests=str(Path(__file__).parent), source=str(clip), output=str(folder / "b.mp4"), pause=0.2
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(list(folder.iterdir())) == 1
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    with by_the_clock:
        assert time.monotonic() - started < 2
    assert list(folder.iterdir()) == []


def test_the_longest_file_name_works(clip: Path, folder: Path) -> None:
    output = folder / ("x" * 251 + ".mp4")
    pass_through(clip, output)
    assert output.exists()


def test_memory_and_files_stay_flat_from_input_to_output(tmp_path: Path, folder: Path) -> None:
    """Ten seconds of 1280x720: one kept frame in ten would be 55 MB more in the last two thirds."""
    still = av.VideoFrame.from_ndarray(gradient(1280, 720), "rgb24").reformat(format="yuv420p")
    source = write_clip(tmp_path / "long.mp4", steady(300), size=(1280, 720), audio="aac", picture=lambda _: still)
    process = psutil.Process()
    sizes = []
    with (
        FileSource(source) as reader,
        FileSink(folder / "b.mp4", reader.info, preset="ultrafast", audio=True) as sink,
    ):
        for frame in reader:
            sink.write(safe(frame))
            sizes.append(process.memory_info().rss)
    assert max(sizes[100:]) - max(sizes[:100]) < 30 << 20
    assert not [file.path for file in process.open_files() if str(tmp_path) in file.path]
