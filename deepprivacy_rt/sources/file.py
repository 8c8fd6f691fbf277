"""Frames of a video file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.colour import ToRgb, tags_of
from deepprivacy_rt.media.container import main_video_stream, open_input, shown
from deepprivacy_rt.media.info import VideoInfo
from deepprivacy_rt.media.orientation import Orientation
from deepprivacy_rt.media.timeline import Timeline
from deepprivacy_rt.sources.decode import decoded_frames, with_times
from deepprivacy_rt.sources.deinterlace import deinterlaced
from deepprivacy_rt.types import Frame

_DEFAULT_RATE = Fraction(25)
_HIGHEST_RATE = 300
"""Above this many frames per second FFmpeg's guess of the grid is the unit of time and no rate."""


class FileSource:
    """Reads a video file in constant memory: upright RGB frames with strictly rising time stamps.

    Damaged packets are skipped and counted, interlaced frames deinterlaced, frames of another size scaled to that of
    the first; each is told in ``warnings``. The stream that is read is the one a player would show, never a cover.
    Use as a context manager; iterate once.

    :ivar info: facts about the video; there after ``__enter__``.
    :ivar warnings: what was not as it should be, one line each; complete when the iteration has ended.
    """

    info: VideoInfo

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._container: av.container.InputContainer | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._failures: Counter[str] = Counter()

    def __enter__(self) -> FileSource:
        self._container = open_input(self.path)
        try:
            self._prepare(self._container)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the decoder and the file. May be called more than once."""
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames, upright RGB. Raises SourceError where nothing more can be read at all."""
        info = self.info
        tick = info.time_base
        timeline = Timeline(tick, max(1 / info.average_rate, tick))
        stored_size = (info.height, info.width) if info.orientation.transpose else (info.width, info.height)
        to_rgb = ToRgb()
        end = info.start
        resized = 0
        for index, decoded in enumerate(self._frames):
            if (decoded.width, decoded.height) != stored_size:
                resized += 1
                decoded = decoded.reformat(*stored_size, interpolation="BICUBIC", threads=1)
            unit = Fraction(decoded.time_base or info.time_base)
            time = timeline.place(None if decoded.pts is None else decoded.pts * unit)
            end = time + max(timeline.step, (decoded.duration or 0) * unit)
            yield Frame(info.orientation.upright(to_rgb(decoded, info.colour)), index, time)
        self._warn_about_end(end - info.start, resized, timeline)

    def _prepare(self, container: av.container.InputContainer) -> None:
        stream = main_video_stream(container)
        if stream is None:
            raise SourceError(f"{shown(self.path)}: has no video stream")
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        # Frame threads would be faster, but lose good frames beside damaged ones, and not the same ones every time.
        stream.thread_type = "SLICE"
        stream.codec_context.thread_count = 2
        ticks_per_frame = 1 / (_rate(stream) * Fraction(stream.time_base))
        frames = with_times(decoded_frames(container, stream, self._failed), ticks_per_frame)
        first = next(frames, None)
        if first is None:
            causes = ", ".join(self._failures) or "it holds no frames"
            raise SourceError(f"{shown(self.path)}: no picture can be decoded: {causes}")
        self.info = _describe(self.path, container, stream, first)
        if self.info.interlaced:
            self.warnings.append("interlaced video was deinterlaced")
        if not self.info.orientation.exact:
            self.warnings.append("the rotation is no multiple of 90 degrees: faces are looked for at the nearest one")
        self._frames = deinterlaced(chain([first], frames), stream)

    def _failed(self, cause: str) -> None:
        self._failures[cause] += 1

    def _warn_about_end(self, length: Fraction, resized: int, timeline: Timeline) -> None:
        for cause, count in self._failures.items():
            self.warnings.append(f"{count} damaged part{'s' if count > 1 else ''} of the video: {cause}")
        promised = self.info.duration
        if promised is not None and length < promised * Fraction(9, 10) - Fraction(1, 10):
            ends = f"{float(length):.1f} of {float(promised):.1f} seconds could be read"
            self.warnings.append(f"the video ends early: {ends}")
        if resized:
            size = f"{self.info.width}x{self.info.height}"
            self.warnings.append(f"the picture size changes: {resized} frames were scaled to {size}")
        if timeline.invented:
            self.warnings.append(f"{timeline.invented} frames without a time stamp were placed by the frame rate")
        if timeline.moved:
            self.warnings.append(f"{timeline.moved} time stamps were not rising and were moved")


def _describe(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame
) -> VideoInfo:
    orientation = _orientation(first)
    width, height = first.width, first.height
    time_base = Fraction(stream.time_base)
    rate = _rate(stream)
    start = Fraction(0) if first.pts is None else first.pts * time_base
    duration = _duration(container, stream, start)
    return VideoInfo(
        path=path,
        container=container.format.name,
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        width=height if orientation.transpose else width,
        height=width if orientation.transpose else height,
        orientation=orientation,
        average_rate=rate,
        grid_rate=_grid_rate(stream, rate),
        frames=_frame_count(stream, duration, rate),
        duration=duration,
        time_base=time_base,
        start=start,
        pixel_format=first.format.name,
        bits=max(component.bits for component in first.format.components),
        colour=tags_of(first, stream),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        interlaced=bool(first.interlaced_frame),
        audio_tracks=len(container.streams.audio),
        subtitle_tracks=len(container.streams.subtitles),
    )


def _rate(stream: av.VideoStream) -> Fraction:
    """Return frames per second. A raw stream has no time stamps, so the rate inside of the stream is the best guess."""
    timeless = stream.start_time is None
    candidates = (stream.codec_context.framerate if timeless else None, stream.average_rate, stream.guessed_rate)
    return next((Fraction(rate) for rate in candidates if rate), _DEFAULT_RATE)


def _grid_rate(stream: av.VideoStream, rate: Fraction) -> Fraction:
    base = Fraction(stream.base_rate or 0)
    timeless = stream.start_time is None
    return rate if timeless or not 0 < base <= _HIGHEST_RATE else base


def _duration(container: av.container.InputContainer, stream: av.VideoStream, start: Fraction) -> Fraction | None:
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        length = Fraction(container.duration, av.time_base)
        counts_from_zero = container.format.name.startswith("matroska")
        return length - start if counts_from_zero and 0 < start < length else length
    return None


def _frame_count(stream: av.VideoStream, duration: Fraction | None, rate: Fraction) -> int | None:
    """Return the promised number of frames; an edit list may hide some of those that the container counts."""
    estimate = round(duration * rate) if duration else 0
    counts = [count for count in (stream.frames, estimate) if count]
    return min(counts) if counts else None


def _orientation(frame: av.VideoFrame) -> Orientation:
    for data in frame.side_data:
        if data.type is SideDataType.DISPLAYMATRIX:
            return Orientation.from_matrix(tuple(int(value) for value in np.frombuffer(data, np.int32)))
    return Orientation()
