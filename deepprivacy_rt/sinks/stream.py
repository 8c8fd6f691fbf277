"""Live pictures and sound to a server (RTMP, RTSP, SRT) or into an HLS folder.

The encoder and the connection live in a child process, see :mod:`.stream_child`. Addresses and keys reach it over a
pipe: they stand on no command line and in no message.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.media.container import reason, shown
from deepprivacy_rt.media.redaction import Address
from deepprivacy_rt.media.srt_address import SrtAddress, parse_srt
from deepprivacy_rt.sinks.child_sink import SRT_PASSPHRASE, STREAM_KEY
from deepprivacy_rt.sinks.live_encoding import KEYFRAME_INTERVAL, LivePicture
from deepprivacy_rt.sinks.sounding_sink import SoundingSink

TWITCH = "rtmps://ingest.global-contribute.live-video.net:443/app"
_CHILD = "deepprivacy_rt.sinks.stream_child"
_MUXERS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "srt": "mpegts"}
_OPTIONS = {
    "flv": {"flvflags": "no_duration_filesize"},  # a connection cannot be rewound to fill them in
    "rtsp": {"rtsp_transport": "tcp"},
    "mpegts": {"flush_packets": "1", "pes_payload_size": "0"},  # every packet leaves at once, of sound, too
}
_PLAYLIST = "stream.m3u8"
_SEGMENT = re.compile(r"deepprivacy-\d+\.ts(\.tmp)?")
_SEGMENTS = 6


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """A server to send to.

    :ivar url: rtmp, rtmps, rtsp or srt; user and password may stand in it. Never shown. An SRT passphrase that is not
        in it comes from the environment variable DEEPPRIVACY_SRT_PASSPHRASE.
    :ivar append_key: the stream key is read when the sink is entered and becomes the last part of the address.
    :ivar key_file: holds the key; None takes the environment variable DEEPPRIVACY_STREAM_KEY.
    """

    url: str = field(repr=False)
    append_key: bool = False
    key_file: Path | None = None
    picture: LivePicture = field(default_factory=LivePicture)

    def __post_init__(self) -> None:
        """Raises UsageError for an address that cannot be."""
        scheme = self.url.partition("://")[0].lower()
        if scheme not in _MUXERS:
            raise UsageError(f"no stream can be sent to {scheme}://; use {', '.join(f'{s}://' for s in _MUXERS)}")
        if scheme == "srt":
            parse_srt(self.url, os.environ, SRT_PASSPHRASE)
            return
        try:
            parts, address = urlsplit(self.url), Address(self.url)
        except ValueError as error:
            # The message of urlsplit may quote a part of a password.
            raise UsageError(f"{scheme}://…: the address cannot be read; write {scheme}://HOST:PORT/PATH") from error
        if "@" in parts.path or "@" in parts.fragment:  # else a half of the password would count as a host
            raise UsageError(f"{scheme}://…: write / as %2F, # as %23 and @ as %40 in user and password")
        if not address.host:
            raise UsageError(f"{scheme}://…: the address has no host; write {scheme}://HOST:PORT/PATH")


@dataclass(frozen=True, slots=True)
class HlsSettings:
    """A folder for a web server: ``stream.m3u8`` and its latest segments of two seconds.

    :ivar folder: is made where missing; files of others in it are left alone.
    """

    folder: Path
    picture: LivePicture = field(default_factory=LivePicture)


class StreamSink(SoundingSink):
    """Sends to a server. A new one of the same settings connects anew."""

    def __init__(self, settings: StreamSettings) -> None:
        """Does nothing yet but keep the settings."""
        self._settings = settings
        self._address = Address(settings.url)
        self._srt: SrtAddress | None = None
        picture = settings.picture
        super().__init__(_CHILD, self._address.shown, picture.size, picture.rate, picture.patience)

    def __enter__(self) -> StreamSink:
        """Read the key and start the child, which connects at the first frame. Raises SinkError, UsageError."""
        settings = self._settings
        scheme = settings.url.partition("://")[0].lower()
        url = settings.url
        if settings.append_key:
            url = f"{url.rstrip('/')}/{stream_key(settings.key_file)}"
        self._address = Address(url)
        self._shown = self._address.shown
        # Some services show no picture without a sound track.
        picture = replace(settings.picture, sound=settings.picture.sound or scheme in ("rtmp", "rtmps"))
        muxer = _MUXERS[scheme]
        settings_of_child = job(url, muxer, _OPTIONS[muxer], picture)
        if scheme == "srt":
            self._srt = parse_srt(url, os.environ, SRT_PASSPHRASE)
            settings_of_child |= {"srt": asdict(self._srt)}
        self._start(settings_of_child)
        return self

    def _explained(self, why: str) -> str:
        why = self._address.redact(why)
        if self._srt is not None:
            return self._explained_srt(why, self._srt)
        phase = "the connection was lost" if self.encoder else "cannot be opened"
        cure = "check address and network, and that the server runs"
        if any(word in why for word in ("Input/output", "Broken pipe", "reset", "Unauthorized", "Forbidden")):
            cure = "check address, network, and stream key or password"
        return f"{phase}: {why}; {cure}"

    def _explained_srt(self, why: str, srt: SrtAddress) -> str:
        if srt.passphrase:  # may have come from the environment
            why = why.replace(srt.passphrase, "…")
        if "passphrase" in why:
            cure = f"write ?passphrase=… as the other side has it, or set {SRT_PASSPHRASE}"
        elif srt.listener:
            cure = "waiting for the next one" if self.encoder else "choose another port"
        else:
            cure = "check address and network, and that the server runs"
        return f"{'the connection was lost' if self.encoder else 'cannot be opened'}: {why}; {cure}"

    def _cure_of_a_stall(self) -> str:
        return "so the connection was given up: server or network hang, or the uplink is too slow for the bitrate"


class HlsSink(SoundingSink):
    """Writes segments and a playlist, for any web server."""

    def __init__(self, settings: HlsSettings) -> None:
        """Does nothing yet but keep the settings."""
        self._settings = settings
        picture = settings.picture
        super().__init__(_CHILD, f"hls:{shown(settings.folder)}", picture.size, picture.rate, picture.patience)

    def __enter__(self) -> HlsSink:
        """Make the folder, remove the segments of an earlier stream, start the child. Raises SinkError."""
        folder = self._settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign(folder / _PLAYLIST)
            for old in folder.iterdir():
                if _SEGMENT.fullmatch(old.name):
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise SinkError(f"{self._shown}: cannot be written: {reason(error)}") from error
        options = {
            "hls_time": str(KEYFRAME_INTERVAL),
            "hls_list_size": str(_SEGMENTS),
            "hls_flags": "delete_segments+temp_file",
            # Numbers that rise from one start to the next: players would take a playlist that starts anew for old.
            "start_number": str(int(time.time())),
            "hls_segment_filename": "deepprivacy-%d.ts",
        }
        settings = job(_PLAYLIST, "hls", options, self._settings.picture)
        # The child works inside of the folder: FFmpeg would read a % in its name as a pattern.
        self._start(settings | {"folder": str(folder.absolute())})
        return self

    def _refuse_foreign(self, playlist: Path) -> None:
        """Overwrite a playlist of this sink's own only."""
        if playlist.exists() and not re.search(rb"^deepprivacy-\d+\.ts$", playlist.read_bytes(), re.MULTILINE):
            raise SinkError(f"{self._shown}: {_PLAYLIST} in it belongs to another program; choose another folder")

    def _explained(self, why: str) -> str:
        return f"cannot be written: {why}; check that the folder can be written and the disk is not full"


def job(
    target: str,
    muxer: str,
    options: Mapping[str, str],
    picture: LivePicture,
    *,
    is_file: bool = False,
) -> dict[str, object]:
    """Return the settings for :mod:`.stream_child`."""
    return {
        "target": target,
        "is_file": is_file,
        "muxer": muxer,
        "options": dict(options),
        "rate": str(picture.rate),
        "bitrate": picture.bitrate,
        "encoder": picture.encoder,
        "patience": picture.patience,
        "sound": picture.sound,
    }


def stream_key(file: Path | None) -> str:
    """Return the key from a file, or else from the environment. Raises UsageError; never quotes what it read."""
    if file is None:
        key, where = os.environ.get(STREAM_KEY, ""), f"the environment variable {STREAM_KEY}"
    else:
        where = shown(file)
        try:
            key = file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"{where}: the stream key cannot be read: {reason(error)}") from error
    key = key.strip()
    if not key:
        raise UsageError(f"{where} holds no stream key; set {STREAM_KEY}, or name a file that holds it")
    if not re.fullmatch(r"[!-~]+", key) or any(c in "/#" for c in key):
        raise UsageError(f"{where} holds no stream key: one word of letters and digits is expected")
    return key
