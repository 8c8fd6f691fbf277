"""The file source: upright pixels, right colours, rising times, constant memory, clear errors."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from media_clips import gradient, steady, write_clip

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.timeline import Timeline
from deepprivacy_rt.sources import is_image, is_video
from deepprivacy_rt.sources.file import FileSource

ONE, W = 1 << 16, 1 << 30
MATRICES = {
    "none": (ONE, 0, 0, 0, ONE, 0, 0, 0, W),
    "90": (0, ONE, 0, -ONE, 0, 0, 0, 0, W),
    "180": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, W),
    "270": (0, -ONE, 0, ONE, 0, 0, 0, 0, W),
    "mirrored": (-ONE, 0, 0, 0, ONE, 0, 0, 0, W),
    "upside down mirrored": (ONE, 0, 0, 0, -ONE, 0, 0, 0, W),
    "transposed": (0, ONE, 0, ONE, 0, 0, 0, 0, W),
    "transverse": (0, -ONE, 0, -ONE, 0, 0, 0, 0, W),
}
UPRIGHT = {
    "none": lambda image: image,
    "90": lambda image: np.rot90(image, -1),
    "180": lambda image: np.rot90(image, 2),
    "270": lambda image: np.rot90(image, 1),
    "mirrored": lambda image: image[:, ::-1],
    "upside down mirrored": lambda image: image[::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "transverse": lambda image: image[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_upright(tmp_path: Path, name: str) -> None:
    """90 in a tkhd matrix (a = 0, b = 1, c = -1) is a quarter turn clockwise, as phones write it."""
    clip = write_clip(tmp_path / "a.mp4", steady(2), matrix=MATRICES[name])
    with FileSource(clip) as source:
        image = next(iter(source)).image
        assert (source.info.height, source.info.width) == image.shape[:2]
        assert source.info.orientation.matrix == MATRICES[name]
        back = source.info.orientation.stored(image)
    expected = UPRIGHT[name](gradient(96, 64))
    assert np.abs(image.astype(int) - expected).mean() < 4
    assert np.array_equal(source.info.orientation.upright(back), image)


def test_delivers_exact_variable_times(tmp_path: Path) -> None:
    times = [Fraction(n, 90000) for n in (0, 3000, 3001, 90000, 1234567)]
    clip = write_clip(tmp_path / "a.mp4", times)
    with FileSource(clip) as source:
        frames = list(source)
    assert [frame.pts for frame in frames] == times
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert source.warnings == []


def test_takes_the_moving_stream_even_where_a_larger_still_comes_first(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        streams = [output.add_stream(codec, rate=30) for codec in ("mjpeg", "libx264")]
        for stream, size, pixel_format in zip(streams, (320, 64), ("yuvj420p", "yuv420p"), strict=True):
            stream.width = stream.height = size
            stream.pix_fmt = pixel_format
        streams[0].codec_context.color_range = 2
        for index in range(5):
            for stream in streams[index > 0 :]:
                frame = av.VideoFrame.from_ndarray(gradient(stream.width, stream.height, index), "rgb24")
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    with FileSource(tmp_path / "a.mkv") as source:
        assert [frame.image.shape for frame in source] == [(64, 64, 3)] * 5


def test_info_tells_what_is_stored(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "a.mp4", steady(30), aspect=Fraction(4, 3), tags=(1, 1, 1, 1), matrix=MATRICES["90"], audio="aac"
    )
    with FileSource(clip) as source:
        info = source.info
    assert (info.width, info.height, info.sample_aspect_ratio) == (64, 96, Fraction(4, 3))
    assert (info.frames, info.duration, info.average_rate, info.start) == (30, Fraction(1), Fraction(30), Fraction(0))
    assert (info.codec, info.pixel_format, info.bits, info.audio_tracks) == ("h264", "yuv420p", 8, 1)
    assert (info.colour.range, info.colour.matrix, info.colour.primaries, info.colour.transfer) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "empty"), (b"just words\n", "is text"), (b"\x00\x01\x02" * 500, "not a video"), (b"GIF8", "is a GIF")],
)
def test_refuses_what_is_no_video(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "line\nbreak.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=cause) as caught, FileSource(path):
        pass
    assert "\n" not in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"), FileSource(tmp_path / "nothing.mp4"):
        pass


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    raised = threading.Event()

    def read() -> None:
        with pytest.raises(SourceError, match="not a regular file"), FileSource(tmp_path / "pipe.mp4"):
            pass
        raised.set()

    threading.Thread(target=read, daemon=True).start()
    assert raised.wait(5)


def test_releases_the_file_on_every_exit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(30))
    process = psutil.Process()

    def opened() -> bool:
        return any(str(clip) == file.path for file in process.open_files())

    with FileSource(clip) as source:
        assert opened()
        next(iter(source))
    assert not opened()
    with pytest.raises(RuntimeError, match="stop"), FileSource(clip) as source:
        next(iter(source))
        raise RuntimeError("stop")
    assert not opened()


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """300 more frames of 640x360 are 200 MB of RGB: keeping them, or a tenth of them, would show."""
    clip = write_clip(tmp_path / "a.mp4", steady(360), size=(640, 360))
    process = psutil.Process()
    with FileSource(clip) as source:
        sizes = [process.memory_info().rss for _ in source]
    assert max(sizes[60:]) - max(sizes[:60]) < 16 << 20


def test_timeline_rises_through_missing_repeated_and_restarted_times() -> None:
    timeline = Timeline(tick=Fraction(1, 1000), step=Fraction(1, 10))
    given = [None, None, Fraction(3, 10), Fraction(3, 10), Fraction(5), Fraction(0), Fraction(1, 10)]
    placed = [timeline.place(time) for time in given]
    assert placed[:3] == [0, Fraction(1, 10), Fraction(3, 10)]
    assert placed[3] == Fraction(301, 1000)
    assert placed[4:] == [5, Fraction(51, 10), Fraction(52, 10)]
    assert (timeline.invented, timeline.moved) == (2, 2)


def test_classifies_by_ending() -> None:
    assert is_video(Path("a.MP4")) and is_video(Path("b.tar.mkv")) and is_video(Path("c.gif"))
    assert is_image(Path("a.JPeG")) and is_image(Path("b.webp"))
    assert not any(check(Path(name)) for check in (is_image, is_video) for name in ("a.txt", "mp4", ".mp4", "a.m3u8"))
