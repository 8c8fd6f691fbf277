"""SRT sources, with real senders that are killed, frozen and started again."""

from __future__ import annotations

import signal
import subprocess
import time
import traceback
from collections.abc import Iterator

import pytest
from live_helpers import Watch, threads_and_descriptors
from live_pictures import colour_error
from srt_peers import FFMPEG_PASSPHRASE, Sender, age_s, free_udp_port, sender
from stillness import ByTheClock

from deepprivacy_rt.errors import SourceError, UsageError
from deepprivacy_rt.media import libsrt
from deepprivacy_rt.media.srt_address import SrtAddress, parse_srt
from deepprivacy_rt.sources.srt import SrtSource


@pytest.fixture
def peer() -> Iterator[Sender]:
    yield from sender()


def watched(url: str, watch: Watch, **options: float) -> SrtSource:
    return SrtSource(url, on_state=watch.on_state, **options)  # type: ignore[arg-type]


def check_picture(watch: Watch, by_the_clock: ByTheClock) -> None:
    """The newest picture is whole, and 120 ms of SRT and a busy machine old at most."""
    assert watch.last is not None
    image = watch.last.image
    age = age_s(image)
    assert colour_error(image) < 8
    with by_the_clock:
        assert age < 1.5


def test_a_server_is_called_and_called_again_when_it_died(
    peer: Sender, monkeypatch: pytest.MonkeyPatch, by_the_clock: ByTheClock
) -> None:
    before, watch = threads_and_descriptors(), Watch()
    address = SrtAddress("127.0.0.1", free_udp_port(), listener=True, passphrase=FFMPEG_PASSPHRASE)
    monkeypatch.setenv("DEEPPRIVACY_SOURCE_PASSWORD", FFMPEG_PASSPHRASE)
    peer.start(address)
    with watched(f"srt://127.0.0.1:{address.port}?latency=100", watch) as source:
        watch.consume(source)
        watch.until_frames(20, 15)
        check_picture(watch, by_the_clock)
        peer.kill()
        lost_after = watch.until_state("lost", 5)
        peer.start(address, (480, 320))
        watch.until_state("live", 15)
        watch.until_frames(10, 5)
        check_picture(watch, by_the_clock)
        peer.signal(signal.SIGTERM)
        watch.until_state("lost", 5)
        assert "the other side has ended the connection" in watch.states[-1].detail
        assert watch.sizes == [(320, 240), (480, 320)] and watch.kinds == ["connecting", "live", "lost", "live", "lost"]
        begin = time.monotonic()
    with by_the_clock:
        assert lost_after < 3.5
        assert time.monotonic() - begin < 1
    peer.kill()
    assert watch.ended.wait(20)
    until = time.monotonic() + 20
    while threads_and_descriptors() != before and time.monotonic() < until:
        time.sleep(0.05)
    assert threads_and_descriptors() == before


def test_a_sender_is_waited_for_and_waited_for_again(peer: Sender, by_the_clock: ByTheClock) -> None:
    watch, port = Watch(), free_udp_port()
    with watched(f"srt://:{port}?mode=listener&passphrase=sehr%20geheim%20und%20lang", watch) as source:
        watch.consume(source)
        watch.until_state("connecting", 2)
        time.sleep(0.5)
        for size in ((320, 240), (480, 320)):
            peer.start(SrtAddress("127.0.0.1", port, passphrase=FFMPEG_PASSPHRASE), size)
            watch.until(lambda size=size: watch.sizes[-1:] == [size], 15)  # type: ignore[misc]
            watch.until_frames(15, 5)
            check_picture(watch, by_the_clock)
            peer.kill()
            watch.until_state("lost", 5)
    assert watch.ended.wait(20)


def test_a_frozen_sender_is_lost_and_nothing_old_is_shown_afterwards(peer: Sender, by_the_clock: ByTheClock) -> None:
    watch = Watch()
    address = SrtAddress("127.0.0.1", free_udp_port(), listener=True)
    peer.start(address)
    with watched(f"srt://127.0.0.1:{address.port}", watch, stall_s=0.8) as source:
        watch.consume(source)
        watch.until_frames(10, 15)
        peer.freeze()
        watch.until_state("lost", 6)
        assert "silent" in watch.states[-1].detail
        shown = watch.frames
        peer.thaw()  # it ends, since its connection is lost; a new one comes in its place
        time.sleep(0.3)
        assert watch.frames == shown
        peer.kill()
        peer.start(address)
        watch.until_frames(10, 15)
        check_picture(watch, by_the_clock)


@pytest.mark.parametrize(
    ("sent", "query", "why"),
    [
        (FFMPEG_PASSPHRASE, "?passphrase=falsch%20und%20geheim", "the passphrase is wrong"),
        (FFMPEG_PASSPHRASE, "", "the server needs a passphrase"),
        ("", "?passphrase=falsch%20und%20geheim", "the server has no passphrase"),
    ],
)
def test_a_wrong_passphrase_is_one_line_with_a_cure(peer: Sender, sent: str, query: str, why: str) -> None:
    address = SrtAddress("127.0.0.1", free_udp_port(), listener=True, passphrase=sent)
    peer.start(address)
    time.sleep(0.5)
    url = f"srt://127.0.0.1:{address.port}{query}"
    with SrtSource(url, max_retries=20) as source, pytest.raises(SourceError) as caught:
        next(iter(source))
    text = "".join(traceback.format_exception(caught.value))
    assert why in str(caught.value) and "set DEEPPRIVACY_SOURCE_PASSWORD" in str(caught.value)
    assert "geheim" not in text and "\n" not in str(caught.value)


def test_a_sender_without_the_passphrase_is_not_let_in(peer: Sender) -> None:
    watch, port = Watch(), free_udp_port()
    with watched(f"srt://:{port}?mode=listener&passphrase=sehr%20geheim", watch) as source:
        watch.consume(source)
        peer.start(SrtAddress("127.0.0.1", port))
        time.sleep(3)
        assert watch.frames == 0 and watch.kinds == ["connecting"]


@pytest.mark.parametrize(("mode", "why"), [("caller", "does not answer"), ("listener", "nobody has connected")])
def test_retries_are_counted_where_nobody_is(mode: str, why: str) -> None:
    url, message = f"srt://127.0.0.1:{free_udp_port()}?mode={mode}", f"{why}.*gave up after 1 retries"
    with SrtSource(url, max_retries=1, open_timeout_s=0.5) as source, pytest.raises(SourceError, match=message):
        next(iter(source))


@pytest.mark.parametrize("mode", ["caller", "listener"])
def test_closing_ends_the_waiting(mode: str) -> None:
    source = SrtSource(f"srt://127.0.0.1:{free_udp_port()}?mode={mode}")
    with source:
        time.sleep(0.5)
        begin = time.monotonic()
    assert time.monotonic() - begin < 1 and not source._reader.is_alive()


def test_what_is_no_stream_is_said_and_does_not_hold_the_program_up(peer: Sender) -> None:
    port, watch = free_udp_port(), Watch()
    command = ["srt-live-transmit", "-q", "file://con", f"srt://127.0.0.1:{port}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        with watched(f"srt://:{port}?mode=listener", watch, open_timeout_s=1.0) as source:
            watch.consume(source)
            assert program.stdin is not None
            until = time.monotonic() + 60
            while not any("MPEG-TS" in state.detail for state in watch.states):
                assert time.monotonic() < until, watch.states
                program.stdin.write(b"no video at all " * 182)
                program.stdin.flush()
                time.sleep(0.02)
        program.kill()
        program.stdin.close()


def test_without_libsrt_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsrt, "_NAMES", {})
    with SrtSource("srt://127.0.0.1:1") as source, pytest.raises(SourceError, match="apt install srt-tools"):
        next(iter(source))


def test_an_address_says_all_that_it_means() -> None:
    url = "srt://[::1]:9000?mode=caller&streamid=#!::r=a%26b,m=request&latency=250&pbkeylen=32"
    address = parse_srt(url, {"V": "aus der Umgebung"}, "V")
    assert address == SrtAddress("::1", 9000, False, "aus der Umgebung", 250, "#!::r=a&b,m=request", 32)
    assert "Umgebung" not in repr(address)
    assert address.for_ffmpeg() == (
        "srt://[::1]:9000?mode=caller&latency=250000&passphrase=aus der Umgebung&pbkeylen=32"
        "&streamid=%23%21%3A%3Ar%3Da%26b%2Cm%3Drequest"
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("srt://h", "names no port"),
        ("srt://:9000", "mode=listener"),
        ("srt://h:9000?latency=200000", "milliseconds"),
        ("srt://h:9000?latency=-1", "milliseconds"),
        ("srt://h:9000?mode=rendezvous", "caller, listener"),
        ("srt://h:9000?passphrase=geheim", "10 to 79"),
        ("srt://h:9000?passphrase=", "is empty"),
        ("srt://h:9000?passphrase=ganz_langes&geheim", "is not known"),
        ("srt://h:9000?pbkeylen=20", "16, 24, 32"),
        ("srt://h:9000?mode=caller&mode=listener", "twice"),
        ("srt://anna:geheim@h:9000", "no user and password"),
        ("srt://h:9000?streamid=" + "geheim" * 100, "512 bytes"),
    ],
)
def test_what_is_no_address_is_refused_without_secrets(url: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        SrtSource(url)
    assert why in str(caught.value) and "geheim" not in "".join(traceback.format_exception(caught.value))
