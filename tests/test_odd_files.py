"""Every odd file ends in a correct output or in a clear error, and in no case in something private or half done."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import Facts, pass_through, read_facts
from numpy.typing import NDArray
from odd_files import ODD_FILES, make_odd_files

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.sinks.formats import default_suffix
from deepprivacy_rt.sources.file import FileSource

REFUSED = {
    "audio_only.m4a": "no video stream",
    "audio_only_named.mp4": "no video stream",
    "truncated_no_moov.mp4": "index .moov. .* is missing",
    "random_bytes.mp4": "not a video in a known format",
    "zero_byte.mp4": "empty",
    "text.mp4": "is text",
    "script.mp4": "is text",
    "png_named.mp4": "is a PNG picture",
    "photo.jpg": "is a JPEG picture",
    "directory.mp4": "is a folder",
    "fifo.mp4": "not a regular file",
    "playlist_local_file.mp4": "is a playlist",
    "playlist_local_file.m3u8": "is a playlist",
    "concat_named.mp4": "is a playlist",
    "names/dangling.mp4": "cannot be read: No such file",
}
SECRETS = (b"Alice", b"Robert", b"48.8584", b"iPhone", b"secret", b"private", b"2024-05-06", b"10:11:12:13")
WITH_SECRETS = ("meta_gps.mp4", "meta_gps_apple.mov", "handler_names.mp4", "chapters.mp4")
WITHOUT_TAGS = ("rgb_h264.mkv", "mjpeg.avi", "odd_641x361.avi")  # RGB becomes YCbCr; MPEG-4 in AVI has no tags
REORDERED = ("resolution_change.ts", "corrupt_bytes.ts", "corrupt_mdat.mp4")  # stored times that do not rise


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the odd files once, also where several workers run."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the odd files are made with the ffmpeg command: install ffmpeg")
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "odd", base / "odd.done"
    try:
        folder.mkdir()
    except FileExistsError:
        while not done.exists():
            time.sleep(0.2)
        return folder
    failed = make_odd_files(folder)
    done.write_text("\n".join(f"{name}\t{cause}" for name, cause in failed.items()))
    return folder


@pytest.mark.parametrize("name", ODD_FILES)
def test_is_written_correctly_or_refused(odd_folder: Path, tmp_path: Path, name: str) -> None:
    source = odd_folder / name
    if not os.path.lexists(source):
        pytest.skip(f"this ffmpeg cannot make it: {(odd_folder.parent / 'odd.done').read_text()}")
    if name == "names/unreadable.mp4" and not os.access(source, os.R_OK):
        _is_refused(source, "permission denied")
    elif name in REFUSED:
        _is_refused(source, REFUSED[name])
    else:
        _is_written_correctly(source, tmp_path, name)


def _is_refused(source: Path, cause: str) -> None:
    with pytest.raises(SourceError, match=cause) as caught, FileSource(source):
        pass
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def _is_written_correctly(source: Path, folder: Path, name: str) -> None:
    with FileSource(source) as probe:
        info = probe.info
    output = folder / f"out{default_suffix(info)}"
    _, _, frames = pass_through(source, output)

    before, after = read_facts(source, info.stream_index), read_facts(output)
    tick = max(before.tick, after.tick)
    delivered = [frame.pts for frame in frames]
    assert len(after.times) == len(delivered) == len(before.times)
    if name != "raw_no_timestamps.h264":  # nothing to compare: neither file stores times
        assert all(abs(a - b) <= tick for a, b in zip(_written_times(output, after), delivered, strict=True))
    if name not in REORDERED:
        stored = zip(before.times, delivered, strict=True)
        assert all(a is None or a == b for a, b in stored)
    _has_same_picture(before, after, name)
    _has_same_tracks(before, after, tick)
    assert list(folder.iterdir()) == [output], "nothing is left beside the output"
    assert [secret for secret in SECRETS if secret in output.read_bytes()] == []
    with FileSource(output) as written:
        image = next(iter(written)).image
        assert np.abs(image.astype(int) - frames[0].image.astype(int)).mean() < 8


def _written_times(output: Path, after: Facts) -> list[object]:
    """Return the written times; where they are stored below zero, FFmpeg hides them but FileSource does not."""
    if None not in after.times:
        return list(after.times)
    with FileSource(output) as reader:
        return [frame.pts for frame in reader]


def _has_same_picture(before: Facts, after: Facts, name: str) -> None:
    assert after.size == before.size
    assert after.matrix == before.matrix
    assert after.aspect == before.aspect
    if name not in WITHOUT_TAGS:
        assert after.tags == before.tags
    assert (after.videos, after.others) == (1, 0), "one video stream and no data, no attachment, no cover"


def _has_same_tracks(before: Facts, after: Facts, tick: object) -> None:
    assert len(after.tracks) == len(before.tracks)
    for old, new in zip(before.tracks, after.tracks, strict=True):
        assert (new.codec, new.language, new.default) == (old.codec, old.language, old.default)
        assert new.packets == old.packets, "copied bit for bit"
        assert all(abs(a - b) <= tick for a, b in zip(old.times, new.times, strict=True))


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_secrets_are_there_to_be_removed(odd_folder: Path, name: str) -> None:
    """The check above could not fail otherwise."""
    assert any(secret in (odd_folder / name).read_bytes() for secret in SECRETS)


def test_playlist_opens_no_other_file(odd_folder: Path) -> None:
    """FFmpeg itself follows this one; the source must not."""
    with av.open(str(odd_folder / "concat_named.mp4")) as followed:
        assert followed.streams.video
    _is_refused(odd_folder / "concat_named.mp4", "playlist")


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("resolution_change.ts", "picture size changes: 30 frames"),
        ("interlaced_h264.mp4", "deinterlaced"),
        ("interlaced_mpeg2.ts", "deinterlaced"),
        ("corrupt_bytes.ts", "damaged"),
        ("truncated.mkv", "ends early: 1.0 of 2.0 seconds"),
        ("truncated_moov_first.mp4", "ends early"),
        ("raw_no_timestamps.h264", "60 frames without a time stamp"),
    ],
)
def test_says_what_was_odd(odd_folder: Path, name: str, warning: str) -> None:
    with FileSource(odd_folder / name) as reader:
        for _ in reader:
            pass
    assert any(warning in line for line in reader.warnings), reader.warnings


def test_ordinary_files_give_no_warning(odd_folder: Path) -> None:
    for name in ("plain_aac.mp4", "vfr.mp4", "edit_list_hidden_start.mp4", "start_10s.mkv", "audio_opus.webm"):
        with FileSource(odd_folder / name) as reader:
            assert sum(1 for _ in reader) > 0
        assert reader.warnings == [], name


def test_deinterlaced_frames_have_no_combs(odd_folder: Path) -> None:
    """A comb is a line that differs from both neighbours in the same direction."""

    def combs(luma: NDArray[np.generic]) -> int:
        lines = luma.astype(int)
        above, below = lines[1:-1] - lines[:-2], lines[1:-1] - lines[2:]
        return int(((above * below > 0) & (np.minimum(np.abs(above), np.abs(below)) > 40)).sum())

    path = odd_folder / "interlaced_h264.mp4"
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray()[:240] for frame in container.decode(video=0)][15]
    with FileSource(path) as reader:
        image = list(reader)[15].image
    assert combs(raw) > 1000
    assert combs(image.mean(axis=2)) < 150


def test_sound_before_an_edit_list_stays_out(odd_folder: Path, tmp_path: Path) -> None:
    """A player hides it, but it is in the file; only what a decoder needs to start (0.1 s) may go over."""
    source, output = odd_folder / "edit_list_hidden_start.mp4", tmp_path / "b.mp4"
    pass_through(source, output)

    def hidden(path: Path) -> int:
        with av.open(str(path)) as container:
            return sum(packet.is_discard for packet in container.demux(audio=0))

    assert hidden(source) > 30
    assert hidden(output) <= 5
