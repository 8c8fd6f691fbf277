"""SRT outputs, to a real recorder that is killed, frozen and started again, and that calls or is called."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from live_pictures import Player, colour_error, number, picture
from srt_peers import ESCAPED, PASSPHRASE, Recorder, free_udp_port, recorder
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media import libsrt
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_spec import parse_live_sink
from deepprivacy_rt.sinks.srt_output import SrtOutput
from deepprivacy_rt.sinks.stream import StreamSettings, StreamSink
from deepprivacy_rt.sound import Sound


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Recorder]:
    yield from recorder(tmp_path / "got.ts")


def made(port: int, options: str = "", **picture: float | bool) -> StreamSink:
    live = LivePicture(**picture)  # type: ignore[arg-type]
    return StreamSink(StreamSettings(f"srt://127.0.0.1:{port}{options}", picture=live))


def started(sink: StreamSink) -> Player:
    player = Player(sink)
    player.start()
    return player


def check_content(peer: Recorder, least: int, by_the_clock: ByTheClock) -> None:
    found = peer.images()
    numbers = [number(image) for _, image in found]
    assert len(found) >= least and numbers == sorted(set(numbers))
    assert max(colour_error(image) for _, image in found) < 6
    with by_the_clock:
        # The picture that carries number n was made at n / 30 s.
        assert found[-1][0] - found[0][0] == pytest.approx((numbers[-1] - numbers[0]) / 30, abs=0.15)


def test_pictures_and_sound_arrive_with_the_passphrase_that_nobody_else_sees(
    peer: Recorder, monkeypatch: pytest.MonkeyPatch, by_the_clock: ByTheClock
) -> None:
    port = free_udp_port()
    peer.start(port, passphrase=PASSPHRASE)
    monkeypatch.setenv("DEEPPRIVACY_SRT_PASSPHRASE", PASSPHRASE)
    sink = made(port, sound=True)
    player = started(sink)
    player.until_open()
    samples = np.full((480, 2), 1000, np.int16)
    for _ in range(200):
        sink.write_sound(Sound(samples, time.monotonic()))
        time.sleep(0.01)
    assert sink.pid is not None
    child = psutil.Process(sink.pid)
    assert PASSPHRASE not in "\n".join([*child.cmdline(), *child.environ().values()])
    assert PASSPHRASE not in sink._explained(f"it said {PASSPHRASE}")
    player.finish()
    time.sleep(0.3)
    peer.stop()
    codec, seconds = peer.sound_seconds()
    assert codec == "aac"
    check_content(peer, 10, by_the_clock)
    with by_the_clock:
        assert seconds > 1.5
        assert player.longest < 1.0 and player.exit_took < 1.5


def test_whoever_calls_is_sent_to_and_so_is_the_next(peer: Recorder, by_the_clock: ByTheClock) -> None:
    port = free_udp_port()
    for last in (False, True):
        player = started(made(port, f"?mode=listener&passphrase={ESCAPED}", patience=1.0))
        if not last:
            time.sleep(3)
            assert player.is_alive(), player.error  # nobody there is no stall
        peer.start(port, listener=False, passphrase=PASSPHRASE)
        player.until_open()
        peer.until_bytes(60_000)
        if last:
            player.finish()
            break
        peer.kill()
        message = player.wait_for_error(60)
        assert f"srt://127.0.0.1:{port}?…: the connection was lost: " in message and "waiting for the next" in message
    peer.stop()
    check_content(peer, 10, by_the_clock)


def test_the_end_is_not_thrown_away(peer: Recorder) -> None:
    port = free_udp_port()
    peer.start(port)
    time.sleep(0.5)
    output = SrtOutput({"host": "127.0.0.1", "port": port})
    assert output.ready()
    data = bytes(range(188)) * 7 * 30
    assert output.write(data) == len(data)
    output.finish()
    time.sleep(0.5)
    peer.stop()
    assert peer.file.read_bytes() == data


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_server_that_is_gone_or_hangs_is_given_up_and_found_again(
    peer: Recorder, how: str, by_the_clock: ByTheClock
) -> None:
    port = free_udp_port()
    for last in (False, True):
        peer.start(port)
        player = started(made(port))
        player.until_open()
        peer.until_bytes(60_000)
        if last:
            player.finish()
            break
        getattr(peer, how)()
        message = player.wait_for_error(60)
        assert "the connection was lost: the other side" in message and "\n" not in message
        failed = player
        peer.kill()
    peer.stop()
    check_content(peer, 10, by_the_clock)
    with by_the_clock:
        assert failed.longest < 1.0 and failed.exit_took < 1.5


@pytest.mark.parametrize(
    ("theirs", "lax", "ours", "why"),
    [
        (PASSPHRASE, False, "?passphrase=falsch%20und%20geheim", "the passphrase is wrong"),
        (PASSPHRASE, False, "", "the server needs a passphrase"),
        ("", False, f"?passphrase={ESCAPED}", "the server has no passphrase, or another one"),
        ("", True, f"?passphrase={ESCAPED}", "the server has no passphrase, or another one"),
        (PASSPHRASE, True, "?passphrase=falsch%20und%20geheim", "the server has no passphrase, or another one"),
    ],
)
def test_with_another_passphrase_nothing_is_sent(peer: Recorder, theirs: str, lax: bool, ours: str, why: str) -> None:
    port = free_udp_port()
    peer.start(port, passphrase=theirs, lax=lax)
    player = started(made(port, ours))
    message = player.wait_for_error(60)
    assert f"cannot be opened: {why}; write ?passphrase=" in message and "DEEPPRIVACY_SRT_PASSPHRASE" in message
    assert "geheim" not in message and "\n" not in message
    assert peer.file.stat().st_size == 0


def test_a_server_that_is_not_there_is_one_line() -> None:
    message = started(made(free_udp_port())).wait_for_error(60)
    assert message.endswith("cannot be opened: the server does not answer; check address and network, and that the"
                            " server runs")  # fmt: skip


def test_a_port_that_is_taken_is_one_line() -> None:
    port = free_udp_port()
    with subprocess.Popen(["srt-live-transmit", "-q", f"srt://:{port}?mode=listener", "file://con"]) as other:
        time.sleep(0.5)
        try:
            message = started(made(port, "?mode=listener")).wait_for_error(60)
        finally:
            other.kill()
    assert f"port {port} cannot be listened on" in message and message.endswith("choose another port")


@pytest.mark.parametrize("options", ["", "?mode=listener"])
def test_the_child_ends_when_the_program_is_killed(peer: Recorder, options: str) -> None:
    port = free_udp_port()
    if not options:
        peer.start(port)
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from live_pictures import Player; "
        "from deepprivacy_rt.sinks.stream import StreamSettings, StreamSink; "
        "p = Player(StreamSink(StreamSettings(sys.argv[1]))); p.start(); p.join()"
    )
    url = f"srt://127.0.0.1:{port}{options}"
    program = subprocess.Popen([sys.executable, "-c", code, url, *filter(None, sys.path)])
    children: list[psutil.Process] = []
    try:
        until(lambda: any(child.net_connections() for child in psutil.Process(program.pid).children()))
        children = psutil.Process(program.pid).children()
    finally:
        program.kill()
        program.wait()
    assert len(children) == 1
    gone, _ = psutil.wait_procs(children, timeout=30)
    assert gone == children


def test_without_libsrt_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = made(1)
    with pytest.raises(libsrt.SrtMissing, match="apt install srt-tools"):
        monkeypatch.setattr(libsrt, "_NAMES", {})
        SrtOutput({"host": "127.0.0.1", "port": 1})
    assert sink._explained("SRT needs a library").startswith("cannot be opened: SRT needs a library")


def test_only_safe_frames_are_taken(peer: Recorder) -> None:
    with made(free_udp_port(), "?mode=listener") as sink, pytest.raises(TypeError, match="SafeFrame"):
        sink.write(picture(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["srt://h", "srt://h:1?passphrase=geheim", "srt://anna:geheim@h:1", "srt://:1"])
def test_what_is_no_address_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_live_sink(text)
    assert "geheim" not in str(caught.value)
