"""Follows every frame from the source to the sink, and every face that was placed in it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from deepprivacy_rt.bench.crowd import PlacedFace, Scene
from deepprivacy_rt.pipeline import FrameReport
from deepprivacy_rt.types import Coverage, SafeFrame

_UNDER_WAY = 1024
"""More frames than are ever between source and sink."""
_LATENCIES = 100_000


class Watcher:
    """Counts from the end of the warm-up to the end of the run, both at a written frame. Safe between threads.

    :param streams: number of streams that play the scene at the same time; each tells by its :class:`StreamWatcher`.
    :param warm_up: seconds, and :param warm_frames: written frames of every stream, that both come before the run.
    :param seconds: length of the run, at least; it ends with the next written frame.
    :param on_begin: called once when the run begins; :param on_end: once when it has ended.

    :ivar counts: ``frames`` (written), ``covered`` (placed faces under a cover in written frames), ``reported``
        (frames), ``generated``, ``filled``, ``extra`` (faces by report), ``withheld`` (frames), ``problems`` (frames).
    :ivar frames_of: written frames by stream.
    :ivar latencies: seconds from source to sink.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        streams: int = 1,
        warm_up: float,
        warm_frames: int,
        seconds: float,
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._scene = scene
        self._warm_up, self._warm_frames, self._seconds = warm_up, warm_frames, seconds
        self._on_begin, self._on_end = on_begin, on_end
        self._lock = threading.RLock()
        self._sent: list[dict[Fraction, tuple[int, float]]] = [{} for _ in range(streams)]
        self._first: float | None = None
        self._seen = [0] * streams
        self._running = False
        self.progress = threading.Event()
        self.begin = self.end = 0.0
        self.counts: Counter[str] = Counter()
        self.frames_of = [0] * streams
        self.problem = ""
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)

    def of(self, stream: int) -> StreamWatcher:
        """Return what one stream tells, counted from 0."""
        return StreamWatcher(self, stream)

    def sent(self, stream: int, pts: Fraction, phase: int) -> None:
        """Note that the source of a stream hands out a frame. :param phase: its place in the scene."""
        with self._lock:
            sent = self._sent[stream]
            sent[pts] = phase, time.monotonic()
            if len(sent) > _UNDER_WAY:
                del sent[next(iter(sent))]

    def reported(self, stream: int, report: FrameReport) -> None:
        """Note what the pipeline of a stream says that it did."""
        with self._lock:
            sent = self._sent[stream].get(report.pts)
            if report.problems:
                self.problem = report.problems[0]
            if not self._running:
                return
            self.counts["reported"] += 1
            self.counts["withheld"] += report.withheld
            self.counts["problems"] += bool(report.problems)
            placed = self._placed(sent[0]) if sent else ()
            self.counts.update(_classify(report, placed))

    def written(self, stream: int, frame: SafeFrame, pts: Fraction) -> None:
        """Note that the sink of a stream has taken a frame. :param pts: the time stamp that the source gave to it."""
        now = time.monotonic()
        with self._lock:
            self.progress.set()
            sent = self._sent[stream].get(pts)
            if self._running and sent is not None:
                self.counts["frames"] += 1
                self.frames_of[stream] += 1
                self.latencies.append(now - sent[1])
                self.counts["covered"] += _covered(frame, self._placed(sent[0]) or ())
            self._seen[stream] += 1
            self._advance(now)

    def _placed(self, phase: int) -> tuple[PlacedFace, ...] | None:
        return None if self._scene.faces is None else self._scene.faces[phase]

    def _advance(self, now: float) -> None:
        """Begin or end the run where it is time to."""
        if self._first is None:
            self._first = now
        if self._running and now - self.begin >= self._seconds:
            self._running, self.end = False, now
            self._on_end()
        elif not self.begin and min(self._seen) >= self._warm_frames and now - self._first >= self._warm_up:
            self._on_begin()
            self._running, self.begin = True, time.monotonic()


class StreamWatcher:
    """One stream's side of a :class:`Watcher`."""

    def __init__(self, watcher: Watcher, stream: int) -> None:
        self._watcher, self._stream = watcher, stream

    def sent(self, pts: Fraction, phase: int) -> None:
        """See :meth:`Watcher.sent`."""
        self._watcher.sent(self._stream, pts, phase)

    def reported(self, report: FrameReport) -> None:
        """See :meth:`Watcher.reported`."""
        self._watcher.reported(self._stream, report)

    def written(self, frame: SafeFrame, pts: Fraction) -> None:
        """See :meth:`Watcher.written`."""
        self._watcher.written(self._stream, frame, pts)


def _classify(report: FrameReport, placed: tuple[PlacedFace, ...] | None) -> dict[str, int]:
    """Count the faces of a report. Each placed face counts once; what lies on none is ``extra``."""
    found = Counter[str]()
    left = None if placed is None else list(placed)
    # Generated faces first: a fill on the same face must not take its place.
    for face in sorted(report.faces, key=lambda one: one.coverage is not Coverage.GENERATED):
        if face.coverage is Coverage.WITHHELD:
            continue
        kind = "generated" if face.coverage is Coverage.GENERATED else "filled"
        if left is not None:
            x, y = face.box.center
            hit = next((one for one in left if _holds(one, x, y)), None)
            if hit is None:
                kind = "extra"
            else:
                left.remove(hit)
        found[kind] += 1
    return found


def _holds(face: PlacedFace, x: float, y: float) -> bool:
    return face.box.x0 <= x <= face.box.x1 and face.box.y0 <= y <= face.box.y1


def _covered(frame: SafeFrame, placed: tuple[PlacedFace, ...]) -> int:
    """Count the placed faces whose five points all lie under a cover. A withheld frame covers no face: it has none."""
    if not placed or frame.cover[::16, ::16].all():
        return 0
    height, width = frame.cover.shape
    number = 0
    for face in placed:
        columns, rows = np.rint(face.points).astype(int).T
        number += bool(frame.cover[rows.clip(0, height - 1), columns.clip(0, width - 1)].all())
    return number
