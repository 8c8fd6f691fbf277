"""The encoded video track of an output file."""

from __future__ import annotations

import os
from fractions import Fraction

import av

from deepprivacy_rt.media.colour import FromRgb
from deepprivacy_rt.media.info import VideoInfo
from deepprivacy_rt.sinks.encoding import Encoding
from deepprivacy_rt.sinks.formats import OutputFormat
from deepprivacy_rt.sinks.gif import Palettes
from deepprivacy_rt.types import Image

_MAX_THREADS = 4
_LAMBDA = 118  # FF_QP2LAMBDA: FFmpeg's unit of a fixed quantiser
_LONGEST_LAST_FRAME = Fraction(60)


class VideoTrack:
    """Encodes upright RGB pictures; holds one back, since a frame lasts until the next one comes.

    :ivar stream: the output's stream.
    :ivar rounded: how many time stamps the container's grid could not express.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        info: VideoInfo,
        encoding: Encoding,
        form: OutputFormat,
        unit: Fraction,
        origin: Fraction,
    ) -> None:
        """:param origin: time of the input, in seconds, at which the output starts to count.

        Raises ValueError or FFmpegError where container and encoder do not go together."""
        self._info = info
        self._encoding = encoding
        self._unit = unit
        self._turned = form.turns and not info.orientation.is_identity
        self._held: av.VideoFrame | None = None
        self._last_time = Fraction(0)
        self._end = None if info.duration is None else info.start + info.duration - origin
        self._count = 0
        self._from_rgb = FromRgb()
        self.rounded = 0
        width, height = coded_size(info, form)
        rate = info.grid_rate if form.fixed_rate else info.average_rate
        options = encoding.options | ({} if form.reorders else {"bf": "0"})
        self.stream = output.add_stream(encoding.encoder, rate=rate, options=options)
        self.stream.width, self.stream.height = width, height
        self._configure(self.stream.codec_context)
        if self._turned:
            self.stream.set_display_matrix(info.orientation.matrix)
        self._palettes = Palettes((width, height), unit) if encoding.encoder == "gif" else None

    def _configure(self, context: av.VideoCodecContext) -> None:
        context.pix_fmt = "pal8" if self._encoding.encoder == "gif" else self._encoding.pixel_format
        context.time_base = self._unit
        tags = self._encoding.tags
        context.color_range, context.colorspace = tags.range, tags.matrix
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        aspect = self._info.sample_aspect_ratio
        if self._info.orientation.transpose and not self._turned:
            aspect = 1 / aspect
        context.sample_aspect_ratio = aspect
        context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        context.flags |= av.codec.context.Flags.frame_duration
        if self._encoding.quantiser is not None:
            context.qscale = True
            context.global_quality = self._encoding.quantiser * _LAMBDA

    def encode(self, image: Image, time: Fraction) -> list[av.Packet]:
        """Take the next picture, (h, w, 3) uint8 RGB, upright, at a time in seconds; return what is ready."""
        ticks = round(time / self._unit)
        if self._held is not None and ticks <= self._held.pts:
            ticks = self._held.pts + 1
        self.rounded += ticks * self._unit != time
        self._count += 1
        frame = self._frame(self._info.orientation.stored(image) if self._turned else image, ticks)
        previous, self._held, self._last_time = self._held, frame, time
        if previous is None:
            return []
        previous.duration = ticks - previous.pts
        ready: list[av.Packet] = self.stream.encode(previous)
        return ready

    def finish(self) -> list[av.Packet]:
        """Return the rest."""
        packets: list[av.Packet] = []
        if self._held is not None:
            self._held.duration = max(1, round(self._last_duration() / self._unit))
            packets = self.stream.encode(self._held)
            self._held = None
        packets += self.stream.encode(None)
        return packets

    def _frame(self, image: Image, ticks: int) -> av.VideoFrame:
        if self._palettes is not None:
            frame = self._palettes.reduce(image, ticks)
        else:
            frame = self._from_rgb(image, self._encoding.pixel_format, self._encoding.tags)
        frame.pts, frame.time_base = ticks, self._unit
        return frame

    def _last_duration(self) -> Fraction:
        """Return how long the last frame stays, in seconds: to the promised end, where no frame is missing."""
        if self._end is not None and self._count >= (self._info.frames or 0):
            rest = self._end - self._last_time
            if 0 < rest <= _LONGEST_LAST_FRAME:
                return rest
        return 1 / self._info.average_rate


def coded_size(info: VideoInfo, form: OutputFormat) -> tuple[int, int]:
    """Return width and height of the written pixels: the stored ones where the container turns them upright."""
    if info.orientation.transpose and form.turns:
        return info.height, info.width
    return info.width, info.height
