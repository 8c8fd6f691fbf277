"""Decoded frames of one video stream, in spite of damaged packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from deepprivacy_rt.media.container import reason

_MAX_READ_ERRORS_IN_A_ROW = 100
_HELD_FRAMES, _HELD_BYTES = 64, 256 << 20


def decoded_frames(
    container: av.container.InputContainer, stream: av.VideoStream, failed: Callable[[str], None]
) -> Iterator[av.VideoFrame]:
    """Yield every frame that can be decoded; ``failed`` gets the cause of each read or decode error."""
    for packet in _packets(container, stream, failed):
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError as error:
            failed(reason(error))
            continue
        for frame in frames:
            if frame.is_corrupt:
                failed("damaged frame")
            yield frame


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream, failed: Callable[[str], None]
) -> Iterator[av.Packet]:
    """Yield packets; a read error is reported and reading goes on, until a hundred came in a row."""
    errors = 0
    packets = container.demux(stream)
    while errors < _MAX_READ_ERRORS_IN_A_ROW:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            errors += 1
            failed(reason(error))
            packets = container.demux(stream)
            continue
        if packet is None:
            return
        errors = 0
        yield packet


def with_times(frames: Iterator[av.VideoFrame], ticks_per_frame: Fraction) -> Iterator[av.VideoFrame]:
    """Give leading frames without a time stamp one, counted back from the first frame that has one.

    Matroska files that start before zero have such frames. A stream without any time stamps passes unchanged.
    """
    held: deque[av.VideoFrame] = deque()
    for frame in frames:
        held.append(frame)
        size = sum(plane.buffer_size for plane in frame.planes)
        if frame.pts is not None or len(held) >= min(_HELD_FRAMES, max(1, _HELD_BYTES // size)):
            break
    if held and held[-1].pts is not None:
        last = held[-1]
        for back, frame in enumerate(reversed(held)):
            frame.pts = last.pts - round(back * ticks_per_frame)
    while held:
        yield held.popleft()
    yield from frames
