"""What each output ending means: muxer, encoders, and what the container can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.media.container import shown
from deepprivacy_rt.media.info import VideoInfo


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One kind of output file.

    :ivar muxer: FFmpeg's name.
    :ivar encoder: default video encoder.
    :ivar audio: encoder for audio that cannot be copied, or None where the container holds no audio.
    :ivar subtitles: encoder for text subtitles that cannot be copied, or None where the container holds none.
    :ivar turns: the container stores a display matrix.
    :ivar fixed_rate: frames lie on a grid of the frame rate.
    :ivar starts_at_zero: the container stores no start offsets, neither of the file nor between sound and picture.
    :ivar reorders: the container stores presentation times beside decoding times, so B-frames are possible.
    """

    muxer: str
    encoder: str
    audio: str | None = "aac"
    subtitles: str | None = None
    turns: bool = False
    fixed_rate: bool = False
    starts_at_zero: bool = False
    reorders: bool = True


_MP4 = OutputFormat("mp4", "libx264", subtitles="mov_text", turns=True)
_MOV = OutputFormat("mov", "libx264", subtitles="mov_text", turns=True)
_TS = OutputFormat("mpegts", "libx264")
_ASF = OutputFormat("asf", "wmv2", audio="wmav2", reorders=False)
_FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MOV,
    ".qt": _MOV,
    ".3gp": OutputFormat("3gp", "libx264", subtitles="mov_text", turns=True),
    ".3g2": OutputFormat("3g2", "libx264", subtitles="mov_text", turns=True),
    ".mkv": OutputFormat("matroska", "libx264", subtitles="subrip", turns=True),
    ".webm": OutputFormat("webm", "libvpx-vp9", audio="libopus", subtitles="webvtt", turns=True),
    ".avi": OutputFormat("avi", "mpeg4", audio="libmp3lame", fixed_rate=True, starts_at_zero=True, reorders=False),
    ".ts": _TS,
    ".m2ts": _TS,
    ".mts": _TS,
    ".wmv": _ASF,
    ".asf": _ASF,
    ".flv": OutputFormat("flv", "libx264"),
    ".gif": OutputFormat("gif", "gif", audio=None),
    ".h264": OutputFormat("h264", "libx264", audio=None, fixed_rate=True),
    ".264": OutputFormat("h264", "libx264", audio=None, fixed_rate=True),
    ".hevc": OutputFormat("hevc", "libx265", audio=None, fixed_rate=True),
    ".265": OutputFormat("hevc", "libx265", audio=None, fixed_rate=True),
}
_FINEST_TIMESCALE = 10_000_000
_SUFFIX_OF_DEMUXER = {"matroska": ".mkv", "avi": ".avi", "mpegts": ".ts", "asf": ".wmv", "flv": ".flv", "gif": ".gif"}


def output_format(path: Path) -> OutputFormat:
    """Choose by the ending of the output. Raises SinkError for an unknown one."""
    suffix = path.suffix.strip().lower()
    if suffix not in _FORMATS:
        known = " ".join(sorted(_FORMATS))
        raise SinkError(f"{shown(path)}: unknown ending {suffix!r}; use one of {known}")
    return _FORMATS[suffix]


def default_suffix(info: VideoInfo) -> str:
    """Return an ending for the output: that of the input if it can be written, else one that suits its container."""
    suffix = info.path.suffix
    if suffix.strip().lower() in _FORMATS:
        return suffix
    return _SUFFIX_OF_DEMUXER.get(info.container.split(",")[0], ".mp4")


def muxer_options(form: OutputFormat, info: VideoInfo, unit: Fraction, keep_metadata: bool) -> dict[str, str]:
    """Return FFmpeg's options for the container."""
    options = {"fflags": "+bitexact"}  # no version, date or random number in the file
    if form.muxer in ("mp4", "mov", "3gp", "3g2"):
        # The start of a track is stored in this unit; the default of a millisecond would round it.
        fine = math.lcm(unit.denominator, 48000)
        options["movie_timescale"] = str(fine if fine < _FINEST_TIMESCALE else min(unit.denominator, _FINEST_TIMESCALE))
        if keep_metadata:
            options["movflags"] = "+use_metadata_tags"
    if form.starts_at_zero:
        options["avoid_negative_ts"] = "disabled"  # moving all by a sound's priming would tear the picture off its grid
    elif info.start < 0:
        kept = form.muxer == "matroska" and info.container.startswith("matroska")
        options["avoid_negative_ts"] = "disabled" if kept else "make_non_negative"
    return options


def time_base(form: OutputFormat, encoder: str, info: VideoInfo) -> Fraction:
    """Return the encoder's unit of time: the source's own wherever the container can express it."""
    if form.muxer == "gif":
        return Fraction(1, 100)
    if form.fixed_rate or encoder == "mpeg2video":
        return 1 / info.grid_rate
    if info.time_base.denominator > 65535 and encoder in ("mpeg4", "wmv2", "wmv1", "flv", "h263", "msmpeg4"):
        return Fraction(1, 60000)  # these store the unit in 16 bits
    return info.time_base
