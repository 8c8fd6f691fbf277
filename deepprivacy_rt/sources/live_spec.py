"""What ``--source`` means: a camera, the screen, a stream, or a file played in real time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.container import shown
from deepprivacy_rt.media.redaction import PASSWORD_VARIABLE, Address
from deepprivacy_rt.media.srt_address import parse_srt
from deepprivacy_rt.sources.network import SCHEMES
from deepprivacy_rt.sources.screen import parse_region

_FORMS = "a camera (0, /dev/video0, name:PART), screen:, an address (rtsp://…), or a file"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """A source that was asked for; nothing is opened yet.

    :ivar kind: "webcam", "screen", "network" or "file".
    :ivar target: device number, device path or name; the part of the screen; the address with its password; or the
        path. Not in ``repr``.
    :ivar shown: the same for people, without passwords.
    """

    kind: Literal["webcam", "screen", "network", "file"]
    target: int | str | Path = field(repr=False)
    shown: str


def parse_live_source(text: str) -> LiveSpec:
    """Tell what kind of source a text names.

    "0" is a camera's number, "/dev/…" its path, "name:Logi" a part of its name; "screen:" the screen; "rtsp://", "rtmp://",
    "srt://", "http://" and their encrypted forms are addresses; the rest is a file, which must exist. Raises
    UsageError, whose text shows no password.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        return _address(text, scheme[0].lower())
    if re.fullmatch(r"[0-9]{1,4}", text):
        return LiveSpec("webcam", int(text), f"camera {int(text)}")
    if text.startswith("/dev/"):
        return LiveSpec("webcam", text, f"camera {shown(Path(text))}")
    if text.startswith("screen:"):
        parse_region(text.removeprefix("screen:"))
        return LiveSpec("screen", text.removeprefix("screen:"), text)
    if text.startswith("name:"):
        name = text.removeprefix("name:").strip()
        if not name:
            raise UsageError("source name: is empty; write a part of the camera's name behind it")
        return LiveSpec("webcam", name, f"camera {shown(Path(name))}")
    return _file(text)


def _address(text: str, scheme: str) -> LiveSpec:
    if scheme not in SCHEMES:
        raise UsageError(f"source {scheme}://…: is of no kind that is read; use one of {', '.join(SCHEMES)}")
    try:
        address = Address(text)
    except ValueError as error:
        raise UsageError(f"source {scheme}://…: {error}") from None
    if scheme == "srt":
        parse_srt(text, os.environ, PASSWORD_VARIABLE)
    elif not address.host:
        raise UsageError(f"source {address}: names no host; write {scheme}://HOST/PATH")
    if address.path.lower().endswith((".m3u8", ".mpd")):
        raise UsageError(f"source {address}: a playlist arrives seconds late and in bursts; use the camera's RTSP")
    return LiveSpec("network", text, address.shown)


def _file(text: str) -> LiveSpec:
    path = Path(text)
    if not text or "\0" in text:
        raise UsageError(f"source: is empty; name {_FORMS}")
    scheme = re.match(rf"({'|'.join(SCHEMES)}):", text, re.IGNORECASE)
    if scheme is not None:
        raise UsageError(f"source {scheme[0]}…: an address begins with {scheme[0].lower()}//")
    if not path.exists():
        without_login = re.sub(r".*:.*@", "…@", text)  # an address whose scheme was forgotten
        raise UsageError(f"source {shown(Path(without_login))}: there is no such file; name {_FORMS}")
    if path.is_dir():
        raise UsageError(f"source {shown(path)}: is a folder; name {_FORMS}")
    return LiveSpec("file", path, shown(path))
