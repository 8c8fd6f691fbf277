"""What a live run counts: frames, drops per stage, latency, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_WINDOW_SECONDS = 5.0
_LATENCIES = 600
_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """One sink.

    :ivar state: ``opening``, ``live`` or ``lost``.
    :ivar detail: why, one line; empty when all is well.
    :ivar written: frames of the source written so far.
    :ivar repeated: earlier safe frames shown again, because no new one came.
    :ivar slates: slates shown.
    :ivar dropped: safe frames that came faster than the sink took them.
    :ivar fps: frames of the source written per second, over the last seconds.
    :ivar latency_ms: capture to written, median and 95th percentile of the last frames; None before the first.
    :ivar sound_seconds: sound of the source written so far, silence not counted.
    """

    name: str
    state: str
    detail: str
    written: int
    repeated: int
    slates: int
    dropped: int
    fps: float
    latency_ms: tuple[float, float] | None
    sound_seconds: float


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """A live run at one moment.

    :ivar source: ``connecting``, ``live``, ``lost`` or ``ended``, and why.
    :ivar captured: frames that came from the source.
    :ivar dropped: frames lost before they were looked at, since newer ones had come.
    :ivar processed: frames that became safe frames.
    :ivar withheld: how many of those show nothing of the picture.
    :ivar faces: faces covered in the newest frame.
    :ivar effort: what the detector does at present.
    :ivar panic: whether the slate was asked for.
    :ivar problems: the last ones, one line each.
    :ivar stage_seconds: CPU seconds by stage so far.
    """

    seconds: float
    source: str
    captured: int
    dropped: int
    processed: int
    withheld: int
    faces: int
    effort: str
    panic: bool
    outputs: tuple[OutputStatus, ...]
    problems: tuple[str, ...]
    stage_seconds: Mapping[str, float]


class Counts:
    """Counters of one run that several threads add to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._values: Counter[str] = Counter()
        self._problems: deque[str] = deque(maxlen=_PROBLEMS)
        self._clock = clock
        self.begin = clock()

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        with self._lock:
            self._values[name] += number

    def set(self, name: str, number: int) -> None:
        """Replace a value."""
        with self._lock:
            self._values[name] = number

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._values[name]

    def problem(self, line: str) -> None:
        """Note what went wrong; the same line twice in a row counts once."""
        with self._lock:
            self._values["problems"] += 1
            if not self._problems or self._problems[-1] != line:
                self._problems.append(line)

    @property
    def problems(self) -> tuple[str, ...]:
        """The last problems, oldest first."""
        with self._lock:
            return tuple(self._problems)

    @property
    def seconds(self) -> float:
        """Time since the begin."""
        return self._clock() - self.begin


class Meter:
    """Rate and latency of one output over the last seconds. Used by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: deque[float] = deque(maxlen=_LATENCIES)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def add(self, now: float, latency: float) -> None:
        """Note a frame. :param now: seconds. :param latency: seconds since its capture."""
        with self._lock:
            self._moments.append(now)
            self._latencies.append(latency)

    def fps(self, now: float) -> float:
        """Frames per second over the last five seconds."""
        with self._lock:
            recent = [moment for moment in self._moments if now - moment <= _WINDOW_SECONDS]
        return len(recent) / _WINDOW_SECONDS if len(recent) < 2 else (len(recent) - 1) / max(now - recent[0], 1e-6)

    def latency_ms(self) -> tuple[float, float] | None:
        """Median and 95th percentile."""
        with self._lock:
            values = np.array(self._latencies)
        if not len(values):
            return None
        p50, p95 = np.percentile(values, [50, 95]) * 1e3
        return round(float(p50), 1), round(float(p95), 1)
