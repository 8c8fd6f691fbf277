"""The file sink: what is kept, what is re-encoded, what stays behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import pass_through, read_facts, safe, steady, write_clip

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sinks.formats import default_suffix
from deepprivacy_rt.sinks.null import NullSink
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.types import Frame

TURNED = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
VARIABLE = [Fraction(n, 90000) for n in (9000, 12000, 12100, 90000, 93000, 400000)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_keeps_variable_times_start_rotation_and_shape(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "a.mp4", VARIABLE, matrix=TURNED, aspect=Fraction(4, 3), tags=(2, 1, 1, 1))
    output = tmp_path / f"b{suffix}"
    pass_through(clip, output)
    before, after = read_facts(clip), read_facts(output)
    assert all(abs(a - b) <= after.tick for a, b in zip(after.times, VARIABLE, strict=True))
    assert (after.size, after.matrix, after.aspect, after.tags) == (before.size, TURNED, Fraction(4, 3), (2, 1, 1, 1))


def test_bakes_the_rotation_where_it_cannot_be_stored(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(20), matrix=TURNED, aspect=Fraction(4, 3))
    _, sink, frames = pass_through(clip, tmp_path / "b.ts")
    after = read_facts(tmp_path / "b.ts")
    assert (after.size, after.aspect, after.matrix) == ((64, 96), Fraction(3, 4), None)
    with FileSource(tmp_path / "b.ts") as written:
        image = next(iter(written)).image
    assert np.abs(image.astype(int) - frames[0].image).mean() < 4
    assert any("rotation was applied" in note for note in sink.notes)


def test_webm_keeps_times_and_says_what_it_loses(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", VARIABLE, matrix=TURNED, aspect=Fraction(4, 3), tags=(2, 1, 1, 1))
    _, sink, _ = pass_through(clip, tmp_path / "b.webm")
    after = read_facts(tmp_path / "b.webm")
    assert all(abs(a - b) <= after.tick for a, b in zip(after.times, VARIABLE, strict=True))
    assert (after.matrix, after.tags) == (TURNED, (2, 1, 1, 1))
    assert (after.aspect == Fraction(4, 3)) != any("pixel shape 4:3 was lost" in note for note in sink.notes)


def test_avi_keeps_gaps_and_sound_in_place(tmp_path: Path) -> None:
    """AVI has a fixed frame rate and no start offsets: gaps become empty frames, late sound begins with silence."""
    times = [Fraction(5) + Fraction(n, 30) for n in (0, 1, 2, 20, 21, 40)]
    clip = write_clip(tmp_path / "a.mkv", times, audio="flac", audio_start=Fraction(11, 2))
    _, sink, _ = pass_through(clip, tmp_path / "b.avi")
    after = read_facts(tmp_path / "b.avi")
    assert list(after.times) == [time - 5 for time in times]
    assert "the start offset of 5.000 s was removed: avi holds none" in sink.notes
    with av.open(str(tmp_path / "b.avi")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    first_sound = np.flatnonzero(np.abs(sound) > 0.05)[0] / 48000
    assert abs(first_sound - 0.5) < 0.06


@pytest.mark.parametrize(
    ("encoder", "name", "suffix", "codec", "note"),
    [
        ("aac", "a.mp4", ".mov", "aac", None),
        ("aac", "a.mp4", ".webm", "opus", "audio track 1 was re-encoded from aac to libopus"),
        ("libopus", "a.mkv", ".mp4", "opus", None),
        ("flac", "a.mkv", ".3gp", "aac", "audio track 1 was re-encoded from flac to aac"),
        ("aac", "a.mp4", ".gif", None, "audio track 1 (aac) was dropped: gif holds none"),
    ],
)
def test_audio_is_copied_or_encoded_anew(
    tmp_path: Path, encoder: str, name: str, suffix: str, codec: str | None, note: str | None
) -> None:
    clip = write_clip(tmp_path / name, steady(30), audio=encoder)
    _, sink, _ = pass_through(clip, tmp_path / f"b{suffix}")
    old, new = read_facts(clip).tracks, read_facts(tmp_path / f"b{suffix}").tracks
    assert [track.codec for track in new] == ([codec] if codec else [])
    assert sink.notes == ([note] if note else []) or note in sink.notes
    if codec and note is None:
        assert new[0].packets == old[0].packets
    elif codec:
        length = new[0].times[-1] - new[0].times[0]
        assert abs(length - (old[0].times[-1] - old[0].times[0])) < Fraction(1, 20)


def test_no_audio_leaves_it_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(5), audio="aac")
    pass_through(clip, tmp_path / "b.mp4", audio=False)
    assert read_facts(tmp_path / "b.mp4").tracks == ()


def test_damaged_audio_does_not_cost_the_picture(tmp_path: Path) -> None:
    """Flac packets full of noise cannot be decoded for the re-encoding that WebM needs."""
    clip = write_clip(tmp_path / "a.mkv", steady(30), audio="flac")
    data = bytearray(clip.read_bytes())
    for packet in read_facts(clip).tracks[0].packets[3:9]:
        place = data.find(packet)
        data[place : place + len(packet)] = np.random.default_rng(0).bytes(len(packet))
    clip.write_bytes(data)
    _, sink, _ = pass_through(clip, tmp_path / "b.webm")
    after = read_facts(tmp_path / "b.webm")
    assert len(after.times) == 30
    assert after.tracks[0].codec == "opus"
    assert any("packets of audio track 1 were damaged" in note for note in sink.notes), sink.notes


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mpeg4"])
def test_other_codecs_keep_count_and_colour(tmp_path: Path, codec: str) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(10), size=(128, 96), tags=(1, 1, 1, 1))
    pass_through(clip, tmp_path / "b.mkv", codec=codec, preset="ultrafast")
    after = read_facts(tmp_path / "b.mkv")
    assert len(after.times) == 10
    assert after.tags == ((1, 2, 2, 2) if codec == "mpeg4" else (1, 1, 1, 1))


def test_private_metadata_stays_behind_unless_wanted(tmp_path: Path) -> None:
    secrets = {"title": "Alice at home", "comment": "rendezvous", "location": "+48.8584+002.2945/"}
    clip = write_clip(tmp_path / "a.mp4", steady(5), metadata=secrets)
    assert b"Alice at home" in clip.read_bytes()
    _, sink, _ = pass_through(clip, tmp_path / "b.mp4")
    stripped = (tmp_path / "b.mp4").read_bytes()
    assert not any(value.encode() in stripped for value in secrets.values())
    assert any("metadata was removed: comment, location" in note for note in sink.notes), sink.notes
    pass_through(clip, tmp_path / "c.mp4", keep_metadata=True)
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert container.metadata["title"] == "Alice at home"
        assert "48.8584" in container.metadata["location"]


def test_quality_and_preset_reach_the_encoder(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(10), size=(320, 240))
    sizes = {}
    for quality in (10, 40):
        output = tmp_path / f"{quality}.mp4"
        pass_through(clip, output, quality=quality)
        sizes[quality] = output.stat().st_size
    assert sizes[10] > 1.5 * sizes[40]
    pass_through(clip, tmp_path / "p.mkv", preset="ultrafast", codec="h264")
    assert b"cabac=0" in (tmp_path / "p.mkv").read_bytes(), "x264 writes its settings into the stream"


@pytest.mark.parametrize(
    ("name", "options", "error", "cause"),
    [
        ("b.xyz", {}, SinkError, "unknown ending '.xyz'; use one of"),
        ("b", {}, SinkError, "unknown ending ''"),
        ("b.mp4", {"codec": "nonsense"}, UsageError, "'nonsense' is not available; use one of"),
        ("b.mp4", {"codec": "aac"}, UsageError, "no video codec"),
        ("b.mp4", {"quality": 52}, UsageError, "between 0 .best. and 51"),
        ("b.mp4", {"preset": "warp"}, UsageError, "preset 'warp' is unknown"),
        ("b.webm", {"codec": "h264"}, SinkError, "webm"),
        ("no/such/folder/b.mp4", {}, SinkError, "cannot be written: No such file"),
    ],
)
def test_says_what_cannot_be(
    tmp_path: Path, name: str, options: dict[str, object], error: type[Exception], cause: str
) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(3))
    with pytest.raises(error, match=cause) as caught:
        pass_through(clip, tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_size_without_a_way_is_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", steady(3), size=(97, 65), codec="ffv1", options={"level": "3"})
    with pytest.raises(UsageError, match=r"wmv2 cannot hold the odd size 97x65; write \.mp4"):
        pass_through(clip, tmp_path / "b.wmv")


def test_refuses_frames_of_another_size(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", steady(3))
    wrong = safe(Frame(np.zeros((64, 98, 3), np.uint8), 0, Fraction(0)))
    with (
        pytest.raises(SinkError, match="frame 0 is 98x64, not 96x64"),
        FileSource(clip) as source,
        FileSink(tmp_path / "b.mp4", source.info) as sink,
    ):
        sink.write(wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_default_suffix(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", steady(3))
    endings = {"a.mkv": ".mkv", "b": ".mkv", "c.MP4": ".MP4", "d.mxf": ".mkv"}
    for name, suffix in endings.items():
        clip = clip.rename(tmp_path / name)
        with FileSource(clip) as source:
            assert default_suffix(source.info) == suffix


def test_null_sink_counts() -> None:
    with NullSink() as sink:
        for index in range(3):
            sink.write(safe(Frame(np.zeros((2, 2, 3), np.uint8), index, Fraction(index))))
    assert sink.frames == 3
