"""Streams, to real servers that are killed, frozen and started again."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from live_pictures import Player, colour_error, number, picture, safe
from rtmp_server import KEY, RtmpServer, free_port
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.stream import HlsSettings, HlsSink, StreamSettings, StreamSink
from deepprivacy_rt.sinks.stream_child import _bound_send_buffers
from deepprivacy_rt.types import Image


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtmpServer]:
    server = RtmpServer(tmp_path_factory.mktemp("rtmp"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtmpServer]:
    server = RtmpServer(tmp_path / "rtmp")
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPPRIVACY_STREAM_KEY", KEY)


def settings(server: RtmpServer, patience: float = 5.0) -> StreamSettings:
    return StreamSettings(server.url, append_key=True, picture=LivePicture(patience=patience))


def until_sent(player: Player, sink: StreamSink | HlsSink, count: int) -> None:
    """Wait until so many pictures were not only written, but taken by the encoder."""
    until(lambda: player.written - sink.dropped >= count or not player.is_alive(), 100, lambda: player.written)


def read(url: str, count: int, **options: str) -> list[tuple[float, Image]]:
    """Decode so many pictures with their times in seconds."""
    with av.open(url, options=options, timeout=(60.0, 60.0)) as source:
        assert source.streams.video, "no picture came in time"
        found = []
        for frame in source.decode(video=0):
            found.append((frame.time, frame.to_ndarray(format="rgb24")))
            if len(found) == count:
                break
        return found


def command_lines() -> str:
    """Return those of what this process has started: other tests may name a key on theirs."""
    lines = []
    for process in psutil.Process().children(recursive=True):
        try:
            lines += process.cmdline()
        except psutil.Error:
            continue
    return "\n".join(lines)


def test_pictures_arrive_in_content_order_and_rate(shared_server: RtmpServer, by_the_clock: ByTheClock) -> None:
    sink = StreamSink(settings(shared_server))
    player = Player(sink)
    player.start()
    player.until_open()
    found = read(f"{shared_server.url}/{KEY}", 45)
    started = command_lines()
    assert "stream_child" in started and KEY not in started
    assert sink.pid is not None and KEY not in psutil.Process(sink.pid).environ().values()
    player.finish()
    assert max(colour_error(image) for _, image in found) < 6
    numbers = [number(image) for _, image in found]
    assert numbers == sorted(set(numbers))
    # The picture that carries number n was made at n / 30 s.
    spans = [(b[0] - a[0], (n - m) / 30) for a, b, m, n in zip(found, found[1:], numbers, numbers[1:], strict=False)]
    with by_the_clock:
        assert sum(s for s, _ in spans) == pytest.approx(sum(s for _, s in spans), abs=0.05)
        assert player.longest < 1.0 and player.exit_took < 1.5


def test_a_silent_sound_track_goes_along(shared_server: RtmpServer, by_the_clock: ByTheClock) -> None:
    sink = StreamSink(settings(shared_server))
    player = Player(sink)
    player.start()
    player.until_open()
    with av.open(f"{shared_server.url}/{KEY}", timeout=(60.0, 60.0)) as source:
        assert [stream.codec_context.name for stream in source.streams.audio] == ["aac"]
        times = {"audio": 0.0, "video": 0.0}
        for packet in source.demux():
            times[packet.stream.type] = float(packet.pts * packet.time_base)
            if min(times.values()) > 1.0 and packet.stream.type == "video":
                break
    player.finish()
    with by_the_clock:
        assert abs(times["audio"] - times["video"]) < 0.1


def test_wrong_key_is_one_line_that_names_the_cure_and_not_the_key(
    shared_server: RtmpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPPRIVACY_STREAM_KEY", "falscher_schluessel")
    player = Player(StreamSink(settings(shared_server)))
    player.start()
    message = player.wait_for_error(60)
    assert "schluessel" not in message and "\n" not in message
    assert message.startswith(f"rtmp://127.0.0.1:{shared_server.port}/app/…: ")
    assert "check address, network, and stream key" in message


def test_frozen_server_is_given_up_and_holds_no_other_thread(server: RtmpServer, by_the_clock: ByTheClock) -> None:
    # Fills the buffers of both kernels as a real stream does: 1.6 MB were seen to go in there.
    noise = [np.random.default_rng(index).integers(0, 255, (240, 320, 3), dtype=np.uint8) for index in range(8)]
    picture = LivePicture(patience=2.0, bitrate=4_000_000)
    sink = StreamSink(StreamSettings(server.url, append_key=True, picture=picture))
    player = Player(sink, make=lambda index: noise[index % 8])
    player.start()
    player.until_open()
    pid = sink.pid
    time.sleep(0.5)
    server.freeze()
    frozen = time.monotonic()
    longest_pause = pause_of_a_counter(player)
    took = time.monotonic() - frozen
    message = player.wait_for_error(60)
    server.thaw()
    assert "nothing has moved for 2 s" in message and KEY not in message
    assert pid is not None and not psutil.pid_exists(pid)
    with by_the_clock:
        assert took < 25  # 5 to 6 s where the encoder keeps up
        assert longest_pause < 1.0  # an interpreter lock held by FFmpeg would stop the counter for seconds
        assert player.longest < 1.5 and player.exit_took < 1.5


def test_the_kernel_keeps_no_seconds_of_video() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        before = client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        _bound_send_buffers(100_000)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 200_000 < before


def pause_of_a_counter(player: Player) -> float:
    """Count on this thread until the player has ended; return the longest time between two counts."""
    longest, last = 0.0, time.monotonic()
    until = last + 120
    while player.is_alive() and last < until:
        time.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


def test_server_that_never_answers_is_given_up(server: RtmpServer, by_the_clock: ByTheClock) -> None:
    server.freeze()  # the kernel still accepts connections
    player = Player(StreamSink(settings(server, patience=1.0)))
    player.start()
    longest_pause = pause_of_a_counter(player)
    message = player.wait_for_error(60)
    server.thaw()
    assert "nothing has moved for 1 s" in message
    with by_the_clock:
        assert longest_pause < 1.0


def test_killed_server_ends_the_sink_and_a_new_one_connects_again(server: RtmpServer, by_the_clock: ByTheClock) -> None:
    sink = StreamSink(settings(server))
    player = Player(sink)
    player.start()
    player.until_open()
    server.kill()
    message = player.wait_for_error(60)
    assert "the connection was lost" in message and KEY not in message

    refused = Player(StreamSink(settings(server)))
    refused.start()
    assert "Connection refused" in refused.wait_for_error(60)

    server.start()
    sink = StreamSink(settings(server))
    player = Player(sink)
    player.start()
    player.until_open()
    with by_the_clock:
        assert max(colour_error(image) for _, image in read(f"{server.url}/{KEY}", 5)) < 6
    player.finish()


def test_no_child_and_no_thread_is_left(shared_server: RtmpServer) -> None:
    threads = threading.active_count()
    sink = StreamSink(settings(shared_server))
    with sink:
        pid = sink.pid
        sink.write(safe(picture(0), 0))
        assert sink.wait_until_open(20)
    assert pid is not None and not psutil.pid_exists(pid)
    until(lambda: threading.active_count() <= threads, 20, threading.enumerate)


def test_child_that_is_killed_is_a_sink_error(shared_server: RtmpServer) -> None:
    sink = StreamSink(settings(shared_server))
    player = Player(sink)
    player.start()
    player.until_open()
    assert sink.pid is not None
    psutil.Process(sink.pid).kill()
    assert "ended by signal 9" in player.wait_for_error(60)


def test_frames_of_another_size_are_letterboxed(shared_server: RtmpServer) -> None:
    def turning(index: int) -> Image:
        return picture(index) if index < 20 else picture(index, (240, 320))

    sink = StreamSink(settings(shared_server))
    player = Player(sink, make=turning)
    player.start()
    player.until_open()
    found = read(f"{shared_server.url}/{KEY}", 40)
    player.finish()
    last = found[-1][1]
    assert last.shape == (240, 320, 3)
    assert last[:, :60].max() < 20 and last[:, -60:].max() < 20 and last[30:60, 100:140].max() > 100


class TlsServer(threading.Thread):
    """Says who it is with a certificate that it has made itself, and keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.certificate = folder / "certificate.pem"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", self.certificate]
        subprocess.run([*request, *files], check=True, capture_output=True, timeout=30)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, folder / "key.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.told = b""

    def run(self) -> None:
        while True:
            plain, _ = self._listener.accept()
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                self.told += connection.recv(1 << 16)


@pytest.mark.parametrize("trusted", [False, True])
def test_rtmps_trusts_no_server_that_cannot_prove_its_name(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    server = TlsServer(tmp_path)
    server.start()
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    player = Player(StreamSink(StreamSettings(f"rtmps://localhost:{server.port}/app", append_key=True)))
    player.start()
    message = player.wait_for_error(60)
    assert ("certificate is not valid: self-signed certificate" in message) is not trusted
    assert bool(server.told) is trusted


def test_rtsp_push(tmp_path: Path) -> None:
    port = free_port()
    out = tmp_path / "got.mkv"
    listener = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-rtsp_flags", "listen", "-i", f"rtsp://127.0.0.1:{port}/x", "-c", "copy", str(out)],
        stdin=subprocess.PIPE,
    )
    try:
        for _ in range(100):
            if any(c.laddr.port == port for c in psutil.Process(listener.pid).net_connections()):
                break
            time.sleep(0.05)
        url = f"rtsp://anna:passwort@127.0.0.1:{port}/x"
        sink = StreamSink(StreamSettings(url))
        player = Player(sink)
        player.start()
        player.until_open()
        assert "passwort" not in command_lines()
        until_sent(player, sink, 40)
        player.finish()
        listener.wait(60)
    finally:
        listener.kill()
        listener.wait()
    found = read(str(out), 1000)
    assert len(found) > 30
    assert max(colour_error(image) for _, image in found) < 6


def test_hls_folder_plays(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    folder = tmp_path / "50%d live"
    (folder).mkdir()
    (folder / "deepprivacy-7.ts").write_bytes(b"of an earlier stream")
    (folder / "index.html").write_text("mine")
    sink = HlsSink(HlsSettings(folder))
    player = Player(sink)
    player.start()
    player.until_open()
    until_sent(player, sink, 84)
    player.finish()
    names = {path.name for path in folder.iterdir()}
    assert {"index.html", "stream.m3u8"} < names and "deepprivacy-7.ts" not in names
    assert len([name for name in names if name.endswith(".ts")]) >= 2
    found = read(str(folder / "stream.m3u8"), 1000)
    numbers = [number(image) for _, image in found]
    assert numbers and numbers == sorted(set(numbers))
    assert max(colour_error(image) for _, image in found) < 6
    with by_the_clock:
        assert len(numbers) > 60  # the playlist goes by time, and keeps fewer of a slow encoder's pictures
        assert numbers[-1] == player.written - 1  # a stream is given a second to send what is left


def test_hls_leaves_files_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "stream.m3u8").write_text("#EXTM3U\nmine.ts\n")
    with pytest.raises(SinkError, match="belongs to another program"):
        HlsSink(HlsSettings(tmp_path)).__enter__()


def test_child_without_a_parent_ends_even_if_the_server_hangs(server: RtmpServer) -> None:
    server.freeze()
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path[:0] = sys.argv[2:]; from live_pictures import Player; "
            "from deepprivacy_rt.sinks.live_encoding import LivePicture; "
            "from deepprivacy_rt.sinks.stream import StreamSettings, StreamSink; "
            "settings = StreamSettings(sys.argv[1], picture=LivePicture(patience=2.0)); "
            "p = Player(StreamSink(settings)); p.start(); p.join()",
            f"{server.url}/x",
            *filter(None, sys.path),
        ]
    )
    children: list[psutil.Process] = []
    try:
        until(lambda: any(child.net_connections() for child in psutil.Process(program.pid).children()))
        children = psutil.Process(program.pid).children()
    finally:
        program.kill()
        program.wait()
    assert len(children) == 1
    gone, _ = psutil.wait_procs(children, timeout=30)
    server.thaw()
    assert gone == children


def test_only_safe_frames_are_taken(shared_server: RtmpServer) -> None:
    with StreamSink(settings(shared_server)) as sink, pytest.raises(TypeError, match="SafeFrame"):
        sink.write(picture(0))  # type: ignore[arg-type]


def test_missing_key_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEEPPRIVACY_STREAM_KEY")
    with pytest.raises(UsageError, match="DEEPPRIVACY_STREAM_KEY"):
        StreamSink(StreamSettings("rtmp://127.0.0.1/app", append_key=True)).__enter__()
    file = tmp_path / "key"
    file.write_text("zwei worte\n")
    with pytest.raises(UsageError) as problem:
        StreamSink(StreamSettings("rtmp://127.0.0.1/app", append_key=True, key_file=file)).__enter__()
    assert "worte" not in str(problem.value)


def test_settings_do_not_show_secrets() -> None:
    assert "geheim" not in repr(StreamSettings("rtsp://anna:geheim@127.0.0.1/x"))
