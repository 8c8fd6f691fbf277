"""The parts of live sources, and the real-time file: order, pace, ends, and errors that are never lost."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from live_helpers import Watch
from media_clips import write_clip
from stillness import ByTheClock

from deepprivacy_rt.errors import SourceError, UsageError
from deepprivacy_rt.media.redaction import Address
from deepprivacy_rt.sources.lateness import Lateness
from deepprivacy_rt.sources.live import ConnectionLost, LiveSource, Picture, SourceState, wait_before_retry
from deepprivacy_rt.sources.live_spec import parse_live_source
from deepprivacy_rt.sources.newest import Newest
from deepprivacy_rt.sources.realtime import RealtimeFileSource

SAMPLE = Path(__file__).parent.parent / "samples" / "signing.mkv"


class Scripted(LiveSource):
    """Yields pictures of the given widths over one connection after another; an exception is raised in its place."""

    def __init__(self, *connections: list[int | Exception], **options: object) -> None:
        super().__init__("scripted", **options)  # type: ignore[arg-type]
        self.connections = list(connections)

    def _pictures(self) -> Generator[Picture, None, None]:
        for item in self.connections.pop(0):
            if isinstance(item, Exception):
                raise item
            yield Picture(np.zeros((8, item, 3), np.uint8), time.monotonic_ns())
            time.sleep(0.03)


def test_the_slot_keeps_the_newest_and_counts_the_others() -> None:
    slot: Newest[int] = Newest()
    for number in range(5):
        slot.put(number)
    slot.end()
    slot.put(9)
    assert (slot.take(), slot.take(), slot.replaced) == (4, None, 4)


def test_the_slot_hands_over_what_came_before_an_error_and_the_error_once() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.end(ValueError("late"))
    slot.end(discard=False)
    assert slot.take() == 1
    with pytest.raises(ValueError, match="late"):
        slot.take()
    assert slot.take() is None


def test_a_mistake_in_the_reader_reaches_the_consumer() -> None:
    with Scripted([8, RuntimeError("broken")]) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(RuntimeError, match="broken"):
            next(frames)


def test_a_mistake_in_the_listener_reaches_the_consumer() -> None:
    def listener(state: SourceState) -> None:
        if state.kind == "live":
            raise RuntimeError("listener")

    with Scripted([8], on_state=listener) as source, pytest.raises(RuntimeError, match="listener"):
        next(iter(source))


def test_states_are_told_once_each_and_sizes_as_they_change() -> None:
    watch = Watch()
    with Scripted(
        [8, 8, 16, ConnectionLost("gone")], [ConnectionLost("gone")], [16], on_state=watch.on_state
    ) as source:
        assert [frame.index for frame in source] == [0, 1, 2, 3]
    assert [state.detail.removeprefix("scripted: ") for state in watch.states] == [
        "opening scripted",
        "8x8",
        "16x8",
        "gone; trying again",
        "16x8",
    ]


def test_retries_count_from_the_last_picture() -> None:
    lost = ConnectionLost("gone")
    with Scripted([lost], [lost], [8, lost], [lost], [lost], [8], max_retries=2) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceError, match="scripted: gone .gave up after 2 retries"):
            next(frames)
    assert len(source.connections) == 1


def test_waits_between_tries_grow_with_the_loss() -> None:
    assert [wait_before_retry(seconds) for seconds in (0, 1, 10, 30, 1e4)] == [0.2, 0.2, 1.0, 3.0, 5.0]


def test_what_waited_in_the_network_is_late() -> None:
    lateness = Lateness()
    start = 100.0

    def late(arrival: float, stream: float) -> bool:
        return lateness.is_late(int((start + arrival) * 1e9), Fraction(stream))

    assert not any(late(n / 30, n / 30 + 0.02 * (n % 2)) for n in range(60))
    assert all(late(5.0 + n / 1000, 2 + n / 30) for n in range(60))  # three seconds stood still, then came in a burst
    assert not lateness.hopeless
    assert not late(5.1, 5.0)
    assert all(late(6 + n / 30, 4 + n / 30) for n in range(80)) and not lateness.hopeless
    assert all(late(9 + n / 30, 7 + n / 30) for n in range(10)) and lateness.hopeless


def test_a_slow_clock_in_the_camera_is_not_lateness() -> None:
    lateness = Lateness()
    assert not any(lateness.is_late(int(n * 1.0002e9), Fraction(n)) for n in range(6 * 3600))


def test_a_file_keeps_its_pace_and_its_order(by_the_clock: ByTheClock) -> None:
    watch, start = Watch(), time.monotonic()
    with RealtimeFileSource(SAMPLE, on_state=watch.on_state) as source:
        pts, oldest = [], 0.0
        for frame in source:
            age = time.monotonic() - float(frame.pts)
            assert frame.index == len(pts) and age > -0.001
            oldest = max(age, oldest)
            pts.append(float(frame.pts))
            if len(pts) == 40:
                break
    elapsed = time.monotonic() - start
    expected = 40 / 25
    assert elapsed > expected * 0.7
    assert np.all(np.diff(pts) > 0)
    assert watch.kinds == ["connecting", "live"]
    with by_the_clock:
        assert oldest < 0.5 and elapsed < expected + 3


def test_a_file_ends_or_begins_again(tmp_path: Path) -> None:
    clip = tmp_path / "short.mkv"
    write_clip(clip, [Fraction(n, 25) for n in range(10)], rate=Fraction(25))
    start = time.monotonic()
    with RealtimeFileSource(clip) as source:
        count = sum(1 for _ in source)
    assert count + source.dropped == 10
    assert time.monotonic() - start > 9 / 25
    with RealtimeFileSource(clip, loop=True) as source:
        frames = iter(source)
        pts = [next(frames).pts for _ in range(25)]
    assert all(after > before for before, after in itertools.pairwise(pts))
    # On a busy machine the first frames come late, and the others in time: without any pace this took some hundredths.
    assert pts[-1] - pts[0] > Fraction(12, 25)


def test_a_late_consumer_misses_frames_and_keeps_the_time(by_the_clock: ByTheClock) -> None:
    with RealtimeFileSource(SAMPLE, loop=True) as source:
        ages = []
        for frame in source:
            ages.append(time.monotonic() - float(frame.pts))
            if len(ages) == 5:
                break
            time.sleep(0.3)
    assert source.dropped >= 10
    with by_the_clock:
        assert max(ages) < 0.3


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with (
        RealtimeFileSource(tmp_path / "a.mp4") as source,
        pytest.raises(SourceError, match=r"a\.mp4: is text, not a video$"),
    ):
        next(iter(source))


def test_close_from_another_thread_ends_a_waiting_consumer(tmp_path: Path) -> None:
    clip = tmp_path / "slow.mkv"
    write_clip(clip, [Fraction(20 * n) for n in range(3)], rate=Fraction(1, 20))
    with RealtimeFileSource(clip) as source:
        frames = iter(source)
        next(frames)
        timer = threading.Timer(0.2, source.close)
        timer.start()
        start = time.monotonic()
        assert next(frames, None) is None
        assert time.monotonic() - start < 2
        timer.join()
        assert not source._reader.is_alive()


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("0", "webcam", 0),
        ("12", "webcam", 12),
        ("/dev/video3", "webcam", "/dev/video3"),
        ("name:Logitech C9", "webcam", "Logitech C9"),
        ("rtsp://h/live", "network", "rtsp://h/live"),
        ("RTSPS://h:1/live", "network", "RTSPS://h:1/live"),
        ("srt://h:9000?latency=80", "network", "srt://h:9000?latency=80"),
        (str(SAMPLE), "file", SAMPLE),
    ],
)
def test_sources_are_told_apart(text: str, kind: str, target: object) -> None:
    spec = parse_live_source(text)
    assert (spec.kind, spec.target) == (kind, target)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("name: ", "is empty"),
        ("nothing.mp4", "there is no such file; name a camera"),
        (str(SAMPLE.parent), "is a folder"),
        ("ftp://anna:Geheim@h/x", "of no kind that is read; use one of rtsp"),
        ("rtsp:/anna:Geheim@h/x", "an address begins with rtsp://"),
        ("anna:Geheim@camera/live", "there is no such file"),
        ("rtsp://anna:Geheim@/live", "names no host"),
        ("srt://:9000?passphrase=Geheimgeheim", "mode=listener"),
        ("http://anna:Geheim@h/list.m3u8", "use the camera's RTSP"),
        ("rtsp://anna:Geheim@h:x/live", "host or port that cannot be"),
    ],
)
def test_bad_sources_are_refused_in_one_line_without_the_password(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_live_source(text)
    assert why in str(caught.value) and "\n" not in str(caught.value)
    assert "Geheim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "secret", "shown"),
    [
        ("rtsp://anna:Geheim@h:554/a/b", "Geheim", "rtsp://h:554/a/b"),
        ("rtsp://anna:Ge@heim@[::1]:554/a", "Ge@heim", "rtsp://[::1]:554/a"),
        ("rtsp://anna:Ge%40heim@h/a", "Ge@heim", "rtsp://h/a"),
        ("rtsp://h/user=a_password=Geheim_channel=1", "user=a_password=Geheim_channel=1", "rtsp://h/…"),
        ("rtsp://h/cam?user=a&password=Geheim", "Geheim", "rtsp://h/cam?…"),
        ("rtmp://h/app/Geheim", "Geheim", "rtmp://h/app/…"),
        ("rtmps://h:443/app/Geheim?bandwidthtest=true", "Geheim", "rtmps://h:443/app/…?…"),
        ("srt://h:1?passphrase=Geheimgeheim&mode=caller", "Geheimgeheim", "srt://h:1?…"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, secret: str, shown: str) -> None:
    address = Address(url)
    assert address.shown == str(address) == shown
    assert "heim" not in repr(address)
    assert address.redact(f"{url}: {secret}\nfailed") == f"{shown}: … failed"
    assert "heim" not in repr(parse_live_source(url))


def test_secrets_are_taken_out_wherever_they_stand() -> None:
    address = Address("rtsp://anna:s%40fe-word@h/x?token=abc+def&a=no")
    text = address.redact("401 for anna with s@fe-word (s%40fe-word),\n token abc def, and no \x1b")
    assert text == "401 for … with … (…), token …, and no ?"


def test_a_raw_slash_in_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="host or port that cannot be") as caught:
        Address("rtsp://anna:Ge/heim@h/x")
    assert "heim" not in str(caught.value)


def test_credentials_come_from_the_environment_only_where_the_address_has_none() -> None:
    environment = {"DEEPPRIVACY_SOURCE_USER": "anna", "DEEPPRIVACY_SOURCE_PASSWORD": "p@ss/w%"}
    assert Address("rtsp://h/x?y=1").with_credentials(environment) == "rtsp://anna:p%40ss%2Fw%25@h/x?y=1"
    assert Address("rtsp://bob@h/x").with_credentials(environment) == "rtsp://bob@h/x"
    assert Address("rtsp://h/x").with_credentials({}) == "rtsp://h/x"
