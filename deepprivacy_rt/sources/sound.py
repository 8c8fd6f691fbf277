"""Sound of a file, a stream or a device, as 48 kHz stereo in pieces of 20 ms."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from deepprivacy_rt.media.container import open_input
from deepprivacy_rt.sound import SOUND_RATE, Samples

_PIECE = SOUND_RATE // 50


class Piece(NamedTuple):
    """Decoded sound.

    :ivar samples: (n, 2) int16, 48 kHz.
    :ivar time: of its first sample, by the stream's own clock, in seconds.
    """

    samples: Samples
    time: Fraction


class SoundDecoder:
    """Decodes the packets of one sound stream. What is damaged is left out."""

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None

    def decode(self, packet: av.Packet) -> Iterator[Piece]:
        """Yield the sound of a packet of that stream; a part of it comes with the next one."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            yield from self._pieces(frame)

    def _pieces(self, frame: av.AudioFrame) -> Iterator[Piece]:
        if frame.pts is None:
            return
        if self._resampler is None:
            self._resampler = av.AudioResampler("s16", "stereo", SOUND_RATE, _PIECE)
        try:
            pieces = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):  # the format has changed within the stream
            self._resampler = None
            return
        for piece in pieces:
            if piece.pts is not None and piece.samples:
                yield Piece(piece.to_ndarray().reshape(-1, 2), piece.pts * piece.time_base)


class FileSound:
    """The sound track of a file that a player would choose, read along with the pictures.

    :ivar present: whether there is one.
    """

    def __init__(self, path: Path) -> None:
        """Open the file a second time, for sound alone. Raises SourceError."""
        self._container = open_input(path)
        stream = self._container.streams.best("audio")
        self.present = stream is not None
        for other in self._container.streams:
            if stream is None or other.index != stream.index:
                other.discard = av.stream.Discard.all
        self._pieces = self._read(stream) if isinstance(stream, av.AudioStream) else iter(())
        self._next = next(self._pieces, None)

    def until(self, time: Fraction) -> Iterator[Piece]:
        """Yield what begins before this time, by the file's clock in seconds, and was not yielded yet."""
        while self._next is not None and self._next.time < time:
            yield self._next
            self._next = next(self._pieces, None)

    def close(self) -> None:
        """Release the file."""
        self._pieces, self._next = iter(()), None
        self._container.close()

    def _read(self, stream: av.AudioStream) -> Iterator[Piece]:
        decoder = SoundDecoder()
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):  # a cut-off file: its pictures end there, too
                return
            if packet is None:
                return
            yield from decoder.decode(packet)
