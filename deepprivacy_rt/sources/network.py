"""Frames, and sound, of a network camera or stream: RTSP over TCP or UDP, RTMP, HTTP; what :mod:`.srt` builds on."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Generator, Iterator
from typing import Literal

import av

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.colour import ToRgb, tags_of
from deepprivacy_rt.media.container import main_video_stream, reason
from deepprivacy_rt.media.redaction import PASSWORD_VARIABLE, USER_VARIABLE, Address
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.sources.lateness import TOLERANCE_S, Lateness
from deepprivacy_rt.sources.live import ConnectionLost, HopelessError, LiveSource, Picture, SourceState
from deepprivacy_rt.sources.stream_sound import StreamSound

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "http", "https")

_OPEN_TIMEOUT_S = 4.0
_STALL_S = 1.5
"""Opening has two steps that may take as long each, and PyAV's reads end after up to twice their limit (measured)."""
_FIRST_PICTURE_S = 12.0
"""A camera sends whole pictures rarely, every ten seconds at worst, and nothing can be decoded before the first."""
_MOST_TOLERANCE_S = 10.0

# Where the streams of one address may lead. Nothing that an answer names is opened: no file, no other server.
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,tls,udp,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "srt": "srt,udp",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
}
_DEMUXERS = "rtsp,flv,live_flv,mpegts,mpjpeg,mjpeg,matroska,mov,ogg,asf,h264,hevc"


class NetworkSource(LiveSource):
    """Reads a stream until it is closed; connects again when the server dies, hangs, or changes its picture.

    User and password come from the address, or from the environment variables DEEPPRIVACY_SOURCE_USER and
    DEEPPRIVACY_SOURCE_PASSWORD, which keep them out of the process list. Damaged packets are skipped. Pictures that
    the network held back are decoded, and not shown.

    :ivar damaged: how many packets could not be decoded.
    :ivar late: how many pictures were not shown because they were old.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: Literal["tcp", "udp"] = "tcp",
        stall_s: float = _STALL_S,
        open_timeout_s: float = _OPEN_TIMEOUT_S,
        on_state: Callable[[SourceState], None] | None = None,
        on_sound: Callable[[Sound], None] | None = None,
        max_retries: int | None = None,
    ) -> None:
        """
        :param transport: how RTSP carries the picture; UDP loses packets where TCP waits for them.
        :param stall_s: seconds without a picture after which the connection counts as lost; takes up to twice as long.
        :param open_timeout_s: the same for connecting.

        Raises UsageError where the address is none, or of a kind that is not read.
        """
        try:
            self._address = Address(url)
        except ValueError as error:
            raise UsageError(f"the stream's address {error}") from None
        if self._address.scheme not in SCHEMES or not (self._address.host or self._address.scheme == "srt"):
            raise UsageError(f"{self._address}: name a host, and one of {', '.join(SCHEMES)}")
        super().__init__(self._address.shown, on_state=on_state, on_sound=on_sound, max_retries=max_retries)
        self._transport = transport
        self._stall_s, self._open_timeout_s = stall_s, open_timeout_s
        self._tolerance_s = TOLERANCE_S
        self.damaged = 0
        self.late = 0

    def _pictures(self) -> Generator[Picture, None, None]:
        container = self._open()
        try:
            stream = main_video_stream(container)
            if stream is None:
                raise HopelessError("sends no video")
            if container.duration and self._address.scheme.startswith("http"):
                raise HopelessError("is a recording, not a live stream; download it and anonymize the file")
            # Frame threads would hold back as many pictures as there are threads.
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = 2
            yield from self._decoded(container, stream)
        finally:
            container.close()

    def _open(self) -> av.container.InputContainer:
        check_host(self._address)
        problem: OSError | ValueError
        start = time.monotonic()
        try:
            return av.open(
                self._target(),
                "r",
                options=self._options(),
                timeout=(self._open_timeout_s, self._stall_s),
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            problem = error
        # Raised out here: the error of the library carries the address with its password, and would be its context.
        if time.monotonic() - start >= self._open_timeout_s:  # FFmpeg calls this invalid data
            raise ConnectionLost("the server does not answer")
        raise self._explained(problem)

    def _target(self) -> str:
        """Return what FFmpeg opens; secret."""
        return self._address.with_credentials()

    def _options(self) -> dict[str, str]:
        options = {
            "protocol_whitelist": _PROTOCOLS[self._address.scheme],
            "format_whitelist": _DEMUXERS,
            "fflags": "nobuffer",  # without it the first picture is a second old
            "fpsprobesize": "0",
            "analyzeduration": "500000",  # microseconds
        }
        if self._address.scheme.startswith("rtsp"):
            media = "video" if self._on_sound is None else "video+audio"
            options |= {"rtsp_transport": self._transport, "allowed_media_types": media}
        elif self._address.scheme.startswith("rtmp"):
            options["rtmp_live"] = "live"
        return options

    def _explained(self, error: OSError | ValueError) -> Exception:
        """Return why opening failed, and whether another try may cure it."""
        if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
            return HopelessError(
                f"user or password is wrong or missing; set {USER_VARIABLE} and {PASSWORD_VARIABLE},"
                " or write rtsp://USER:PASSWORD@HOST/…"
            )
        if isinstance(error, av.error.ProtocolNotFoundError):
            return HopelessError(f"this build of PyAV cannot read {self._address.scheme}; send the stream as RTSP")
        if getattr(error, "errno", None) == errno.EPROTONOSUPPORT and self._address.scheme.startswith("rtsp"):
            return HopelessError(
                f"the camera does not offer RTSP over {self._transport.upper()}; use the other of TCP, UDP"
            )
        why = self._address.redact(reason(error))
        if isinstance(error, av.error.InvalidDataError | ValueError) and self._address.scheme.startswith("http"):
            return HopelessError(f"is no live video in a known format ({why})")
        return ConnectionLost(why)

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Picture]:
        to_rgb, lateness, sound = ToRgb(), Lateness(self._tolerance_s), self._sound(container)
        deadline = time.monotonic() + _FIRST_PICTURE_S
        for packet, arrival_ns in self._packets(container):
            if sound is not None and packet.stream_index == sound.index:
                for samples, time_s in sound.decode(packet, arrival_ns / 1e9):
                    self._hear(samples, time_s)
            if packet.stream_index == stream.index:
                for frame in self._frames(packet):
                    deadline = time.monotonic() + 2 * self._stall_s
                    stream_time = None if frame.pts is None else frame.pts * frame.time_base
                    if lateness.is_late(arrival_ns, stream_time):
                        self.late += 1
                        continue
                    if sound is not None and stream_time is not None:
                        sound.pictures.note(arrival_ns / 1e9, float(stream_time))
                    yield Picture(to_rgb(frame, tags_of(frame, stream)), arrival_ns)
            if lateness.hopeless:
                # Where it happens again and again, the camera's clock is wrong: more and more is put up with.
                self._tolerance_s = min(2 * self._tolerance_s, _MOST_TOLERANCE_S)
                raise ConnectionLost("the pictures come too late")
            if time.monotonic() > deadline:
                raise ConnectionLost("data comes, but no picture")

    def _sound(self, container: av.container.InputContainer) -> StreamSound | None:
        """Return what decodes the sound, where it is asked for and there is some."""
        stream = container.streams.best("audio") if self._on_sound is not None else None
        self._has_sound = isinstance(stream, av.AudioStream)
        return StreamSound(stream.index) if stream is not None else None

    def _packets(self, container: av.container.InputContainer) -> Iterator[tuple[av.Packet, int]]:
        """Yield packets of all streams, so that a dead picture beside live sound is noticed, and their arrival."""
        problem: BaseException | None = None
        try:
            for packet in container.demux():
                arrival_ns = time.monotonic_ns()
                if self.closing:
                    return
                if packet.size:
                    yield packet, arrival_ns
        except (av.FFmpegError, OSError) as error:
            problem = error
        if self.closing:
            return
        if problem is None:
            raise ConnectionLost("the stream has ended")
        hung = isinstance(problem, av.error.ExitError)
        raise ConnectionLost("the server went silent" if hung else self._address.redact(reason(problem)))

    def _frames(self, packet: av.Packet) -> list[av.VideoFrame]:
        try:
            return list(packet.decode())
        except av.FFmpegError:
            self.damaged += 1
            return []


def check_host(address: Address) -> None:
    """Raise HopelessError where the name of the host is unknown: FFmpeg would call it an input/output error."""
    try:
        socket.getaddrinfo(address.host or None, address.port)
    except socket.gaierror as error:
        if getattr(error, "errno", None) == socket.EAI_AGAIN:  # the network may not be up yet
            raise ConnectionLost(f"the name of the host cannot be looked up: {error.strerror}") from None
        raise HopelessError("the name of the host is unknown; check its spelling") from None
    except (OSError, UnicodeError):
        raise ConnectionLost("the name of the host cannot be looked up") from None
