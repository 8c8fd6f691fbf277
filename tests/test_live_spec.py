"""What users write after --sink."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_recording import RecordingSettings
from deepprivacy_rt.sinks.live_spec import (
    LiveSinkSettings,
    NullSettings,
    create_live_sink,
    parse_live_sink,
    with_size,
)
from deepprivacy_rt.sinks.null import NullSink
from deepprivacy_rt.sinks.stream import TWITCH, HlsSettings, StreamSettings
from deepprivacy_rt.sinks.virtual_camera import VirtualCameraSettings
from deepprivacy_rt.sinks.window import WindowSettings


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("virtualcam", VirtualCameraSettings()),
        ("virtualcam:/dev/video10", VirtualCameraSettings("/dev/video10")),
        ("virtualcam:OBS Virtual Camera", VirtualCameraSettings("OBS Virtual Camera")),
        ("rtmp://h/app/key", StreamSettings("rtmp://h/app/key")),
        ("rtmp://h/app", StreamSettings("rtmp://h/app", append_key=True)),
        ("rtmps://h:443/live2/", StreamSettings("rtmps://h:443/live2/", append_key=True)),
        ("twitch", StreamSettings(TWITCH, append_key=True)),
        ("twitch:key.txt", StreamSettings(TWITCH, append_key=True, key_file=Path("key.txt"))),
        ("rtsp://u:p@h:554/x", StreamSettings("rtsp://u:p@h:554/x")),
        ("srt://h:9000?streamid=a", StreamSettings("srt://h:9000?streamid=a")),
        ("srt://:9000?mode=listener", StreamSettings("srt://:9000?mode=listener")),
        ("hls:out/live", HlsSettings(Path("out/live"))),
        ("window", WindowSettings()),
        ("null", NullSettings()),
        ("a b.MKV", RecordingSettings(Path("a b.MKV"))),
        ("./twitch.mp4", RecordingSettings(Path("./twitch.mp4"))),
    ],
)
def test_every_output_has_a_name(text: str, settings: LiveSinkSettings) -> None:
    assert parse_live_sink(text) == settings


@pytest.mark.parametrize(
    "text",
    ["", "webcam", "file.avi", "ftp://h/x", "rtmp://", "rtmp:///app/key", "rtsp://u:geheim@h:port/x", "hls:", "twitch:",
     "virtualcam:", "http://user:geheim@h/x", "rtmp://h/a b", "window:2", "rtsp://u:12/geheim@h/x",
     "rtsp://u:12#geheim@h/x"],
)  # fmt: skip
def test_what_is_no_output_is_said_in_one_line_without_secrets(text: str) -> None:
    with pytest.raises(UsageError) as problem:
        parse_live_sink(text)
    message = str(problem.value)
    assert message and "\n" not in message and "geheim" not in message


def test_picture_settings_reach_the_sinks() -> None:
    picture = LivePicture((640, 360), Fraction(25))
    assert parse_live_sink("virtualcam", picture) == VirtualCameraSettings(None, (640, 360), Fraction(25))
    settings = parse_live_sink("a.mkv", picture)
    assert isinstance(settings, RecordingSettings) and settings.picture is picture


@pytest.mark.parametrize("text", ["virtualcam", "window", "a.mkv", "rtmp://h/a/b", "hls:x"])
def test_a_size_can_be_fixed_later_but_not_changed(text: str) -> None:
    settings = with_size(parse_live_sink(text), (640, 360))
    assert settings != parse_live_sink(text)
    assert with_size(settings, (320, 240)) == settings
    create_live_sink(settings)


def test_null() -> None:
    assert isinstance(create_live_sink(parse_live_sink("null")), NullSink)


@pytest.mark.parametrize(
    "wrong",
    [{"size": (641, 360)}, {"rate": Fraction(0)}, {"bitrate": 1}, {"encoder": "h265"}, {"patience": 0.0}],
)
def test_pictures_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LivePicture(**wrong)  # type: ignore[arg-type]
