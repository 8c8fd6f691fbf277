"""A child process that takes pictures and sound, and can be killed.

Native code that talks to a network, a disk or a display may block for ever, some of it while it holds the interpreter
lock. In a child it holds nothing but itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import IO, cast

import deepprivacy_rt
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.sound import Samples
from deepprivacy_rt.types import Image

_QUEUE = 2
_SOUNDS = 256  # pieces; for as long as it takes to notice that the child hangs
_START_UP = 30.0  # seconds: a cold disk and a busy machine, before any connection is tried
_FINISH = 1.0  # seconds for the rest of the pictures and the trailer
_REAP = 0.2


class Child:
    """Runs a module of this package as a process; the newest pictures win where it is too slow.

    No method blocks longer than it says. Threads end with the process.
    """

    def __init__(
        self,
        module: str,
        settings: Mapping[str, object],
        on_event: Callable[[str, str], None] = lambda name, detail: None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        """
        :param module: name of the module, which calls :class:`wire.ChildSide`.
        :param settings: goes to it as JSON over the pipe.
        :param on_event: is called with every event but DONE, on a thread of this object's own.
        :param hidden: environment variables that the child does not get.
        :raises OSError: no process can be started.
        """
        self._on_event = on_event
        self._queue: deque[wire.PictureItem] = deque(maxlen=_QUEUE)
        self._sounds: deque[wire.SoundItem] = deque(maxlen=_SOUNDS)
        self._changed = threading.Condition()
        self._closing = False
        self._ready = False
        self._ended = False
        self._outstanding = 0
        self._progress = time.monotonic()
        self._last_words = ""
        self.dropped = 0
        self.failure: tuple[str, str] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=_environment(hidden),
            start_new_session=True,  # signals of the terminal are for the parent, which winds the child up in order
        )
        line = json.dumps(dict(settings)).encode() + b"\n"
        for job in (lambda: self._feed(line), self._listen):
            threading.Thread(target=job, name=f"{module.rpartition('.')[2]} pipe", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def send(self, image: Image, pts: Fraction, *, silent: bool = True) -> None:
        """Queue (h, w, 3) uint8 contiguous RGB, which nobody changes any more, with a time in seconds. Never blocks."""
        with self._changed:
            self.dropped += len(self._queue) == _QUEUE
            self._queue.append(wire.PictureItem(image, round(pts * 1_000_000), silent))
            self._changed.notify_all()

    def send_sound(self, samples: Samples, seconds: float) -> None:
        """Queue (n, 2) int16 contiguous, of a time in seconds; goes before all pictures. Never blocks."""
        with self._changed:
            self._sounds.append(wire.SoundItem(samples, round(seconds * 1_000_000)))
            self._changed.notify_all()

    def forget_sound(self) -> None:
        """Drop all sound that has not been handed over yet."""
        with self._changed:
            self._sounds.clear()

    def stalled(self, patience: float) -> bool:
        """Tell whether the child has had something to do for so many seconds without getting on."""
        with self._changed:
            waited = time.monotonic() - self._progress
            return waited > patience if self._ready and self._outstanding else not self._ready and waited > _START_UP

    def wait_for(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until an event, or the end of the child, makes ``done`` true; returns whether it did."""
        with self._changed:
            return self._changed.wait_for(lambda: done() or self._ended, seconds) and done()

    def close(self, *, at_once: bool = False) -> None:
        """Let the child finish what it has, for a second at most, or kill it at once. Takes 1.4 s at most."""
        with self._changed:
            self._closing = True
            if at_once:
                self._queue.clear()
                self._sounds.clear()
            self._changed.notify_all()
            if not at_once:
                self._changed.wait_for(lambda: self._ended, _FINISH)
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel; the threads here are daemons
            self._process.wait(_REAP)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, _REAP)

    def _feed(self, line: bytes) -> None:
        """Write settings and items; runs on a thread, since a pipe to a child that hangs is full for ever."""
        pipe = self._process.stdin
        assert pipe is not None
        _widen(pipe)
        try:
            _write(pipe, line)
            while (item := self._next()) is not None:
                _write(pipe, wire.header(item))
                _write(pipe, item[0].data.cast("B"))
        except (OSError, ValueError):
            pass  # the child is gone; the listening thread says why
        finally:
            with contextlib.suppress(OSError):
                pipe.close()

    def _next(self) -> wire.Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._sounds or self._closing or self._ended)
            if self._ended or not (self._queue or self._sounds):
                return None
            if self._sounds:
                return self._sounds.popleft()
            if not self._outstanding and self._ready:
                self._progress = time.monotonic()
            self._outstanding += 1
            return self._queue.popleft()

    def _listen(self) -> None:
        """Read events until the child is gone; runs on a thread."""
        pipe = self._process.stdout
        assert pipe is not None
        with io.BufferedReader(cast(io.FileIO, pipe)) as lines:
            for line in lines:
                self._take(line)
        code = self._process.wait()
        with self._changed:
            if self.failure is None and not (code == 0 and self._closing):
                why = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
                words = f": {self._last_words}" if self._last_words else ""
                self.failure = (wire.FAILED, f"the process {why}{words}")
            self._ended = True
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        happened = wire.event(line)
        if happened is None:
            words = line.decode("utf-8", "replace").strip()
            self._last_words = words or self._last_words
            return
        name, detail = happened
        if name != wire.DONE:
            self._on_event(name, detail)
        with self._changed:
            self._progress = time.monotonic()
            self._ready = True
            self._outstanding -= name == wire.DONE
            if name in (wire.FAILED, wire.IMPOSSIBLE):
                self.failure = happened
            self._changed.notify_all()


def _environment(hidden: tuple[str, ...]) -> dict[str, str]:
    """Let the child import the very package that runs, and nothing that lies in the current folder."""
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"PYTHONSAFEPATH": "1"}
    root = str(Path(_file_of(deepprivacy_rt)).parents[1])
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return environment  # found anyhow, and must not come before the standard library
    paths = [root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)}


def _file_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return module.__file__


def _widen(pipe: IO[bytes]) -> None:
    """Ask for a pipe of a megabyte (Linux), so that a picture takes few switches between the processes."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    except (ImportError, AttributeError, OSError):
        pass


def _write(pipe: IO[bytes], data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view.nbytes:
        view = view[pipe.write(view) :]
