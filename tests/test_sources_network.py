"""The network source against a real RTSP server, and HTTP and RTMP servers of FFmpeg, that die, hang and come back."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import Server
from live_helpers import RtspServer, Watch, clock_age_ms, rtsp_server, threads_and_descriptors
from stillness import ByTheClock

from deepprivacy_rt.errors import SourceError, UsageError
from deepprivacy_rt.sources.network import NetworkSource

PASSWORD = "p@ss:w/rd%"
QUOTED = "p%40ss%3Aw%2Frd%25"
FRESH_MS = 600


@pytest.fixture
def server() -> Iterator[RtspServer]:
    yield from rtsp_server()


@pytest.fixture
def watch() -> Watch:
    return Watch()


def all_text(error: BaseException, watch: Watch) -> str:
    """Return everything that could be printed about a failure."""
    chain = "".join(traceback.format_exception(error))
    context, seen = error.__context__, [repr(error)]
    while context is not None:
        seen.append(repr(context))
        context = context.__context__
    return chain + "".join(seen) + "".join(state.detail for state in watch.states)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_delivers_fresh_frames_in_order(
    server: RtspServer, watch: Watch, transport: str, by_the_clock: ByTheClock
) -> None:
    server.start("--transport", transport)
    with NetworkSource(server.url(), transport=transport, on_state=watch.on_state) as source:  # type: ignore[arg-type]
        watch.consume(source)
        watch.until_frames(40, 15)
        assert watch.last is not None
        lateness = abs(float(watch.last.pts) - time.monotonic())
    assert watch.ended.wait(20) and watch.error is None
    assert watch.kinds == ["connecting", "live"]
    assert watch.sizes == [(320, 240)]
    with by_the_clock:
        assert lateness < 1
        assert np.median(watch.age_ms) < FRESH_MS


def test_a_transport_that_is_not_offered_is_an_error_with_the_cure(server: RtspServer) -> None:
    server.start("--transport", "udp")
    with NetworkSource(server.url()) as source, pytest.raises(SourceError, match="does not offer RTSP over TCP; use"):
        next(iter(source))


def test_wrong_password_is_told_and_not_repeated(server: RtspServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.start("--user", "anna", "--password", PASSWORD)
    for login in ("", "anna:Geheim-7%40@"):
        watch = Watch()
        with (
            NetworkSource(server.url(login), on_state=watch.on_state) as source,
            pytest.raises(SourceError, match="user or password is wrong or missing; set DEEPPRIVACY_SOURCE_USER") as e,
        ):
            next(iter(source))
        assert "\n" not in str(e.value)
        told = all_text(e.value, watch) + caplog.text + repr(vars(source))
        assert "Geheim" not in told and "anna:" not in told


def test_right_password_in_the_address_or_the_environment(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start("--user", "anna", "--password", PASSWORD)
    with NetworkSource(server.url(f"anna:{QUOTED}@")) as source:
        assert next(iter(source)).image.shape == (240, 320, 3)
    monkeypatch.setenv("DEEPPRIVACY_SOURCE_USER", "anna")
    monkeypatch.setenv("DEEPPRIVACY_SOURCE_PASSWORD", PASSWORD)
    with NetworkSource(server.url()) as source:
        assert next(iter(source)).image.shape == (240, 320, 3)


def test_comes_back_after_a_restart_with_another_size(
    server: RtspServer, watch: Watch, by_the_clock: ByTheClock
) -> None:
    server.start()
    with NetworkSource(server.url(), on_state=watch.on_state) as source:
        watch.consume(source)
        watch.until_frames(10, 15)
        server.kill()
        lost_after = watch.until_state("lost", 5)
        time.sleep(3)
        server.start("--picture", "640x360x30")
        live_after = watch.until_state("live", 10)
        frames = watch.frames
        watch.until_frames(10, 10)
        assert watch.kinds == ["connecting", "live", "lost", "live"]
        assert watch.sizes == [(320, 240), (640, 360)]
    assert watch.ended.wait(20)
    with by_the_clock:
        assert lost_after < 1 and live_after < 6
        assert max(watch.age_ms[frames:]) < FRESH_MS


def test_a_frozen_server_counts_as_lost_and_comes_back_fresh(
    server: RtspServer, watch: Watch, by_the_clock: ByTheClock
) -> None:
    server.start()
    with NetworkSource(server.url(), stall_s=0.7, on_state=watch.on_state) as source:
        watch.consume(source)
        watch.until_frames(10, 15)
        server.freeze()
        lost_after = watch.until_state("lost", 8)
        frames = watch.frames
        server.thaw()
        watch.until_state("live", 15)
        watch.until_frames(10, 10)
    with by_the_clock:
        assert lost_after < 4
        assert max(watch.age_ms[frames:]) < FRESH_MS


def test_close_ends_a_blocked_read_at_once_and_its_thread_soon(
    server: RtspServer, watch: Watch, by_the_clock: ByTheClock
) -> None:
    server.start()
    source = NetworkSource(server.url(), stall_s=3.0, on_state=watch.on_state)  # the read blocks for three to six
    with source:
        watch.consume(source)
        watch.until_frames(5, 15)
        server.freeze()
        time.sleep(0.3)
        start = time.monotonic()
        source.close()
        assert watch.ended.wait(20)
        took = time.monotonic() - start
    assert watch.error is None
    source._reader.join(60)
    assert not source._reader.is_alive()
    with by_the_clock:
        assert took < 2


def test_close_while_a_silent_server_is_asked(watch: Watch, by_the_clock: ByTheClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live"
        with NetworkSource(url, open_timeout_s=0.4, on_state=watch.on_state) as source:
            watch.consume(source)
            watch.until(
                lambda: bool(watch.states) and "the server does not answer; trying again" in watch.states[-1].detail, 5
            )
            assert watch.kinds == ["connecting"]
        watch = Watch()
        with NetworkSource(url, open_timeout_s=4.0, on_state=watch.on_state) as source:  # opening blocks as long
            watch.consume(source)
            time.sleep(0.3)
            start = time.monotonic()
        assert watch.ended.wait(20)
        took = time.monotonic() - start
    source._reader.join(60)
    assert not source._reader.is_alive()
    with by_the_clock:
        assert took < 2


def test_reconnecting_leaves_nothing_behind(server: RtspServer, watch: Watch) -> None:
    server.start()
    with NetworkSource(server.url(), on_state=watch.on_state) as source:
        watch.consume(source)
        counts = []
        for _ in range(4):
            watch.until_state("live", 15)
            watch.until_frames(3, 10)
            counts.append(threads_and_descriptors())
            server.kill()
            watch.until_state("lost", 5)
            server.start()
        # A thread that is just ending may be counted or not; what is left behind each time adds up.
        threads, descriptors = zip(*counts, strict=True)
        assert threads[-1] <= threads[0] + 1 and descriptors[-1] <= descriptors[0] + 1, counts


def test_a_slow_consumer_gets_fresh_frames(server: RtspServer, by_the_clock: ByTheClock) -> None:
    server.start()
    ages = []
    with NetworkSource(server.url()) as source:
        for frame in source:
            ages.append(clock_age_ms(frame.image))
            if len(ages) == 8:
                break
            time.sleep(0.3)
    with by_the_clock:
        assert max(ages) < FRESH_MS
        assert source.dropped >= 20


def test_gives_up_when_the_retries_are_used_up(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"rtsp://anna:Geheim@127.0.0.1:{port}/live"
    with (
        NetworkSource(url, max_retries=2, on_state=watch.on_state) as source,
        pytest.raises(SourceError, match="127.0.0.1:.*: Connection refused .gave up after 2 retries") as caught,
    ):
        next(iter(source))
    assert "Geheim" not in all_text(caught.value, watch)


def test_an_unknown_host_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with NetworkSource("rtsp://camera.invalid/live") as source, pytest.raises(SourceError, match="host is unknown"):
        next(iter(source))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:{port}/cam", ["-f", "mpjpeg"]),
        ("rtmp://127.0.0.1:{port}/live/Geheim", ["-c:v", "libx264", "-tune", "zerolatency", "-g", "10", "-f", "flv"]),
    ],
    ids=["http", "rtmp"],
)
def test_other_protocols(url: str, words: list[str], watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = url.format(port=taken.getsockname()[1])
    picture = ["-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30"]
    with subprocess.Popen(
        ["ffmpeg", "-v", "error", *picture, *words, "-listen", "1", url], stdin=-3, stderr=-3
    ) as peer:
        try:
            with NetworkSource(url, on_state=watch.on_state) as source:
                frames = iter(source)
                assert [next(frames).index for _ in range(10)] == list(range(10))
        finally:
            peer.kill()
    assert watch.kinds == ["connecting", "live"]
    assert not any("Geheim" in state.detail for state in watch.states)


def test_a_recording_on_a_web_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mkv").write_bytes((Path(__file__).parent.parent / "samples" / "signing.mkv").read_bytes())
    (tmp_path / "page.html").write_text("<html>Hello</html>")
    server = Server(tmp_path)
    try:
        for name, why in (("clip.mkv", "is a recording"), ("page.html", "is no live video")):
            with NetworkSource(server.url(name)) as source, pytest.raises(SourceError, match=why):
                next(iter(source))
    finally:
        server.close()


def test_a_protocol_that_is_not_built_in_is_named() -> None:
    with NetworkSource("srt://127.0.0.1:1", max_retries=0) as source, pytest.raises(SourceError) as caught:
        next(iter(source))
    # A PyAV that was built with SRT tries; see test_sources_srt.py for what is done without.
    assert "cannot read srt; send the stream as RTSP" in str(caught.value) or "gave up" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "rtsp:", "ftp://host/x", "rtsp:///path", "rtsp://Geheim@h ost/", "rtsp://h:99999/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        NetworkSource(url)
    assert "Geheim" not in all_text(caught.value, Watch())
