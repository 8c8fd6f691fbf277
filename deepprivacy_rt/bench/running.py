"""Runs one cell: the shipped pipeline between a prepared source and a watched sink."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from deepprivacy_rt.bench.crowd import Scene
from deepprivacy_rt.bench.feeding import EndlessSource, LiveSink, PacedSource, WatchedSink
from deepprivacy_rt.bench.machine import MemoryPeaks
from deepprivacy_rt.bench.results import Cell, Drops, spread, stages_of_calls
from deepprivacy_rt.bench.watching import Watcher
from deepprivacy_rt.build import Anonymizer, make_sink
from deepprivacy_rt.build_live import stages_of
from deepprivacy_rt.config import LiveConfig, OutputConfig
from deepprivacy_rt.errors import StageError, Stopped
from deepprivacy_rt.pipeline import StageTimes
from deepprivacy_rt.pipeline.timing import Call
from deepprivacy_rt.realtime.engine import LiveEngine
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.presenter import Presenter, PresenterSettings
from deepprivacy_rt.sinks.null import NullSink
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.stages import Sink

KEPT_CALLS = 50_000
"""Of every stage, the last ones: percentiles need no more, and memory stays bounded."""
_PATIENCE_SECONDS = 60.0
_JOIN_SECONDS = 10.0
_FEW_FRAMES = 30
_ENOUGH = 0.98
"""Share of the placed faces below which a run is said to miss faces."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How cells are run.

    :ivar mode: ``live`` or ``file``.
    :ivar encoder: of file mode: ``x264`` or ``none``. :ivar preset: of x264.
    :ivar rate: frames per second: of the camera (live), or of the video that is written (file).
    :ivar seconds, warm_up: length of the run, and of the time before it that is not counted, in seconds.
    """

    mode: str
    encoder: str
    preset: str
    rate: float
    seconds: float
    warm_up: float


@dataclass(slots=True)
class _Snapshots:
    """What is read at both ends of the run."""

    times: StageTimes
    peaks: MemoryPeaks
    drops: Callable[[], Drops]
    stop: threading.Event
    cpu: float = 0.0
    ram_mib: float | None = None
    vram_mib: float | None = None
    drops_before: Drops = field(default_factory=Drops)
    drops_after: Drops = field(default_factory=Drops)
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def begin(self) -> None:
        self.peaks.reset()
        self.times.take_calls()
        self.drops_before = self.drops()
        self.cpu = time.process_time()

    def end(self) -> None:
        self.cpu = time.process_time() - self.cpu
        self.calls = self.times.take_calls()
        self.drops_after = self.drops()
        self.ram_mib, self.vram_mib = self.peaks.ram_mib(), self.peaks.vram_mib()
        self.stop.set()

    @property
    def dropped(self) -> Drops:
        before, after = self.drops_before, self.drops_after
        return Drops(after.source - before.source, after.engine - before.engine, after.output - before.output)


def run_cell(anonymizer: Anonymizer, scene: Scene, settings: Settings) -> Cell:
    """Warm up, run and measure. Raises what the pipeline raises, and StageError when no frames come any more."""
    times = StageTimes(keep=KEPT_CALLS)
    stop = threading.Event()
    peaks = MemoryPeaks(anonymizer.device)
    snapshots = _Snapshots(times, peaks, Drops, stop)
    watcher = Watcher(
        scene,
        warm_up=settings.warm_up,
        warm_frames=8,
        seconds=settings.seconds,
        on_begin=snapshots.begin,
        on_end=snapshots.end,
    )
    pace = None
    if settings.mode == "live":
        live = _Live(anonymizer, scene, settings, watcher, times)
        snapshots.drops = live.drops
        _drive(lambda: live.engine.run(stop), watcher, stop)
        pace = live.engine.status().effort
    else:
        _drive(lambda: _run_file(anonymizer, scene, settings, watcher, times, stop), watcher, stop)
    return _cell(anonymizer, scene, settings, watcher, snapshots, pace)


def _drive(work: Callable[[], object], watcher: Watcher, stop: threading.Event) -> None:
    """Do the work on a thread of its own and watch that frames are written. Interrupts end it."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # it belongs to the caller
            failures.append(error)

    thread = threading.Thread(target=guarded, name="bench", daemon=True)
    thread.start()
    last = time.monotonic()
    try:
        while thread.is_alive() and not stop.is_set():
            thread.join(0.05)
            if watcher.progress.is_set():
                watcher.progress.clear()
                last = time.monotonic()
            if time.monotonic() - last > _PATIENCE_SECONDS:
                cause = f": {watcher.problem}" if watcher.problem else ""
                raise StageError(f"no frame was written for {_PATIENCE_SECONDS:.0f} seconds{cause}")
    finally:
        stop.set()
        thread.join(_JOIN_SECONDS)
    if failures:
        raise failures[0]
    if thread.is_alive():  # it would take its share of the next cell
        raise StageError(f"the pipeline did not end within {_JOIN_SECONDS:.0f} seconds")
    if not watcher.end:
        raise StageError("the pipeline ended before the run did")


# --- file mode -----------------------------------------------------------------------------------------------------


def _run_file(
    anonymizer: Anonymizer,
    scene: Scene,
    settings: Settings,
    watcher: Watcher,
    times: StageTimes,
    stop: threading.Event,
) -> None:
    rate = Fraction(settings.rate).limit_denominator(1001)
    with tempfile.TemporaryDirectory(prefix="deepprivacy-rt-bench-") as name:
        sink: Sink = NullSink() if settings.encoder == "none" else _encoder(Path(name), scene, settings.preset, rate)
        with EndlessSource(scene, rate, watcher) as source, WatchedSink(sink, watcher) as watched:
            anonymizer.run(source, watched, float(rate), on_frame=watcher.reported, stop=stop, times=times)


def _encoder(folder: Path, scene: Scene, preset: str, rate: Fraction) -> Sink:
    """Return the sink that anonymize uses. It wants an input to take the sound from: a clip of two grey frames."""
    seed = folder / "seed.mkv"
    width, height = scene.size
    with av.open(str(seed), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((height, width, 3), 128, np.uint8), format="rgb24")
        for index in range(2):
            grey.pts, grey.time_base = index, 1 / rate
            container.mux(stream.encode(grey))
        container.mux(stream.encode())
    with FileSource(seed) as source:
        return make_sink(folder / "out.mkv", source.info, OutputConfig(codec="h264", preset=preset))  # type: ignore[arg-type]


# --- live mode -----------------------------------------------------------------------------------------------------


class _Live:
    """A live run with a camera that is none, into no output."""

    def __init__(
        self, anonymizer: Anonymizer, scene: Scene, settings: Settings, watcher: Watcher, times: StageTimes
    ) -> None:
        gate = Gate()
        sink = LiveSink(watcher)
        self._source = PacedSource(scene, settings.rate, watcher)
        self._presenter = Presenter("null", lambda: sink, gate, PresenterSettings(size=scene.size))
        self.engine = LiveEngine(
            lambda: self._source, [self._presenter], gate, frame_rate=settings.rate, on_frame=sink.expect
        )
        config = LiveConfig(source="bench", sinks=("null",), rate=settings.rate)
        self.engine.set_stages(stages_of(anonymizer, config, times))

    def drops(self) -> Drops:
        return Drops(self._source.missed, self.engine.status().dropped, self._presenter.status().dropped)


# --- the result ----------------------------------------------------------------------------------------------------


def _cell(
    anonymizer: Anonymizer,
    scene: Scene,
    settings: Settings,
    watcher: Watcher,
    snapshots: _Snapshots,
    pace: str | None,
) -> Cell:
    counts, seconds = watcher.counts, watcher.end - watcher.begin
    frames, reported = counts["frames"], max(1, counts["reported"])
    if not frames:
        raise StageError(f"no frame of the run was counted{': ' * bool(watcher.problem)}{watcher.problem}")
    covered = counts["covered"] / frames
    if scene.placed is None:
        covered = (counts["generated"] + counts["filled"]) / reported
    generated = counts["generated"] / reported
    return Cell(
        mode=settings.mode,
        device=anonymizer.device,
        encoder=settings.encoder if settings.mode == "file" else "none",
        size=scene.size,
        faces_placed=scene.placed,
        seconds=round(seconds, 4),
        frames=frames,
        fps=round(frames / seconds, 3),
        latency_ms=spread(list(watcher.latencies)),
        cpu_ms_per_frame=round(snapshots.cpu / frames * 1e3, 3),
        ram_peak_mib=snapshots.ram_mib,
        ram_peak_scope=snapshots.peaks.scope,
        vram_peak_mib=snapshots.vram_mib,
        drops=snapshots.dropped,
        faces_covered=round(covered, 4),
        faces_generated=round(generated, 4),
        faces_extra=round(counts["extra"] / reported, 4),
        withheld_frames=counts["withheld"],
        pace=pace,
        stages=stages_of_calls(snapshots.calls, frames),
        warnings=_warnings(scene.placed, covered, generated, watcher, snapshots),
    )


def _warnings(
    placed: int | None, covered: float, generated: float, watcher: Watcher, snapshots: _Snapshots
) -> tuple[str, ...]:
    lines = []
    if placed and covered < _ENOUGH * placed:
        lines.append(f"of {placed} faces per frame only {covered:.2f} were covered: the speed is that of fewer faces")
    elif placed and generated < _ENOUGH * placed:
        lines.append(f"of {placed} faces per frame only {generated:.2f} were generated, the rest filled: too easy")
    if watcher.counts["frames"] < _FEW_FRAMES:
        lines.append(f"only {watcher.counts['frames']} frames: percentiles say little; raise --seconds")
    if watcher.counts["withheld"]:
        lines.append(f"{watcher.counts['withheld']} frames were withheld: too easy")
    if watcher.counts["problems"]:
        lines.append(f"{watcher.counts['problems']} frames had problems, the last: {watcher.problem}")
    if snapshots.dropped.total:
        lines.append(f"{snapshots.dropped.total} frames were dropped: the machine does not keep up")
    if any(len(calls) == KEPT_CALLS for calls in snapshots.calls.values()):
        lines.append(f"stage times are of the last {KEPT_CALLS} calls only")
    return tuple(lines)
