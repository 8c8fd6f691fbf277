"""The process behind a stream or a live recording: encodes pictures and sends them. Started by :mod:`.child`.

Nothing here is bounded in time by itself: FFmpeg's connecting, and writing to a server that hangs, are not. The parent
kills this process; if the parent is gone, an alarm of the kernel does.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from deepprivacy_rt.errors import EnvironmentProblem
from deepprivacy_rt.media.colour import LIMITED_RANGE, MATRIX_BT709, ColourTags, FromRgb
from deepprivacy_rt.media.container import reason
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.sinks.live_encoding import KEYFRAME_INTERVAL, UNIT, add_video, bitrate_for
from deepprivacy_rt.types import Image

_TAGS = ColourTags(LIMITED_RANGE, MATRIX_BT709, MATRIX_BT709, MATRIX_BT709)
_AUDIO_RATE, _AUDIO_BLOCK = 48_000, 1024
_SENT_AHEAD = 0.5  # seconds of video that may wait in the kernel, so that a stalled server is noticed
_SMALLEST_BUFFER = 1 << 16


class Output:
    """One encoded output, open from its first picture on.

    Settings: ``target`` (address, or file that exists), ``is_file``, ``muxer``, ``options``, ``rate``, ``bitrate``,
    ``encoder``, ``audio``; ``folder``, if given, becomes the current one.
    """

    def __init__(self, settings: dict[str, Any], size: tuple[int, int]) -> None:
        """Connect. Raises FFmpegError, OSError, EnvironmentProblem; blocks as long as the other side likes."""
        rate = Fraction(settings["rate"])
        bitrate = settings["bitrate"] or bitrate_for(size, rate)
        target = settings["target"]
        if "folder" in settings:
            os.chdir(settings["folder"])
        if settings["is_file"]:
            target = Path(target).open("r+b", buffering=0)  # noqa: SIM115 - lives as long as the output
        elif target.startswith("rtmps:"):
            _check_certificate(target, settings["patience"])
        self._container = av.open(target, "w", format=settings["muxer"], container_options=settings["options"])
        self._video = add_video(self._container, settings["encoder"], size, rate, bitrate)
        self._audio = self._container.add_stream("aac", rate=_AUDIO_RATE) if settings["audio"] else None
        if self._audio is not None:
            self._audio.codec_context.layout = "stereo"
            self._audio.codec_context.bit_rate = 96_000
        self._container.start_encoding()
        _bound_send_buffers(max(_SMALLEST_BUFFER, round(bitrate / 8 * _SENT_AHEAD)))
        self._from_rgb = FromRgb()
        self._first: int | None = None
        self._last = -1
        self._keyframe = 0
        self._audio_samples = 0

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder that was chosen."""
        return str(self._video.codec_context.codec.name)

    def write(self, image: Image, microseconds: int) -> None:
        """Encode and send (h, w, 3) uint8 RGB."""
        if self._first is None:
            self._first = microseconds
        pts = max(self._last + 1, round((microseconds - self._first) * Fraction(1, 1_000_000) / UNIT))
        frame = self._from_rgb(image, "yuv420p", _TAGS)
        if self._video.codec_context.pix_fmt != "yuv420p":
            frame = frame.reformat(format=self._video.codec_context.pix_fmt)
        frame.pts, frame.time_base = pts, UNIT
        if pts >= self._keyframe:  # by time, since slow sources would stretch an interval that is counted in pictures
            frame.pict_type = PictureType.I
            self._keyframe = pts + round(KEYFRAME_INTERVAL / UNIT)
        self._last = pts
        self._fill_audio(pts)
        self._container.mux(self._video.encode(frame))

    def finish(self) -> None:
        """Send what is left, and say goodbye."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))
        self._container.close()

    def _fill_audio(self, pts: int) -> None:
        """Bring silence up to the video: some services show no picture without a sound track."""
        if self._audio is None:
            return
        until = round(pts * UNIT * _AUDIO_RATE) + _AUDIO_BLOCK  # one block ahead, or the muxer waits for it
        while self._audio_samples < until:
            silence = np.zeros((2, _AUDIO_BLOCK), np.float32)
            block = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            block.sample_rate = _AUDIO_RATE
            block.pts, block.time_base = self._audio_samples, Fraction(1, _AUDIO_RATE)
            self._audio_samples += _AUDIO_BLOCK
            self._container.mux(self._audio.encode(block))


def main() -> None:
    """Read settings and pictures from standard input until it ends."""
    cv2.setNumThreads(1)
    side = wire.ChildSide()
    limit = 2 * float(side.settings["patience"]) + 1
    try:
        output = None
        for image, microseconds in side.pictures():
            _alarm(limit)
            if output is None:
                output = Output(side.settings, (image.shape[1], image.shape[0]))
                side.tell(wire.OPENED, output.encoder)
            output.write(image, microseconds)
            _alarm(0)
            side.tell(wire.DONE)
        _alarm(limit)
        if output is not None:
            output.finish()
    except EnvironmentProblem as error:
        side.tell(wire.IMPOSSIBLE, str(error))
    except av.error.ProtocolNotFoundError:
        scheme = side.settings["target"].partition(":")[0]
        cure = "use a PyAV built with it, or send to a local RTMP server that passes it on"
        side.tell(wire.IMPOSSIBLE, f"the FFmpeg inside this PyAV speaks no {scheme.upper()}; {cure}")
    except ssl.SSLCertVerificationError as error:
        side.tell(wire.FAILED, f"the server's certificate is not valid: {error.verify_message}")
    except (av.FFmpegError, OSError, ValueError) as error:
        side.tell(wire.FAILED, reason(error))
    # Closing a broken connection in the destructors may hang: nothing is left to save.
    os._exit(0)


def _alarm(seconds: float) -> None:
    """Have the kernel end this process later, unless called again; 0 calls it off. FFmpeg may hold Python's lock."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _check_certificate(target: str, seconds: float) -> None:
    """Refuse a server that cannot prove its name, before it gets the key. Raises OSError.

    FFmpeg takes any certificate for RTMPS, and PyAV can hand it no option to change that. So a connection is made
    and closed for this alone. It stops a wrong server and whoever stands in its place, but not an attacker on the
    line who lets the first connection pass. Certificates of one's own: environment variable SSL_CERT_FILE.
    """
    parts = urlsplit(target)
    host = parts.hostname or ""
    with socket.create_connection((host, parts.port or 443), seconds) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()


def _bound_send_buffers(size: int) -> None:
    """Keep the kernel from taking many seconds of video for a server that does not read any more.

    FFmpeg's own option for this does not reach the socket of an RTMP output.
    """
    folder = Path("/dev/fd")
    for link in list(folder.iterdir()) if folder.is_dir() else ():
        try:
            descriptor = int(link.name)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        except OSError:
            continue  # the descriptor of the listing itself


if __name__ == "__main__":
    main()
