"""Real servers for live sources, on 127.0.0.1, and what tests read off their pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from waiting import WaitedInVain

from deepprivacy_rt.sources.live import LiveSource, SourceState
from deepprivacy_rt.types import Frame, Image

_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_PYTHON = "/usr/bin/python3"
_NEEDED = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("appsrc", "videoconvert", "x264enc", "rtph264pay")))
"""
BITS = 32
_PATIENCE = 5
"""Time-outs are meant for a machine that has time; others get so many times as much."""


def need_rtsp_server() -> None:
    """Skip the test where gst-rtsp-server is not installed."""
    if not Path(_PYTHON).exists() or subprocess.run([_PYTHON, "-c", _NEEDED], capture_output=True).returncode:
        pytest.skip("gst-rtsp-server is missing; run scripts/system_packages.sh test")


class RtspServer:
    """The server of ``rtsp_server.py`` as a process that can be killed, frozen and started again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [_PYTHON, str(_SCRIPT), "--port", str(self.port), *options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().split()
        assert ready[:1] == ["READY"], ready
        self.port = int(ready[1])

    def url(self, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/live"

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Watch:
    """Collects the states of a source and its frames, in a thread; the way an engine uses it."""

    def __init__(self) -> None:
        self.states: list[SourceState] = []
        self.frames = 0
        self.last: Frame | None = None
        self.age_ms: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._changed = threading.Condition()

    def on_state(self, state: SourceState) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()

    def consume(self, source: LiveSource) -> threading.Thread:
        thread = threading.Thread(target=self._consume, args=(source,), daemon=True)
        thread.start()
        return thread

    def _consume(self, source: LiveSource) -> None:
        try:
            for frame in source:
                with self._changed:
                    assert self.last is None or (frame.index == self.last.index + 1 and frame.pts > self.last.pts)
                    self.last = frame
                    self.frames += 1
                    self.age_ms.append(clock_age_ms(frame.image))
                    if self.sizes[-1:] != [frame.image.shape[1::-1]]:
                        self.sizes.append((frame.image.shape[1], frame.image.shape[0]))
                    self._changed.notify_all()
        except BaseException as error:
            self.error = error
        self.ended.set()

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait and return how long it took. Fails after ``seconds``, and some more for slow machines."""
        start = time.monotonic()
        with self._changed:
            met = self._changed.wait_for(lambda: condition() or self.error is not None, _PATIENCE * seconds)
        assert self.error is None, self.error
        if not met:
            raise WaitedInVain(f"not within {_PATIENCE * seconds} s: {self.states[-3:]}, {self.frames} frames")
        return time.monotonic() - start

    def until_frames(self, more: int, seconds: float) -> float:
        wanted = self.frames + more
        return self.until(lambda: self.frames >= wanted, seconds)

    def until_state(self, kind: str, seconds: float) -> float:
        return self.until(lambda: bool(self.states) and self.states[-1].kind == kind, seconds)

    @property
    def kinds(self) -> list[str]:
        """The kinds of all states, repetitions left out."""
        kinds = [state.kind for state in self.states]
        return [kind for number, kind in enumerate(kinds) if kinds[number - 1 : number] != [kind]]


def clock_age_ms(image: Image) -> int:
    """Return how old a picture of ``rtsp_server.py`` is, by the clock in its top rows."""
    middle = image.shape[1] // BITS * (2 * np.arange(BITS) + 1) // 2
    bits = image[8, middle, 1] > 128
    shown = int("".join("1" if bit else "0" for bit in bits), 2)
    return (int(time.monotonic() * 1000) - shown) % (1 << BITS)


def threads_and_descriptors() -> tuple[int, int]:
    process = psutil.Process()
    return process.num_threads(), process.num_fds()


def rtsp_server() -> Iterator[RtspServer]:
    """Yield a server that is not started yet, and kill it in the end."""
    need_rtsp_server()
    server = RtspServer()
    try:
        yield server
    finally:
        server.kill()
