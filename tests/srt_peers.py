"""Real SRT peers on 127.0.0.1: FFmpeg sends pictures with a clock in them, srt-live-transmit records."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from live_pictures import number, picture
from waiting import until

from deepprivacy_rt.media.srt_address import SrtAddress
from deepprivacy_rt.types import Image

PASSPHRASE, ESCAPED = "sehr+geheim/lang", "sehr%2Bgeheim%2Flang"
"""srt-live-transmit takes it as it is, without escapes."""
FFMPEG_PASSPHRASE = "sehr geheim und lang"
_NUMBERS = 4096


def need_srt() -> None:
    """Skip the test where the peers are missing."""
    if shutil.which("srt-live-transmit") is None:
        pytest.skip("no SRT peer: apt-get install srt-tools")
    protocols = subprocess.run(["ffmpeg", "-v", "error", "-protocols"], capture_output=True, text=True).stdout
    if "srt" not in protocols.split():
        pytest.skip("this FFmpeg was built without SRT")


def free_udp_port() -> int:
    """Return a UDP port that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Peer:
    """A process that can be frozen and killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def signal(self, number: int) -> None:
        assert self._process is not None and self._process.poll() is None
        os.kill(self._process.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End at once, without a word to the other side. May be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Sender(_Peer):
    """FFmpeg sends :func:`live_pictures.picture`, 30 per second; the number is ``time.monotonic()`` in thirtieths."""

    def start(self, address: SrtAddress, size: tuple[int, int] = (320, 240)) -> None:
        """Begin to send; as a listener, once somebody is there."""
        clock = ["-use_wallclock_as_timestamps", "1"]  # a busy machine feeds fewer than 30
        form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-framerate", "30", "-s", f"{size[0]}x{size[1]}", "-i", "-"]
        coder = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-threads", "1"]
        quick = ["-flags", "+low_delay", "-probesize", "32", "-fflags", "nobuffer"]
        coder += ["-fps_mode", "passthrough", "-enc_time_base", "1:90000"]
        out = ["-f", "mpegts", "-flush_packets", "1", address.for_ffmpeg(listen_s=60)]
        command = ["ffmpeg", "-v", "error", *quick, *clock, *form, *coder, *out]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._feed, args=(self._process, size), daemon=True).start()

    @staticmethod
    def _feed(process: subprocess.Popen[bytes], size: tuple[int, int]) -> None:
        assert process.stdin is not None
        try:
            while process.poll() is None:
                process.stdin.write(picture(_now(), size).tobytes())
                time.sleep(max(0.0, 1 / 30 - time.monotonic() % (1 / 30)))
        except OSError:
            pass


def _now() -> int:
    return int(time.monotonic() * 30) % _NUMBERS


def age_s(image: Image) -> float:
    """Return how old a picture of :class:`Sender` is."""
    return (_now() - number(image)) % _NUMBERS / 30


class Recorder(_Peer):
    """srt-live-transmit writes what comes to a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def start(self, port: int, *, listener: bool = True, passphrase: str = "", lax: bool = False) -> None:
        """Listen, or call. :param lax: put up with a passphrase that differs."""
        mode, secret = "listener" if listener else "caller", f"&passphrase={passphrase}" if passphrase else ""
        url = f"srt://127.0.0.1:{port}?latency=400&mode={mode}{secret}{'&enforcedencryption=0' if lax else ''}"
        with self.file.open("wb") as file:
            command = ["srt-live-transmit", "-q", "-a", "yes", "-loglevel", "fatal", url, "file://con"]
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """End in order: what it holds back is written."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)
        self._process = None

    def until_bytes(self, count: int, seconds: float = 60) -> None:
        """Wait until so much more was recorded."""
        wanted = self.file.stat().st_size + count
        until(
            lambda: self.file.stat().st_size >= wanted,
            seconds,
            lambda: f"{self.file.stat().st_size} of {wanted} bytes came",
        )

    def images(self) -> list[tuple[float, Image]]:
        """Return times in seconds and pictures of what was recorded."""
        with av.open(str(self.file), format="mpegts") as file:
            return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]

    def sound_seconds(self) -> tuple[str, float]:
        """Return the codec of the recorded sound and how long it is."""
        with av.open(str(self.file), format="mpegts") as file:
            stream = file.streams.audio[0]
            samples = sum(frame.samples for frame in file.decode(stream))
            return stream.codec_context.name, samples / np.float64(stream.codec_context.sample_rate)


def sender() -> Iterator[Sender]:
    """Yield a sender that is not started yet, and kill it in the end."""
    need_srt()
    peer = Sender()
    try:
        yield peer
    finally:
        peer.kill()


def recorder(file: Path) -> Iterator[Recorder]:
    """Yield a recorder that is not started yet, and kill it in the end."""
    need_srt()
    peer = Recorder(file)
    try:
        yield peer
    finally:
        peer.kill()
