"""Live outputs as a user writes them: ``--sink virtualcam``, ``--sink rtmp://host/app/key``, ``--sink talk.mkv``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.container import shown
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_recording import RecordingSettings, RecordingSink
from deepprivacy_rt.sinks.null import NullSink
from deepprivacy_rt.sinks.stream import TWITCH, HlsSettings, HlsSink, StreamSettings, StreamSink
from deepprivacy_rt.sinks.virtual_camera import VirtualCameraSettings, VirtualCameraSink
from deepprivacy_rt.sinks.window import WindowSettings, WindowSink
from deepprivacy_rt.stages import Sink

KNOWN = (
    "virtualcam[:DEVICE], twitch[:KEYFILE], rtmp://, rtmps://, rtsp://, srt://, hls:FOLDER, window, null, "
    "FILE.mkv, FILE.mp4"
)


@dataclass(frozen=True, slots=True)
class NullSettings:
    """No output at all."""


LiveSinkSettings: TypeAlias = (
    VirtualCameraSettings | StreamSettings | HlsSettings | RecordingSettings | WindowSettings | NullSettings
)


def parse_live_sink(text: str, picture: LivePicture | None = None, key_file: Path | None = None) -> LiveSinkSettings:
    """Read what a user wrote.

    :param picture: size, rate and encoder for all that have them.
    :param key_file: holds the stream key for Twitch and RTMP. Without it an address of RTMP is taken as it is where it
        has a stream name (``rtmp://host/app/name``); else the key comes from the environment, as it does for Twitch.
    :raises UsageError: it names no output, or one that cannot be.
    """
    picture = LivePicture() if picture is None else picture
    kind, colon, rest = text.partition(":")
    if "://" in text:
        append = kind.lower() in ("rtmp", "rtmps") and (key_file is not None or _names_no_stream(rest))
        return StreamSettings(text, append_key=append, key_file=key_file, picture=picture)
    if kind == "virtualcam":
        return VirtualCameraSettings(_given(text, colon, rest) or None, picture.size, picture.rate)
    if kind == "twitch":
        file = Path(rest) if _given(text, colon, rest) else key_file
        return StreamSettings(TWITCH, append_key=True, key_file=file, picture=picture)
    if kind == "hls":
        if not rest:
            raise UsageError("hls: needs a folder: hls:FOLDER")
        return HlsSettings(Path(rest), picture=picture)
    if text == "window":
        return WindowSettings(size=picture.size)
    if text == "null":
        return NullSettings()
    if Path(text).suffix.lower() in (".mkv", ".mp4"):
        return RecordingSettings(Path(text), picture)
    raise UsageError(f"{shown(Path(text))}: is no live output; use one of {KNOWN}")


def create_live_sink(settings: LiveSinkSettings, on_key: Callable[[str], None] = lambda key: None) -> Sink:
    """Make a new sink; after a SinkError the next one of the same settings may be tried.

    :param on_key: gets the keys that are pressed in a preview window, on another thread.
    """
    match settings:
        case VirtualCameraSettings():
            return VirtualCameraSink(settings)
        case StreamSettings():
            return StreamSink(settings)
        case HlsSettings():
            return HlsSink(settings)
        case RecordingSettings():
            return RecordingSink(settings)
        case WindowSettings():
            return WindowSink(settings, on_key)
        case NullSettings():
            return NullSink()


def with_size(settings: LiveSinkSettings, size: tuple[int, int]) -> LiveSinkSettings:
    """Return the same output with a fixed width and height, where it has none yet: the slate may come first."""
    match settings:
        case VirtualCameraSettings(size=None) | WindowSettings(size=None):
            return replace(settings, size=size)
        case StreamSettings() | HlsSettings() | RecordingSettings() if settings.picture.size is None:
            return replace(settings, picture=replace(settings.picture, size=size))
        case _:
            return settings


def carries_sound(settings: LiveSinkSettings) -> bool:
    """Tell whether the output has a sound track when ``LivePicture.sound`` is set."""
    return isinstance(settings, StreamSettings | HlsSettings | RecordingSettings)


def _names_no_stream(rest: str) -> bool:
    return rest.partition("?")[0].strip("/").count("/") <= 1


def _given(text: str, colon: str, rest: str) -> str:
    if colon and not rest:
        raise UsageError(f"{text} needs a name after the colon")
    return rest
