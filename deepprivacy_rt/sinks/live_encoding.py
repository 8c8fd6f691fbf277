"""How live pictures are encoded: settings, and the choice of an H.264 encoder that works on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from deepprivacy_rt.errors import EnvironmentProblem, UsageError

KEYFRAME_INTERVAL = 2  # seconds; what Twitch and YouTube ask for
_BITS_PER_PIXEL = 0.1
_LOWEST, _HIGHEST = 400_000, 6_000_000  # bits per second; 6 Mbit/s is the most that Twitch takes
_FASTEST = 240
UNIT = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class LivePicture:
    """Size, rate and encoder of a live output.

    :ivar size: width and height, even; None takes those of the first frame, rounded down to even numbers.
    :ivar rate: pictures per second at most. Slower sources are sent as they come.
    :ivar bitrate: bits per second; None decides by size and rate.
    :ivar encoder: FFmpeg's name, such as "libx264", or "auto".
    :ivar sound: whether there is a sound track, silent as long as no sound comes. RTMP has one in any case.
    :ivar patience: seconds without any progress after which the output counts as stalled.
    """

    size: tuple[int, int] | None = None
    rate: Fraction = Fraction(30)
    bitrate: int | None = None
    encoder: str = "auto"
    sound: bool = False
    patience: float = 5.0

    def __post_init__(self) -> None:
        """Raises UsageError for values that cannot be."""
        if self.size is not None and (min(self.size) < 2 or any(side % 2 for side in self.size)):
            raise UsageError(f"the size must be two even numbers, not {self.size[0]}x{self.size[1]}")
        if not 1 <= self.rate <= _FASTEST:
            raise UsageError(f"the rate must lie between 1 and {_FASTEST} pictures per second, not {self.rate}")
        if self.bitrate is not None and self.bitrate < 10_000:
            raise UsageError(f"the bitrate is in bits per second and at least 10000, not {self.bitrate}")
        if self.encoder != "auto" and self.encoder not in _OPTIONS:
            raise UsageError(f"the encoder {self.encoder!r} is unknown; use auto, {', '.join(_OPTIONS)}")
        if not 0.5 <= self.patience <= 600:
            raise UsageError(f"the patience must lie between 0.5 and 600 seconds, not {self.patience}")


# Every one without B-frames and look-ahead: a picture goes out before the next one comes. x264 at 2.8 Mbit/s, 1280x720,
# a talking person, busy machine, CPU per picture: veryfast 29 ms, 41.16 dB; superfast 14 ms, 41.10 dB; ultrafast 8 ms,
# 40.23 dB.
_OPTIONS = {
    "h264_nvenc": {"preset": "p4", "tune": "ull", "rc": "cbr", "zerolatency": "1", "delay": "0", "forced-idr": "1"},
    "h264_videotoolbox": {"realtime": "1", "allow_sw": "0"},
    "h264_qsv": {"preset": "veryfast", "async_depth": "1", "look_ahead": "0", "forced_idr": "1"},
    "libx264": {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1"},
}
_FORMATS = {"h264_qsv": "nv12"}


def bitrate_for(size: tuple[int, int], rate: Fraction) -> int:
    """Return bits per second for a size and rate: 2.8 Mbit/s for 1280x720 at 30, 6 for 1920x1080."""
    return round(min(_HIGHEST, max(_LOWEST, size[0] * size[1] * rate * _BITS_PER_PIXEL)))


def add_video(
    output: av.container.OutputContainer, wanted: str, size: tuple[int, int], rate: Fraction, bitrate: int
) -> av.VideoStream:
    """Add an H.264 stream with the first encoder that works here. Raises EnvironmentProblem if none does."""
    tried = []
    for name in _candidates(wanted):
        try:
            _try(name, size, rate, bitrate)
        except (av.FFmpegError, OSError, ValueError) as error:
            tried.append(f"{name} ({' '.join(str(error.args[-1] if error.args else error).split())[:60]})")
            continue
        stream = output.add_stream(name, rate=rate, options=_options(name, bitrate))
        _configure(stream.codec_context, name, size, rate, bitrate)
        return stream
    raise EnvironmentProblem(f"no H.264 encoder works here: {', '.join(tried)}; use the PyAV wheel from PyPI")


def _candidates(wanted: str) -> Iterator[str]:
    yield from _OPTIONS if wanted == "auto" else (wanted,)


def _try(name: str, size: tuple[int, int], rate: Fraction, bitrate: int) -> None:
    """Open the encoder and give it one picture: some fail only then."""
    context = av.CodecContext.create(av.Codec(name, "w"))
    context.options = _options(name, bitrate)
    context.framerate = rate
    _configure(context, name, size, rate, bitrate)
    context.open()
    frame = av.VideoFrame(*size, _FORMATS.get(name, "yuv420p"))
    frame.pts, frame.time_base = 0, UNIT
    context.encode(frame)


def _options(name: str, bitrate: int) -> dict[str, str]:
    return _OPTIONS[name] | {"maxrate": str(bitrate), "bufsize": str(bitrate)}


def _configure(context: av.VideoCodecContext, name: str, size: tuple[int, int], rate: Fraction, bitrate: int) -> None:
    context.width, context.height = size
    context.pix_fmt = _FORMATS.get(name, "yuv420p")
    context.time_base = UNIT
    context.bit_rate = bitrate
    context.gop_size = round(rate * KEYFRAME_INTERVAL)
    context.max_b_frames = 0
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
    # Slices of one picture: more of them cost quality, and the networks need the other cores.
    context.thread_count = max(1, min(4, (os.cpu_count() or 1) // 2))
