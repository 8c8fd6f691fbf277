"""Addresses of SRT: ``srt://HOST:PORT?mode=listener&passphrase=…&latency=200``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.redaction import Address

_KNOWN = ("mode", "passphrase", "latency", "streamid", "pbkeylen")
_LATENCY_MS = 120
_MOST_LATENCY_MS = 8000
"""Frames that old are of no use; it also catches the microseconds that FFmpeg and OBS write."""
_LONGEST_STREAM_ID = 512  # bytes, by the protocol


@dataclass(frozen=True, slots=True)
class SrtAddress:
    """Where to connect to, or to wait for a connection, by SRT.

    :ivar host: name or number; empty, for a listener only: all addresses of this machine.
    :ivar listener: wait for the other side to connect; else connect to it.
    :ivar passphrase: 10 to 79 bytes, the same on both sides; empty: not encrypted.
    :ivar latency_ms: how long lost packets are asked for again before they are given up; the larger one of both sides.
    :ivar streamid: tells the other side which stream is meant.
    :ivar key_bytes: length of the key: 16, 24, 32; 0: the other side decides, or 16.
    """

    host: str
    port: int
    listener: bool = False
    passphrase: str = field(default="", repr=False)
    latency_ms: int = _LATENCY_MS
    streamid: str = field(default="", repr=False)
    key_bytes: int = 0

    def for_ffmpeg(self, *, listen_s: float = 5.0) -> str:
        """Return the address as FFmpeg reads it: microseconds, and nothing escaped. Secret.

        :param listen_s: how long a listener waits.
        :raises UsageError: a passphrase that FFmpeg's addresses cannot carry.
        """
        if set("&+") & set(self.passphrase):
            raise UsageError("srt: FFmpeg takes no passphrase with & or +; choose another, or install libsrt")
        host = f"[{self.host}]" if ":" in self.host else self.host or "0.0.0.0"
        options = {"mode": "listener" if self.listener else "caller", "latency": str(self.latency_ms * 1000)}
        options |= {"listen_timeout": str(round(listen_s * 1e6))} if self.listener else {}
        options |= {"passphrase": self.passphrase} if self.passphrase else {}
        options |= {"pbkeylen": str(self.key_bytes)} if self.key_bytes else {}
        options |= {"streamid": quote(self.streamid, safe="")} if self.streamid else {}
        return f"srt://{host}:{self.port}?" + "&".join(f"{name}={value}" for name, value in options.items())


def parse_srt(url: str, environment: Mapping[str, str], variable: str) -> SrtAddress:
    """Read an address; ``%`` escapes what has a meaning in addresses.

    :param variable: of the environment; holds the passphrase where the address names none.
    :raises UsageError: it cannot be; its text shows nothing that may be secret.
    """
    try:
        address = Address(url)
    except ValueError as error:
        raise UsageError(f"srt://…: the address {error}") from None
    if "@" in url.partition("?")[0]:
        raise UsageError("srt://…: SRT has no user and password; write ?passphrase=… and ?streamid=…")
    if address.port is None:
        raise UsageError(f"{address}: names no port; write srt://HOST:PORT")
    values = _options(address, url.partition("?")[2])
    listener = _choice(address, values, "mode", ("caller", "listener")) == "listener"
    if not address.host and not listener:
        raise UsageError(f"{address}: names no host; write srt://HOST:PORT, or srt://:PORT?mode=listener")
    key_bytes = _choice(address, values, "pbkeylen", ("0", "16", "24", "32"))
    passphrase = values.get("passphrase", "") or environment.get(variable, "")
    if passphrase and not 10 <= len(passphrase.encode()) <= 79:
        raise UsageError(
            f"{address}: SRT's passphrase has 10 to 79 characters; this one of {len(passphrase)} is refused"
        )
    if not passphrase and "passphrase" in values:
        raise UsageError(f"{address}: the passphrase is empty; write one, set {variable}, or leave the option out")
    if len(values.get("streamid", "").encode()) > _LONGEST_STREAM_ID:
        raise UsageError(f"{address}: SRT's stream id has {_LONGEST_STREAM_ID} bytes at most")
    latency = _latency(address, values.get("latency", str(_LATENCY_MS)))
    streamid = values.get("streamid", "")
    return SrtAddress(address.host, address.port, listener, passphrase, latency, streamid, int(key_bytes or 0))


def _options(address: Address, query: str) -> dict[str, str]:
    """Split ``a=b&c=d``. An unknown name is not shown: it may be the rest of a passphrase that has a ``&``."""
    values: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in _KNOWN:
            known = ", ".join(_KNOWN)
            raise UsageError(f"{address}: an option is not known; there are {known}; write & as %26 inside of a value")
        if name in values:
            raise UsageError(f"{address}: the option {name} is given twice")
        values[name] = unquote(value)
    return values


def _choice(address: Address, values: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = values.get(name, "")
    if value and value not in allowed:
        raise UsageError(f"{address}: {name} is one of {', '.join(allowed)}")
    return value


def _latency(address: Address, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= _MOST_LATENCY_MS):
        limit = f"0 to {_MOST_LATENCY_MS}"
        raise UsageError(f"{address}: latency is in milliseconds, {limit} (FFmpeg and OBS write microseconds)")
    return int(text)
