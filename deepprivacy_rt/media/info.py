"""Facts about an opened video or picture, as plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from deepprivacy_rt.media.colour import ColourTags
from deepprivacy_rt.media.orientation import Orientation


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file source knows after it is opened.

    :ivar path: the file.
    :ivar container: FFmpeg's name of the demuxer, for example ``"mov,mp4,m4a,3gp,3g2,mj2"``.
    :ivar stream_index: index of the video stream that is read.
    :ivar codec: FFmpeg's name of the coded format, for example ``"h264"``.
    :ivar width: width in pixels of the delivered frames (upright).
    :ivar height: height in pixels of the delivered frames (upright).
    :ivar orientation: how stored pixels become upright ones.
    :ivar average_rate: frames per second; a guess where the file does not say.
    :ivar grid_rate: frames per second of the finest grid on which the time stamps lie; a guess. Equal to the average
        rate where frames are evenly spaced.
    :ivar frames: number of frames the file promises; an estimate, or None where nothing is known.
    :ivar duration: seconds of the video stream as promised, or None.
    :ivar time_base: unit of the stored time stamps, in seconds.
    :ivar start: presentation time of the first frame, in seconds.
    :ivar pixel_format: FFmpeg's name of the decoded pixel format, for example ``"yuv420p10le"``.
    :ivar bits: bits per colour sample as stored.
    :ivar colour: range, matrix, primaries and transfer as the file declares them.
    :ivar sample_aspect_ratio: width of a *stored* pixel divided by its height; 1 where the file does not say.
    :ivar interlaced: the first frame is interlaced (delivered frames are deinterlaced).
    :ivar audio_tracks: number of audio tracks.
    :ivar subtitle_tracks: number of subtitle tracks.
    """

    path: Path
    container: str
    stream_index: int
    codec: str
    width: int
    height: int
    orientation: Orientation
    average_rate: Fraction
    grid_rate: Fraction
    frames: int | None
    duration: Fraction | None
    time_base: Fraction
    start: Fraction
    pixel_format: str
    bits: int
    colour: ColourTags
    sample_aspect_ratio: Fraction
    interlaced: bool
    audio_tracks: int
    subtitle_tracks: int


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image source knows after it is opened.

    :ivar path: the file.
    :ivar width: width in pixels, upright.
    :ivar height: height in pixels, upright.
    :ivar exif_orientation: EXIF orientation 1 to 8 that was applied (1: none).
    :ivar channels: colour channels as stored: 1 grey, 3 colour, 4 colour and alpha.
    :ivar bits: bits per channel as stored: 8, 16 or 32.
    """

    path: Path
    width: int
    height: int
    exif_orientation: int
    channels: int
    bits: int
