"""Frames, and sound, of a stream that comes by SRT: called for at a server, or sent by whoever calls here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator

import av

from deepprivacy_rt.media.container import reason
from deepprivacy_rt.media.libsrt import SrtMissing
from deepprivacy_rt.media.redaction import PASSWORD_VARIABLE
from deepprivacy_rt.media.srt import SrtConnection, SrtPort, SrtRefused, pyav_speaks_srt
from deepprivacy_rt.media.srt_address import parse_srt
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.sources.live import ConnectionLost, HopelessError, Picture, SourceState
from deepprivacy_rt.sources.network import NetworkSource, check_host


class SrtSource(NetworkSource):
    """Reads MPEG-TS from an SRT server, or as one to which a sender connects, and connects again like its base.

    Without libsrt it goes through the FFmpeg inside of PyAV where that speaks SRT. The passphrase comes from the
    address, or from the environment variable DEEPPRIVACY_SOURCE_PASSWORD.
    """

    def __init__(
        self,
        url: str,
        *,
        stall_s: float = 1.5,
        open_timeout_s: float = 4.0,
        on_state: Callable[[SourceState], None] | None = None,
        on_sound: Callable[[Sound], None] | None = None,
        max_retries: int | None = None,
    ) -> None:
        """
        :param stall_s: seconds without any data after which the connection counts as lost, or twice as many without a
            picture.
        :param open_timeout_s: for connecting, and again for the beginning of the stream.
        :param max_retries: with a number, waiting for a sender is a try of ``open_timeout_s``; else it takes for ever.

        Raises UsageError where the address is none.
        """
        self._srt = parse_srt(url, os.environ, PASSWORD_VARIABLE)
        super().__init__(
            url,
            stall_s=stall_s,
            open_timeout_s=open_timeout_s,
            on_state=on_state,
            on_sound=on_sound,
            max_retries=max_retries,
        )
        self._ts: _Reader | None = None

    def _pictures(self) -> Generator[Picture, None, None]:
        try:
            connection = self._connect()
        except SrtMissing as missing:
            if not pyav_speaks_srt():
                raise HopelessError(str(missing)) from None
            yield from super()._pictures()  # there FFmpeg connects
            return
        if connection is None:
            return
        try:
            self._ts = _Reader(connection, self._stall_s, lambda: self.closing)
            yield from super()._pictures()
        finally:
            self._ts = None
            connection.close()

    def _connect(self) -> SrtConnection | None:
        for_ever = self._srt.listener and self._max_retries is None
        if not self._srt.listener:
            check_host(self._address)
        try:
            with SrtPort(self._srt, sending=False) as port:
                return port.connect(None if for_ever else self._open_timeout_s, lambda: self.closing)
        except SrtRefused as refused:
            cure = f"write ?passphrase=… as the other side has it, or set {PASSWORD_VARIABLE}"
            raise HopelessError(f"{refused}; {cure}") from None
        except OSError as error:
            raise ConnectionLost(reason(error)) from None

    def _target(self) -> str:
        return self._srt.for_ffmpeg(listen_s=self._open_timeout_s)

    def _options(self) -> dict[str, str]:
        options = super()._options()
        del options["fflags"]  # it throws away what was read to know the stream: two seconds, to the next whole picture
        return options

    def _open(self) -> av.container.InputContainer:
        reader = self._ts
        if reader is None:
            return super()._open()
        reader.deadline = time.monotonic() + self._open_timeout_s
        try:
            container = av.open(reader, "r", format="mpegts", options=self._options(), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ConnectionLost(f"what comes is no MPEG-TS that can be read ({reason(error)})") from None
        reader.deadline = None
        return container


class _Reader:
    """The packets of a connection as a file that PyAV reads.

    :ivar deadline: reading fails after this ``time.monotonic()``, whatever comes.
    """

    def __init__(self, connection: SrtConnection, silence_s: float, stopped: Callable[[], bool]) -> None:
        self._connection, self._silence_s, self._stopped = connection, silence_s, stopped
        self._rest = b""
        self.deadline: float | None = None

    def read(self, size: int) -> bytes:
        """Return up to so many bytes, as soon as there are any; none when the source is closed."""
        if not self._rest:
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise ConnectionLost("what comes has no picture that can be read; send MPEG-TS")
            try:
                self._rest = self._connection.receive(self._silence_s, self._stopped)
            except OSError as error:
                raise ConnectionLost(reason(error)) from None
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
