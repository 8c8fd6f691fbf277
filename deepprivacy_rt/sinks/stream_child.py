"""The process behind a stream or a live recording: encodes pictures and sound and sends them. Started by :mod:`.child`.

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
from av.video.frame import PictureType

from deepprivacy_rt.errors import EnvironmentProblem, UsageError
from deepprivacy_rt.media.colour import LIMITED_RANGE, MATRIX_BT709, ColourTags, FromRgb
from deepprivacy_rt.media.container import reason
from deepprivacy_rt.media.libsrt import SrtMissing
from deepprivacy_rt.media.srt import pyav_speaks_srt
from deepprivacy_rt.media.srt_address import SrtAddress
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.sinks.live_encoding import KEYFRAME_INTERVAL, UNIT, add_video, bitrate_for
from deepprivacy_rt.sinks.sound_track import SoundTrack
from deepprivacy_rt.sinks.srt_output import SrtOutput

_TAGS = ColourTags(LIMITED_RANGE, MATRIX_BT709, MATRIX_BT709, MATRIX_BT709)
_SENT_AHEAD = 0.5  # seconds of video that may wait in the kernel, so that a stalled server is noticed
_SMALLEST_BUFFER = 1 << 16


class Output:
    """One encoded output, open from its first picture on.

    Settings: ``target`` (address, or file that exists), ``is_file``, ``muxer``, ``options``, ``rate``, ``bitrate``,
    ``encoder``, ``sound`` (whether there is a track); ``folder``, if given, becomes the current one.
    """

    def __init__(self, settings: dict[str, Any], size: tuple[int, int], srt: SrtOutput | None = None) -> None:
        """Connect; raises FFmpegError, OSError, EnvironmentProblem; blocks as long as the other side likes.

        :param srt: is connected, and takes what is sent.
        """
        rate = Fraction(settings["rate"])
        bitrate = settings["bitrate"] or bitrate_for(size, rate)
        target = settings["target"]
        if "folder" in settings:
            os.chdir(settings["folder"])
        self._srt = srt
        if srt is not None:
            target = srt
        elif settings["is_file"]:
            target = Path(target).open("r+b", buffering=0)  # noqa: SIM115 - lives as long as the output
        elif target.startswith("rtmps:"):
            _check_certificate(target, settings["patience"])
        self._container = av.open(target, "w", format=settings["muxer"], container_options=settings["options"])
        self._video = add_video(self._container, settings["encoder"], size, rate, bitrate)
        self._sound = SoundTrack(self._container) if settings["sound"] else None
        self._container.start_encoding()
        _bound_send_buffers(max(_SMALLEST_BUFFER, round(bitrate / 8 * _SENT_AHEAD)))
        self._from_rgb = FromRgb()
        self._first = 0
        self._last = -1
        self._keyframe = 0

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder that was chosen."""
        return str(self._video.codec_context.codec.name)

    def write(self, picture: wire.PictureItem) -> None:
        """Encode and send a picture."""
        if self._last < 0:
            self._first = picture.microseconds
        pts = max(self._last + 1, round(self._since_first(picture) / UNIT))
        frame = self._from_rgb(picture.image, "yuv420p", _TAGS)
        if self._video.codec_context.pix_fmt != "yuv420p":
            frame = frame.reformat(format=self._video.codec_context.pix_fmt)
        frame.pts, frame.time_base = pts, UNIT
        if pts >= self._keyframe:  # by time, since slow sources would stretch an interval that is counted in pictures
            frame.pict_type = PictureType.I
            self._keyframe = pts + round(KEYFRAME_INTERVAL / UNIT)
        self._last = pts
        if picture.silent and self._sound is not None:
            self._sound.silence_until(pts * UNIT)
        self._container.mux(self._video.encode(frame))

    def play(self, sound: wire.SoundItem) -> None:
        """Encode and send sound."""
        if self._sound is not None:
            self._sound.play(sound.samples, self._since_first(sound))

    def _since_first(self, item: wire.Item) -> Fraction:
        return Fraction(item.microseconds - self._first, 1_000_000)

    def finish(self) -> None:
        """Send what is left, and say goodbye."""
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.finish()
        self._container.close()
        if self._srt is not None:
            self._srt.finish()


def main() -> None:
    """Read settings and pictures from standard input until it ends."""
    cv2.setNumThreads(1)
    side = wire.ChildSide()
    try:
        _send(side, 2 * float(side.settings["patience"]) + 1)
    except (EnvironmentProblem, UsageError, SrtMissing) as error:
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


def _send(side: wire.ChildSide, limit: float) -> None:
    """Encode and send what comes. :param limit: seconds that one item, and the end, may take before the alarm."""
    output = None
    srt = _srt(side.settings)
    for item in side.items():
        _alarm(limit)
        if isinstance(item, wire.SoundItem):
            if output is not None:  # what comes before the first picture has lost its own
                output.play(item)
            _alarm(0)
            continue
        if output is None and (srt is None or srt.ready()):
            output = Output(side.settings, (item.image.shape[1], item.image.shape[0]), srt)
            side.tell(wire.OPENED, output.encoder)
        if output is not None:  # else nobody is there to send to
            output.write(item)
        _alarm(0)
        side.tell(wire.DONE)
    _alarm(limit)
    if output is not None:
        output.finish()


def _srt(settings: dict[str, Any]) -> SrtOutput | None:
    """Return the output by SRT, where that is meant. Without libsrt, FFmpeg gets the address, if it speaks SRT.

    Raises SrtMissing, SrtError, UsageError.
    """
    if "srt" not in settings:
        return None
    try:
        return SrtOutput(settings["srt"])
    except SrtMissing:
        if not pyav_speaks_srt():
            raise
    settings["target"] = SrtAddress(**settings["srt"]).for_ffmpeg(listen_s=settings["patience"])
    return None


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
