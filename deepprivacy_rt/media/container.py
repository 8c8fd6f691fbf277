"""Open a media file for reading without opening anything else, and choose its main video stream."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import av

from deepprivacy_rt.errors import SourceError

# Demuxers that read one file and nothing beside it. Left out on purpose: playlists and scripts (concat, hls, dash,
# imf, sdp), which open what they name, image sequences, and lavfi.
_DEMUXERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,asf_o,flv,live_flv,kux,gif,apng,ogg,mxf,gxf,nut,rm,wtv,dv,ivf,obu,"
    "h261,h263,h264,hevc,vvc,m4v,mjpeg,mjpeg_2000,av1,vc1,vc1test,yuv4mpegpipe,swf,wav,aac,mp3,flac,aiff,caf"
)
_IMAGE_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "jpegls", "ppm"}
_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"#EXTM3U", "a playlist, which is not followed"),
    (b"ffconcat", "a playlist, which is not followed"),
)


def check_regular(path: Path) -> None:
    """Refuse what is no readable, regular, non-empty file, before a demuxer can hang on it. Raises SourceError."""
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{shown(path)}: is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{shown(path)}: is not a regular file (a pipe or a device); give a file")
    if status.st_size == 0:
        raise SourceError(f"{shown(path)}: is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{shown(path)}: cannot be read: permission denied")


def open_input(path: Path) -> av.container.InputContainer:
    """Open a media file with demuxers and protocols that reach no other file. Raises SourceError."""
    check_regular(path)
    options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
    try:
        return av.open(url(path), "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{shown(path)}: {_why_not(path, error)}") from error


def url(path: Path) -> str:
    """Name a file so that FFmpeg takes it as a file whatever its name looks like (``-x``, ``rtsp:y.mp4``)."""
    return "file:" + str(path.absolute())


def shown(path: Path) -> str:
    """Return the path as one printable line; bytes that are no UTF-8 and control characters are escaped."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def main_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """Return the stream that a player shows: no cover picture, moving before still codecs, then default, then largest.

    None where there is none.
    """
    streams = [
        stream for stream in container.streams.video if stream.codec_context is not None and not is_cover(stream)
    ]
    if not streams:
        return None

    def rank(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
        still = stream.codec_context.codec.canonical_name in _IMAGE_CODECS
        default = bool(stream.disposition & av.stream.Disposition.default)
        return (not still, default, stream.width * stream.height, -stream.index)

    return max(streams, key=rank)


def is_cover(stream: av.VideoStream) -> bool:
    """Tell whether a stream is flagged as a cover picture or thumbnail."""
    flags = av.stream.Disposition
    return bool(stream.disposition & (flags.attached_pic | flags.still_image | flags.timed_thumbnails))


def reason(error: BaseException) -> str:
    """Return what an FFmpeg or operating system error says, without number and file name, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _why_not(path: Path, error: BaseException) -> str:
    if not isinstance(error, av.error.InvalidDataError | ValueError):
        return f"cannot be opened: {reason(error)}"
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return f"is {what}, not a video"
    if b"ftyp" in head[:16]:
        return "is cut off or damaged: the index (moov) of the MP4/MOV file is missing"
    if not any(byte < 9 for byte in head):
        return "is text, not a video"
    return "is not a video in a known format, or damaged"
