"""Where the encoder's process sends MPEG-TS by SRT: to a server, or to whoever calls here."""

from __future__ import annotations

from typing import Any

from deepprivacy_rt.media.libsrt import SrtError
from deepprivacy_rt.media.srt import SrtConnection, SrtPort
from deepprivacy_rt.media.srt_address import SrtAddress

_CALL_S = 3.0


class SrtOutput:
    """A file that PyAV writes to. One viewer at a time: while one is there, nobody else is let in.

    The port is listened on by this process alone, so a viewer that comes while a new one starts has to call again, as
    all of them do for some seconds.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        """Raises SrtMissing, SrtError. :param settings: the fields of :class:`SrtAddress`."""
        self._address = SrtAddress(**settings)
        self._port: SrtPort | None = SrtPort(self._address, sending=True)
        self._connection: SrtConnection | None = None

    def ready(self) -> bool:
        """Return whether somebody is there to send to; makes the connection. Raises SrtError.

        A server is called for up to three seconds; for a caller nothing waits.
        """
        if self._connection is None and self._port is not None:
            if self._address.listener:
                self._connection = self._port.accept()
            else:
                self._connection = self._port.connect(_CALL_S, lambda: False)
            if self._connection is not None:
                self._port.close()
                self._port = None
        return self._connection is not None

    def write(self, data: bytes) -> int:
        """Send; blocks for three seconds at most. Raises SrtError."""
        if self._connection is None:
            raise SrtError("nobody is connected")
        self._connection.send(data)
        return len(data)

    def finish(self) -> None:
        """Give the other side time to take the end, and say goodbye."""
        if self._connection is not None:
            self._connection.flush()
            self._connection.close()
            self._connection = None
