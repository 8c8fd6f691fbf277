"""Small clips written and read with PyAV alone, so that tests do not judge sources and sinks by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from numpy.typing import NDArray

from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.types import Frame, SafeFrame

Planes = tuple[NDArray[np.generic], ...]


def safe(frame: Frame) -> SafeFrame:
    """Pass a frame for safe, with nothing covered. Tests only: the pipeline never does this."""
    return SafeFrame(frame.image, np.zeros(frame.image.shape[:2], np.bool_), frame.index, frame.pts)


def pass_through(source: Path, output: Path, **options: object) -> tuple[FileSource, FileSink, list[Frame]]:
    """Copy a video frame by frame; returns source, sink and the first, middle and last frames."""
    with FileSource(source) as reader, FileSink(output, reader.info, **options) as sink:
        frames = []
        for frame in reader:
            sink.write(safe(frame))
            frames.append(frame)
            if len(frames) > 2:
                frames[-2] = Frame(frame.image[:1, :1], frames[-2].index, frames[-2].pts)  # keep the time alone
    return reader, sink, frames


def gradient(width: int, height: int, index: int = 0) -> NDArray[np.uint8]:
    """Return a picture without symmetry, (h, w, 3) uint8 RGB: red grows to the right, green down, blue with time."""
    red = np.linspace(30, 220, width)[None, :].repeat(height, 0)
    green = np.linspace(30, 220, height)[:, None].repeat(width, 1)
    return np.dstack([red, green, np.full_like(red, 60 + index * 7 % 120)]).astype(np.uint8)


def write_clip(
    path: Path,
    times: Sequence[Fraction],
    *,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    unit: Fraction = Fraction(1, 90000),
    rate: Fraction = Fraction(30),
    options: dict[str, str] | None = None,
    picture: Callable[[int], av.VideoFrame] | None = None,
    matrix: Sequence[int] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    audio: str | None = None,
    audio_start: Fraction = Fraction(0),
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a clip; ``tags`` are range, matrix, primaries, transfer; ``audio`` is an encoder for a second of tone."""
    with av.open(str(path), "w") as output:
        output.metadata.update(metadata or {})
        video = output.add_stream(codec, rate=rate, options=options or {"preset": "ultrafast", "crf": "10"})
        video.width, video.height = size
        video.pix_fmt = pixel_format
        video.codec_context.time_base = unit
        if tags:
            context = video.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = tags
        if matrix:
            video.set_display_matrix(matrix)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        sound = output.add_stream(audio, rate=48000) if audio else None
        for index, time in enumerate(times):
            frame = picture(index) if picture else av.VideoFrame.from_ndarray(gradient(*size, index), "rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound:
            _write_tone(output, sound, round(audio_start * 48000))
    return path


def _write_tone(output: av.container.OutputContainer, sound: av.audio.AudioStream, first: int) -> None:
    wave = (np.sin(np.arange(48000) * 440 * 2 * np.pi / 48000) * 0.3).astype(np.float32)
    for start in range(0, 48000, 1024):
        frame = av.AudioFrame.from_ndarray(np.stack([wave[start : start + 1024]] * 2), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first + start, Fraction(1, 48000)
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def steady(count: int, rate: int = 30, start: Fraction = Fraction(0)) -> list[Fraction]:
    """Return times in seconds at a constant rate."""
    return [start + Fraction(index, rate) for index in range(count)]


@dataclass(frozen=True)
class Track:
    """One audio or subtitle track as stored: what a listener would get."""

    codec: str
    language: str | None
    default: bool
    packets: tuple[bytes, ...]
    times: tuple[Fraction, ...]


@dataclass(frozen=True)
class Facts:
    """What a file holds, read with PyAV alone. Sizes and matrix are as stored; times in seconds, None where missing."""

    times: tuple[Fraction | None, ...]
    tick: Fraction
    size: tuple[int, int]
    matrix: tuple[int, ...] | None
    aspect: Fraction
    tags: tuple[int, int, int, int]
    pixel_format: str
    tracks: tuple[Track, ...]
    videos: int
    others: int


def read_facts(path: Path, video_index: int = 0) -> Facts:
    """Read a file from start to end."""
    with av.open("file:" + str(path)) as container:
        stream = container.streams[video_index]
        unit = Fraction(stream.time_base)
        times: list[Fraction | None] = []
        first: av.VideoFrame | None = None
        for packet in container.demux(stream):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    first = first or frame
                    times.append(None if frame.pts is None else frame.pts * unit)
        assert first is not None
        tracks = tuple(_track(path, other.index) for other in container.streams if other.type in ("audio", "subtitle"))
        return Facts(
            tuple(times),
            unit,
            (first.width, first.height),
            _matrix(first),
            Fraction(stream.sample_aspect_ratio or 1),
            (first.color_range or 1, int(first.colorspace), int(first.color_primaries), int(first.color_trc)),
            first.format.name,
            tracks,
            len(container.streams.video),
            len(container.streams) - len(container.streams.video) - len(tracks),
        )


def _track(path: Path, index: int) -> Track:
    with av.open("file:" + str(path)) as container:
        stream = container.streams[index]
        packets = []
        with contextlib.suppress(av.FFmpegError):
            packets += [p for p in container.demux(stream) if p.size and not p.is_discard]
        default = bool(stream.disposition & av.stream.Disposition.default)
        times = tuple(packet.pts * Fraction(packet.time_base) for packet in packets)
        return Track(
            stream.codec_context.codec.canonical_name,
            stream.metadata.get("language"),
            default,
            tuple(bytes(packet) for packet in packets),
            times,
        )


def _matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    for data in frame.side_data:
        if data.type is SideDataType.DISPLAYMATRIX:
            return tuple(np.frombuffer(data, np.int32).tolist())
    return None


def read_planes(path: Path, index: int = 0) -> Planes:
    """Return the stored planes of one frame of the first video stream."""
    with av.open(str(path)) as container:
        for position, frame in enumerate(container.decode(video=0)):
            if position == index:
                return planes_of(frame)
    raise AssertionError(f"{path} has no frame {index}")


def planes_of(frame: av.VideoFrame) -> Planes:
    """Return copies of a frame's planes, (h, w) uint8 or uint16 each."""
    planes = []
    for plane in frame.planes:
        dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width].copy())
    return tuple(planes)
