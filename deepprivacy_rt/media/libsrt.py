"""libsrt, the library of the protocol's makers, through its C interface, which 1.4 and 1.5 share.

https://github.com/Haivision/srt/blob/master/docs/API/API-functions.md
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import struct
import sys
from typing import Any

from deepprivacy_rt.media.srt_address import SrtAddress

CURE = "install libsrt (Debian, Ubuntu: apt install srt-tools; macOS: brew install srt)"

_NAMES = {
    "linux": tuple(f"libsrt{kind}.so.{version}" for version in ("1.5", "1.4") for kind in ("-gnutls", "-openssl", "")),
    "darwin": ("/opt/homebrew/lib/libsrt.dylib", "/usr/local/lib/libsrt.dylib"),
}

# Of enum SRT_SOCKOPT.
RCVSYN, SNDTIMEO, RCVTIMEO, SENDER, LATENCY, PASSPHRASE, PBKEYLEN = 2, 13, 14, 21, 23, 26, 27
CONNTIMEO, PEERLATENCY, STREAMID, ENFORCEDENCRYPTION, IPV6ONLY = 36, 44, 46, 53, 54
# Of enum SRT_SOCKSTATUS; from BROKEN on, nothing becomes a connection any more.
CONNECTED, BROKEN = 5, 6
# Of enum SRT_ERRNO.
EASYNCSND, EASYNCRCV, ETIMEOUT = 6001, 6002, 6003
# Of enum SRT_REJECT_REASON.
REJ_BADSECRET, REJ_UNSECURE, REJ_TIMEOUT = 10, 11, 16
LOG_CRITICAL = 2


class SrtMissing(Exception):
    """This machine has no libsrt; the text ends with the cure."""


class SrtError(OSError):
    """A connection failed; the text says why, on one line, without secrets."""


def load() -> Any:
    """Return the library with the types of its results. Raises SrtMissing."""
    names = _NAMES.get(sys.platform, ())
    found = ctypes.util.find_library("srt") if sys.platform == "win32" else None
    for name in (*names, *([found] if found else [])):
        try:
            lib = ctypes.CDLL(name)
        except OSError:
            continue
        lib.srt_getversion.restype = ctypes.c_uint32
        lib.srt_getlasterror_str.restype = ctypes.c_char_p
        lib.srt_rejectreason_str.restype = ctypes.c_char_p
        return lib
    raise SrtMissing(f"SRT needs a library that is missing; {CURE}")


def set_option(lib: Any, handle: int, option: int, value: int | str) -> None:
    """Set an option of a socket. Raises SrtError: no option is done without."""
    data = struct.pack("=i", value) if isinstance(value, int) else value.encode()
    if lib.srt_setsockflag(handle, option, data, len(data)) < 0:
        raise SrtError(f"this libsrt refuses an option (number {option}): {words(lib)}")


def get_option(lib: Any, handle: int, option: int) -> int:
    """Return a whole number; 0 where the library does not know it."""
    value, length = ctypes.c_int(), ctypes.c_int(ctypes.sizeof(ctypes.c_int))
    lib.srt_getsockflag(handle, option, ctypes.byref(value), ctypes.byref(length))
    return value.value


def words(lib: Any) -> str:
    """Return what the library says about the last error of this thread, on one line."""
    return " ".join(lib.srt_getlasterror_str().decode("utf-8", "replace").split())


def resolve(address: SrtAddress, *, passive: bool) -> tuple[bytes, int]:
    """Return the C structure of an address, and the version of IP. Raises socket.gaierror."""
    flags = socket.AI_PASSIVE if passive else 0
    host = address.host or "0.0.0.0"
    family, _, _, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_DGRAM, flags=flags)[0]
    packed = socket.inet_pton(family, str(place[0]).partition("%")[0])
    port = struct.pack("!H", address.port)
    if family == socket.AF_INET6:
        scope = struct.pack("=I", place[3] if len(place) > 3 else 0)
        rest = port + bytes(4) + packed + scope
    else:
        rest = port + packed + bytes(8)
    # BSD's structures begin with their own length.
    first = bytes((2 + len(rest), family)) if sys.platform == "darwin" else struct.pack("=H", family)
    return first + rest, family
