"""Everything of the input that is not the picture: audio and subtitles go over, private things stay behind."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

from deepprivacy_rt.media.container import is_cover, open_input, reason
from deepprivacy_rt.media.info import VideoInfo
from deepprivacy_rt.sinks.formats import OutputFormat
from deepprivacy_rt.sinks.tracks import Track, add_track

_TECHNICAL = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "software", "language"}
_DEFAULT_HANDLERS = {"VideoHandler", "SoundHandler", "SubtitleHandler"}


class Passthrough:
    """Reads the input a second time, beside the source, and feeds its other tracks to the output as time goes on.

    :ivar notes: what was re-encoded or left out, one line each.
    """

    def __init__(self, info: VideoInfo) -> None:
        """Raises SourceError if the input cannot be opened again."""
        self.notes: list[str] = []
        self._info = info
        self._input = open_input(info.path)
        self._tracks: dict[int, Track] = {}
        self._skipped: dict[str, int] = {}
        self._packets: Iterator[av.Packet] = iter(())
        self._next: av.Packet | None = None

    def close(self) -> None:
        """Release the input. May be called more than once."""
        self._packets = iter(())
        self._input.close()

    def attach(
        self, output: av.container.OutputContainer, form: OutputFormat, origin: Fraction, *, audio: bool, copy: bool
    ) -> None:
        """Add tracks to the output. ``copy=False`` encodes all of them anew. What fails is noted, and left out."""
        self.notes.clear()
        self._tracks.clear()
        counts = {"audio": 0, "subtitle": 0}
        for stream in self._input.streams:
            if stream.type not in counts or (stream.type == "audio" and not audio):
                self._note_left_out(stream)
                stream.discard = av.stream.Discard.all
                continue
            stream.discard = av.stream.Discard.default
            counts[stream.type] += 1
            label = f"{stream.type} track {counts[stream.type]}"
            track, note = add_track(stream, output, form, label, origin, copy)
            if note:
                self.notes.append(note)
            if track is not None:
                self._tracks[stream.index] = track
        streams = [stream for stream in self._input.streams if stream.index in self._tracks]
        self._packets = self._input.demux(streams) if streams else iter(())

    def note_private(self) -> None:
        """Note which metadata stays behind, by name only."""
        keys = {key.lower() for key in self._input.metadata}
        for stream in self._input.streams:
            keys |= {key.lower() for key, value in stream.metadata.items() if value not in _DEFAULT_HANDLERS}
        private = sorted(key for key in keys - _TECHNICAL if not key.startswith(("vendor_id", "_statistics", "bps")))
        if private:
            self.notes.append(f"metadata was removed: {', '.join(private)}")
        if self._input.chapters():
            self.notes.append("chapters were removed")

    def copy_metadata(self, output: av.container.OutputContainer, video: av.VideoStream) -> None:
        """Take the metadata of the input along: titles, places, times, chapters. Never pictures."""
        output.metadata.update(_kept(self._input.metadata))
        video.metadata.update(_kept(self._input.streams[self._info.stream_index].metadata))
        for index, track in self._tracks.items():
            track.target.metadata.update(_kept(self._input.streams[index].metadata))
        if self._input.chapters():
            output.set_chapters(self._input.chapters())

    def advance(self, output: av.container.OutputContainer, until: Fraction | None) -> None:
        """Write all packets up to a time in seconds, or all that are left (None). Raises OSError if writing fails.

        A packet that a muxer or an encoder refuses is skipped and counted: sound must not cost the picture.
        """
        while (packet := self._peek()) is not None:
            time = packet.dts if packet.dts is not None else packet.pts
            if until is not None and time is not None and time * Fraction(packet.time_base) > until:
                return
            self._next = None
            self._write(output, self._tracks[packet.stream.index], packet)
        if until is None:
            self._finish(output)

    def _finish(self, output: av.container.OutputContainer) -> None:
        for track in self._tracks.values():
            try:
                for ready in track.finish():
                    output.mux(ready)
            except (ValueError, av.error.EOFError):
                self._count(track)
        for label, count in self._skipped.items():
            self.notes.append(f"{count} packets of {label} were damaged or could not be written")
        self._tracks.clear()

    def _write(self, output: av.container.OutputContainer, track: Track, packet: av.Packet) -> None:
        try:
            for ready in track.packets(packet):
                output.mux(ready)
        except ValueError:  # FFmpeg's invalid data and invalid argument; a full disk is an OSError
            self._count(track)

    def _count(self, track: Track) -> None:
        self._skipped[track.label] = self._skipped.get(track.label, 0) + 1

    def _peek(self) -> av.Packet | None:
        while self._next is None:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as error:
                self.notes.append(f"audio or subtitles end early: {reason(error)}")
                self._packets = iter(())
                return None
            if packet is None:
                return None
            if packet.size:
                self._next = packet
        return self._next

    def _note_left_out(self, stream: av.stream.Stream) -> None:
        if stream.index == self._info.stream_index:
            return
        what = {"audio": "audio track", "video": "second video track", "data": "data track"}.get(stream.type)
        if stream.type == "video" and is_cover(stream):
            what = "cover picture"
        self.notes.append(f"{what or stream.type} was left out")


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _TECHNICAL}
