"""One audio or subtitle track on its way from the input to the output: copied, re-encoded or left out."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import av

from deepprivacy_rt.media.timeline import Timeline
from deepprivacy_rt.sinks.formats import OutputFormat

_PRIMING = Fraction(1, 10)
"""Seconds before the visible start that a decoder may need; hidden packets that are older stay out of the output."""
_NOTICEABLE = Fraction(4, 100)
"""Seconds by which sound may be early or late before somebody notices."""
_KEPT_FLAGS = av.stream.Disposition(
    sum(
        flag
        for flag in av.stream.Disposition
        if flag.name not in ("attached_pic", "timed_thumbnails", "still_image", "multilayer")
    )
)


class Track(Protocol):
    """Turns packets of an input stream into packets of an output stream."""

    label: str
    target: av.stream.Stream

    def packets(self, packet: av.Packet) -> Iterator[av.Packet]: ...
    def finish(self) -> Iterator[av.Packet]: ...


class CopiedTrack:
    """Packets go over bit for bit."""

    def __init__(
        self, source: av.stream.Stream, output: av.container.OutputContainer, label: str, origin: Fraction
    ) -> None:
        """Raises ValueError where the container cannot hold the codec."""
        self.label = label
        self.target = output.add_stream_from_template(source, opaque=True)
        describe(source, self.target)
        self._timeline: Timeline | None = None
        self._origin = origin

    def packets(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield the packet, on the output's stream, unless it is hidden before the start of an edit list."""
        unit = Fraction(packet.time_base)
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None or (packet.is_discard and time * unit < -_PRIMING):
            return
        if self._timeline is None:
            self._timeline = Timeline(unit, max(unit, (packet.duration or 0) * unit))
        shift = round((self._timeline.place(time * unit) - self._origin) / unit - time)
        packet.dts = time + shift
        packet.pts = packet.dts if packet.pts is None else packet.pts + shift
        packet.stream = self.target
        yield packet

    def finish(self) -> Iterator[av.Packet]:
        """Nothing is held back."""
        return iter(())


class EncodedAudioTrack:
    """Audio is decoded and encoded anew, times kept."""

    def __init__(
        self,
        source: av.audio.AudioStream,
        output: av.container.OutputContainer,
        encoder: str,
        label: str,
        fill_from: Fraction | None,
    ) -> None:
        """:param fill_from: time in seconds that becomes 0; the sound is padded with silence or cut to start there.

        Raises ValueError or FFmpegError where there is no decoder or the encoder refuses.
        """
        if source.codec_context is None:
            raise ValueError("no decoder")
        self.label = label
        self._source = source
        rate = nearest_rate(encoder, source.codec_context.sample_rate)
        self.target = output.add_stream(encoder, rate=rate)
        channels = source.codec_context.layout.nb_channels
        self.target.codec_context.layout = _layout(encoder, source.codec_context.layout.name, channels)
        self.target.codec_context.bit_rate = 80_000 * self.target.codec_context.layout.nb_channels
        self.target.codec_context.time_base = Fraction(1, rate)
        self._aligner = None if fill_from is None else _Aligner(source, fill_from)
        describe(source, self.target)

    def packets(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield what the encoder has ready; a damaged packet leaves a gap."""
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        for frame in frames:
            yield from self._encoded(frame)

    def finish(self) -> Iterator[av.Packet]:
        """Yield what decoder and encoder held back."""
        for frame in self._source.decode(None):
            yield from self._encoded(frame)
        yield from self.target.encode(None)

    def _encoded(self, frame: av.AudioFrame) -> Iterator[av.Packet]:
        for aligned in [frame] if self._aligner is None else self._aligner.align(frame):
            yield from self.target.encode(aligned)


class _Aligner:
    """Makes sound start at a time: silence goes before a late one, the beginning of an early one goes."""

    def __init__(self, source: av.audio.AudioStream, start: Fraction) -> None:
        rate = source.codec_context.sample_rate
        self._start = round(start * rate)
        self._unit = Fraction(1, rate)
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._graph.link_nodes(
            self._graph.add_abuffer(
                sample_rate=rate,
                format=source.codec_context.format.name,
                layout=source.codec_context.layout.name,
                time_base=self._unit,
            ),
            self._graph.add("aresample", f"async=1:first_pts={self._start}"),
            self._graph.add("abuffersink"),
        )
        self._graph.configure()

    def align(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        frame.pts = round(frame.pts * Fraction(frame.time_base) / self._unit)
        frame.time_base = self._unit
        self._graph.push(frame)
        while True:
            try:
                aligned = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            aligned.pts -= self._start
            yield aligned


class EncodedSubtitleTrack:
    """Text subtitles change their format, for example from SubRip to MP4 timed text."""

    def __init__(
        self, source: av.subtitles.stream.SubtitleStream, output: av.container.OutputContainer, encoder: str, label: str
    ) -> None:
        """Raises ValueError or FFmpegError where the subtitles are pictures or the encoder refuses."""
        self.label = label
        self._source = source
        if source.codec_context is None:
            raise ValueError("no decoder")
        source.codec_context.open(strict=False)
        self.target = output.add_stream(encoder)
        header = source.codec_context.subtitle_header
        if not header:
            raise ValueError("subtitles that are pictures cannot become text")
        self.target.codec_context.subtitle_header = header
        self.target.codec_context.time_base = Fraction(1, 1000)
        self.target.time_base = Fraction(1, 1000)
        describe(source, self.target)

    def packets(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield the same text in the other format."""
        if packet.pts is None or packet.size == 0:
            return
        subtitle = self._source.codec_context.decode2(packet)
        if subtitle is None:
            return
        encoded = self.target.codec_context.encode_subtitle(subtitle)
        unit = Fraction(packet.time_base)
        encoded.time_base = Fraction(1, 1000)
        encoded.pts = encoded.dts = round(packet.pts * unit * 1000)
        encoded.duration = round((packet.duration or 0) * unit * 1000)
        encoded.stream = self.target
        yield encoded

    def finish(self) -> Iterator[av.Packet]:
        """Nothing is held back."""
        return iter(())


def describe(source: av.stream.Stream, target: av.stream.Stream) -> None:
    """Give the output's track the language and the role of the input's, and nothing else of its metadata."""
    language = source.metadata.get("language")
    target.metadata.clear()
    if language:
        target.metadata["language"] = language
    target.disposition = source.disposition & _KEPT_FLAGS


def add_track(
    source: av.stream.Stream,
    output: av.container.OutputContainer,
    form: OutputFormat,
    label: str,
    origin: Fraction,
    copy: bool,
) -> tuple[Track | None, str | None]:
    """Add a track the best way the container allows; returns it and a note where it is not a plain copy.

    :param origin: time of the input, in seconds, that becomes 0 in the output.
    """
    name = source.codec_context.name if source.codec_context is not None else "unknown codec"
    if copy and not (form.starts_at_zero and abs(_start_of(source) - origin) > _NOTICEABLE):
        try:
            return CopiedTrack(source, output, label, origin), None
        except (ValueError, av.FFmpegError):
            pass  # the container cannot hold it: encode it
    encoder = form.audio if source.type == "audio" else form.subtitles
    if encoder is None:
        return None, f"{label} ({name}) was dropped: {form.muxer} holds none"
    try:
        if source.type == "audio":
            fill_from = origin if form.starts_at_zero else None
            track = EncodedAudioTrack(source, output, encoder, label, fill_from)
            return track, f"{label} was re-encoded from {name} to {encoder}"
        return EncodedSubtitleTrack(source, output, encoder, label), f"{label} was converted from {name} to {encoder}"
    except (ValueError, av.FFmpegError) as error:
        return None, f"{label} ({name}) was dropped: it cannot be converted to {encoder}: {error}"


def _start_of(stream: av.stream.Stream) -> Fraction:
    return Fraction(0) if stream.start_time is None else stream.start_time * Fraction(stream.time_base)


def nearest_rate(encoder: str, rate: int) -> int:
    """Return the sample rate in Hz that an encoder supports and that loses least."""
    rates: list[int] | None = av.Codec(encoder, "w").audio_rates
    if not rates or rate in rates:
        return rate
    higher = [other for other in rates if other > rate]
    return min(higher) if higher else max(rates)


def _layout(encoder: str, layout: str, channels: int) -> str:
    if encoder in ("libmp3lame", "mp2", "wmav2") and channels > 2:
        return "stereo"
    return layout if layout and "channels" not in layout else ("mono" if channels == 1 else "stereo")
