"""The sound of a network stream, placed in time beside its pictures."""

from __future__ import annotations

from collections.abc import Iterator

import av

from deepprivacy_rt.sound import SOUND_RATE, Samples
from deepprivacy_rt.sources.sound import SoundDecoder
from deepprivacy_rt.sources.stream_clock import StreamClock

_APART_S = 1.0


class StreamSound:
    """Decodes one sound stream. It gets the delay of the pictures, since both carry the time of one clock.

    Where they do not (an RTSP camera before its first report), it gets its own delay.

    :ivar index: of the stream.
    :ivar pictures: is to be told when pictures arrive.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.pictures = StreamClock()
        self._own = StreamClock()
        self._decoder = SoundDecoder()

    def decode(self, packet: av.Packet, arrival: float) -> Iterator[tuple[Samples, float]]:
        """Yield sound, (n, 2) int16 at 48 kHz, and the ``time.monotonic()`` at which a picture of its time arrives.

        :param arrival: of the packet, by the same clock.
        """
        for samples, stream_time in self._decoder.decode(packet):
            begin, length = float(stream_time), len(samples) / SOUND_RATE
            self._own.note(arrival, begin + length)
            time = self.pictures.time_of(begin)
            if not self.pictures.known or abs(time + length - arrival) > _APART_S:
                time = self._own.time_of(begin)
            yield samples, time
