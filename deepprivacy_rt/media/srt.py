"""SRT connections by :mod:`.libsrt`; PyAV's wheels are built without it.

Every call here is bounded in time, by ``stopped`` or by a limit. The library is loaded when a connection is made and
its threads end with the last one.
"""

from __future__ import annotations

import ctypes
import socket
import time
from collections.abc import Callable
from typing import Any

import av

from deepprivacy_rt.media import libsrt
from deepprivacy_rt.media.libsrt import SrtError
from deepprivacy_rt.media.srt_address import SrtAddress

_PACKET = 1316  # bytes: seven packets of MPEG-TS, what all receivers expect
_LARGEST_PACKET = 1456
_POLL_S = 0.01
_RECEIVE_LIMIT_MS, _SEND_LIMIT_MS = 100, 3000
_LINGER_S = 0.7


class SrtRefused(SrtError):
    """The other side has another passphrase, or only one side has any."""


class SrtTimeout(SrtError):
    """Nothing happened within the limit."""


def srt_version() -> str:
    """Return libsrt's version, such as ``1.5.1``. Raises SrtMissing."""
    number = libsrt.load().srt_getversion()
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}"


def pyav_speaks_srt() -> bool:
    """Tell whether the FFmpeg inside this PyAV was built with SRT. Connects to nobody."""
    try:
        av.open("srt://host-without-a-port").close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):
        pass
    return True


class SrtConnection:
    """One connection, made by :class:`SrtPort`. Used by one thread at a time."""

    def __init__(self, lib: Any, handle: int) -> None:
        """Takes over the handle."""
        self._lib, self._handle = lib, handle
        self._buffer = ctypes.create_string_buffer(_LARGEST_PACKET)
        libsrt.set_option(lib, handle, libsrt.RCVSYN, 1)
        libsrt.set_option(lib, handle, libsrt.RCVTIMEO, _RECEIVE_LIMIT_MS)
        libsrt.set_option(lib, handle, libsrt.SNDTIMEO, _SEND_LIMIT_MS)

    def receive(self, limit_s: float, stopped: Callable[[], bool]) -> bytes:
        """Return the next packet, b"" once ``stopped``. Raises SrtError, SrtTimeout after ``limit_s`` of silence."""
        deadline = time.monotonic() + limit_s
        while not stopped():
            count = self._lib.srt_recv(self._handle, self._buffer, _LARGEST_PACKET)
            if count > 0:
                return self._buffer.raw[:count]
            if count == 0 or self._lib.srt_getlasterror(None) not in (libsrt.EASYNCRCV, libsrt.ETIMEOUT):
                raise SrtError("the other side has ended the connection, or is gone")
            if time.monotonic() > deadline:
                raise SrtTimeout("the other side went silent")
        return b""

    def send(self, data: bytes | memoryview) -> None:
        """Send MPEG-TS. Raises SrtError, SrtTimeout."""
        for begin in range(0, len(data), _PACKET):
            packet = bytes(data[begin : begin + _PACKET])
            if self._lib.srt_send(self._handle, packet, len(packet)) < 0:
                if self._lib.srt_getlasterror(None) in (libsrt.EASYNCSND, libsrt.ETIMEOUT):
                    raise SrtTimeout("the other side takes nothing any more")
                raise SrtError("the other side has ended the connection, or is gone")

    def waiting(self) -> int:
        """Return how many bytes were sent that the other side has not confirmed."""
        count = ctypes.c_size_t()
        return count.value if self._lib.srt_getsndbuffer(self._handle, None, ctypes.byref(count)) >= 0 else 0

    def flush(self) -> None:
        """Give the other side the time to take what was sent: closing throws the rest away. At most 0.7 s."""
        until = time.monotonic() + _LINGER_S
        while self.waiting() and time.monotonic() < until:
            time.sleep(_POLL_S)
        latency_s = libsrt.get_option(self._lib, self._handle, libsrt.PEERLATENCY) / 1000
        time.sleep(max(0.0, min(latency_s, until - time.monotonic())))

    def close(self) -> None:
        """End the connection and tell the other side. To be called once."""
        self._lib.srt_close(self._handle)
        self._lib.srt_cleanup()


class SrtPort:
    """What connections are made with: the address to call, or a port on which others call. Use as a context manager."""

    def __init__(self, address: SrtAddress, *, sending: bool) -> None:
        """Raises SrtMissing; SrtError where a port cannot be listened on."""
        self._address, self._sending = address, sending
        self._lib = libsrt.load()
        self._lib.srt_startup()
        self._lib.srt_setloglevel(libsrt.LOG_CRITICAL)
        self._listener: int | None = None
        try:
            if address.listener:
                self._listener = self._listen()
        except BaseException:
            self._lib.srt_cleanup()
            raise

    def __enter__(self) -> SrtPort:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no longer; connections stay. To be called once."""
        if self._listener is not None:
            self._lib.srt_close(self._listener)
        self._lib.srt_cleanup()

    def connect(self, limit_s: float | None, stopped: Callable[[], bool]) -> SrtConnection | None:
        """Call, or wait for a call; None once ``stopped``.

        :param limit_s: for a listener None waits for ever.
        :raises SrtError: SrtRefused, SrtTimeout, and where there is no such host or no connection.
        """
        if self._listener is None:
            return self._call(3.0 if limit_s is None else limit_s, stopped)
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while not stopped():
            connection = self.accept()
            if connection is not None:
                return connection
            if deadline is not None and time.monotonic() > deadline:
                raise SrtTimeout("nobody has connected")
            time.sleep(_POLL_S)
        return None

    def accept(self) -> SrtConnection | None:
        """Return the connection of whoever has called, or None, at once. For listeners. Raises SrtError."""
        handle = self._lib.srt_accept(self._listener, None, None)
        if handle < 0:
            if self._lib.srt_getlasterror(None) != libsrt.EASYNCRCV:
                raise SrtError(f"the port cannot be listened on: {libsrt.words(self._lib)}")
            return None
        return self._connection(handle)

    def _connection(self, handle: int) -> SrtConnection:
        self._lib.srt_startup()  # counted: the library ends with the last that uses it
        try:
            return SrtConnection(self._lib, handle)
        except BaseException:
            self._lib.srt_close(handle)
            self._lib.srt_cleanup()
            raise

    def _listen(self) -> int:
        place, version = libsrt.resolve(self._address, passive=True)
        lib, handle = self._lib, self._socket(version)
        try:
            libsrt.set_option(lib, handle, libsrt.RCVSYN, 0)
            if lib.srt_bind(handle, place, len(place)) < 0 or lib.srt_listen(handle, 1) < 0:
                why = f"port {self._address.port} cannot be listened on: {libsrt.words(lib)}"
                raise SrtError(f"{why}; choose another port, or end the program that has it")
        except BaseException:
            lib.srt_close(handle)
            raise
        return handle

    def _call(self, limit_s: float, stopped: Callable[[], bool]) -> SrtConnection | None:
        place, version = libsrt.resolve(self._address, passive=False)
        handle = self._socket(version)
        try:
            libsrt.set_option(self._lib, handle, libsrt.RCVSYN, 0)
            libsrt.set_option(self._lib, handle, libsrt.CONNTIMEO, round(limit_s * 1000))
            if self._lib.srt_connect(handle, place, len(place)) < 0:
                raise self._rejected(handle)
            deadline = time.monotonic() + limit_s + 1
            while (state := self._lib.srt_getsockstate(handle)) != libsrt.CONNECTED:
                if state >= libsrt.BROKEN:
                    raise self._rejected(handle)
                if stopped() or time.monotonic() > deadline:
                    raise SrtTimeout("the server does not answer")
                time.sleep(_POLL_S)
        except BaseException:
            self._lib.srt_close(handle)
            if stopped():
                return None
            raise
        return self._connection(handle)

    def _rejected(self, handle: int) -> SrtError:
        reason = self._lib.srt_getrejectreason(handle)
        if reason == libsrt.REJ_BADSECRET:
            return SrtRefused("the passphrase is wrong")
        if reason == libsrt.REJ_UNSECURE:
            has = "needs a passphrase" if not self._address.passphrase else "has no passphrase, or another one"
            return SrtRefused(f"the server {has}")
        if reason == libsrt.REJ_TIMEOUT:
            return SrtTimeout("the server does not answer")
        return SrtError(f"the server refuses the connection: {self._lib.srt_rejectreason_str(reason).decode()}")

    def _socket(self, version: int) -> int:
        """Make a socket with all options. Raises SrtError where the library does not take one."""
        address, lib = self._address, self._lib
        handle: int = lib.srt_create_socket()
        try:
            if version == socket.AF_INET6:
                libsrt.set_option(lib, handle, libsrt.IPV6ONLY, 0)
            libsrt.set_option(lib, handle, libsrt.SENDER, int(self._sending))
            libsrt.set_option(lib, handle, libsrt.LATENCY, address.latency_ms)
            libsrt.set_option(lib, handle, libsrt.ENFORCEDENCRYPTION, 1)
            if address.passphrase:
                libsrt.set_option(lib, handle, libsrt.PASSPHRASE, address.passphrase)
            if address.key_bytes:
                libsrt.set_option(lib, handle, libsrt.PBKEYLEN, address.key_bytes)
            if address.streamid and not address.listener:
                libsrt.set_option(lib, handle, libsrt.STREAMID, address.streamid)
        except BaseException:
            lib.srt_close(handle)
            raise
        return handle
