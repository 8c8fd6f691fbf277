"""Sources that play a prepared scene, and sinks that tell the watcher what arrives."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from deepprivacy_rt.bench.crowd import Scene
from deepprivacy_rt.bench.watching import StreamWatcher
from deepprivacy_rt.pipeline import FrameReport
from deepprivacy_rt.stages import Sink
from deepprivacy_rt.types import Frame, Image, SafeFrame

_BETWEEN = 8
"""More safe frames than lie between the engine and its sink."""


class EndlessSource:
    """Plays a scene again and again, as fast as it is asked to. Nothing is decoded.

    :param begin: the part of the scene that comes before the first frame, 0 to 1.
    """

    def __init__(self, scene: Scene, rate: Fraction, watcher: StreamWatcher, begin: float = 0.0) -> None:
        self._scene, self._rate, self._watcher = scene, rate, watcher
        self._first = int(begin * len(scene.images))

    def __enter__(self) -> EndlessSource:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            phase = (self._first + index) % len(self._scene.images)
            pts = index / self._rate
            self._watcher.sent(pts, phase)
            yield Frame(self._scene.images[phase], index, pts)
            index += 1


class PacedSource:
    """Plays a scene as a camera would: a frame when it is due, whether anybody is ready or not.

    :param begin: the part of the scene that comes before the first frame, and of a frame's time that passes before it,
        0 to 1: cameras do not keep step.
    :ivar missed: frames that were due while this thread got no turn: a camera would have lost them.
    """

    def __init__(self, scene: Scene, rate: float, watcher: StreamWatcher, begin: float = 0.0) -> None:
        self._scene, self._rate, self._watcher = scene, rate, watcher
        self._begin = begin
        self._closing = threading.Event()
        self.missed = 0

    def __enter__(self) -> PacedSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration at the next frame."""
        self._closing.set()

    def __iter__(self) -> Iterator[Frame]:
        first, number = int(self._begin * len(self._scene.images)), 0
        start = time.monotonic() + self._begin / self._rate
        while not self._closing.wait(max(0.0, start + number / self._rate - time.monotonic())):
            late = int((time.monotonic() - start) * self._rate) - number
            if late > 0:
                self.missed += late
                number += late
            pts = Fraction(time.monotonic_ns(), 10**9)
            phase = (first + number) % len(self._scene.images)
            self._watcher.sent(pts, phase)
            yield Frame(self._scene.images[phase], number, pts)
            number += 1


class WatchedSink:
    """Passes frames on, then tells the watcher."""

    def __init__(self, inner: Sink, watcher: StreamWatcher) -> None:
        self._inner, self._watcher = inner, watcher

    def __enter__(self) -> WatchedSink:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*exc)

    def write(self, frame: SafeFrame) -> None:
        """Take the next frame. Raises SinkError."""
        self._inner.write(frame)
        self._watcher.written(frame, frame.pts)


class LiveSink:
    """The end of a live run: forgets pictures. Tells new frames from repeated ones and slates, which are not counted.

    A presenter may move time stamps, so a frame is known by its picture.
    """

    def __init__(self, watcher: StreamWatcher) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._expected: deque[tuple[Image, Fraction]] = deque(maxlen=_BETWEEN)

    def __enter__(self) -> LiveSink:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def expect(self, safe: SafeFrame, report: FrameReport) -> None:
        """Note a safe frame that the engine is about to show."""
        self._watcher.reported(report)
        with self._lock:
            self._expected.append((safe.image, report.pts))

    def write(self, frame: SafeFrame) -> None:
        """Take the next picture."""
        with self._lock:
            entry = next((one for one in self._expected if one[0] is frame.image), None)
            if entry is None:
                return
            while self._expected.popleft() is not entry:
                pass
        self._watcher.written(frame, entry[1])
