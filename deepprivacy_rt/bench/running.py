"""Runs one cell: the shipped pipeline, once for every stream, between prepared sources and watched sinks."""

from __future__ import annotations

import functools
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
from deepprivacy_rt.bench.driving import drive
from deepprivacy_rt.bench.feeding import EndlessSource, LiveSink, PacedSource, WatchedSink
from deepprivacy_rt.bench.machine import MemoryPeaks
from deepprivacy_rt.bench.results import Cell, Drops, spread, stages_of_calls
from deepprivacy_rt.bench.watching import StreamWatcher, Watcher
from deepprivacy_rt.build import Anonymizer, make_sink
from deepprivacy_rt.build_live import stages_of
from deepprivacy_rt.config import LiveConfig, OutputConfig
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.batching import BatchCounts
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
    batches: Callable[[], BatchCounts]
    stop: threading.Event
    cpu: float = 0.0
    ram_mib: float | None = None
    vram_mib: float | None = None
    drops_before: Drops = field(default_factory=Drops)
    drops_after: Drops = field(default_factory=Drops)
    batches_before: BatchCounts = field(default=BatchCounts(0, 0))
    batches_after: BatchCounts = field(default=BatchCounts(0, 0))
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def begin(self) -> None:
        self.peaks.reset()
        self.times.take_calls()
        self.drops_before, self.batches_before = self.drops(), self.batches()
        self.cpu = time.process_time()

    def end(self) -> None:
        self.cpu = time.process_time() - self.cpu
        self.calls = self.times.take_calls()
        self.drops_after, self.batches_after = self.drops(), self.batches()
        self.ram_mib, self.vram_mib = self.peaks.ram_mib(), self.peaks.vram_mib()
        self.stop.set()

    @property
    def dropped(self) -> Drops:
        before, after = self.drops_before, self.drops_after
        return Drops(after.source - before.source, after.engine - before.engine, after.output - before.output)

    @property
    def batch_mean(self) -> float | None:
        """Faces in a call of the generator's network; None without one."""
        calls = self.batches_after.calls - self.batches_before.calls
        return round((self.batches_after.faces - self.batches_before.faces) / calls, 4) if calls else None


def run_cell(anonymizer: Anonymizer, scene: Scene, settings: Settings, streams: int = 1) -> Cell:
    """Warm up, run and measure. Raises what the pipeline raises, and StageError when no frames come any more.

    :param streams: so many inputs, each with its own tracker, memory of faces, and sink. They play the same scene, each
        from another place in it.
    """
    times = StageTimes(keep=KEPT_CALLS)
    stop = threading.Event()
    peaks = MemoryPeaks(anonymizer.device)
    snapshots = _Snapshots(times, peaks, Drops, anonymizer.batches or (lambda: BatchCounts(0, 0)), stop)
    watcher = Watcher(
        scene,
        streams=streams,
        warm_up=settings.warm_up,
        warm_frames=8,
        seconds=settings.seconds,
        on_begin=snapshots.begin,
        on_end=snapshots.end,
    )
    pace = None
    begins = [stream / streams for stream in range(streams)]
    if settings.mode == "live":
        lives = [
            _Live(anonymizer, scene, settings, watcher.of(stream), times, begin) for stream, begin in enumerate(begins)
        ]
        snapshots.drops = lambda: Drops.sum([live.drops() for live in lives])
        drive([functools.partial(live.engine.run, stop) for live in lives], watcher, stop)
        pace = ", ".join(sorted({live.engine.status().effort for live in lives}))
    else:
        run = functools.partial(_run_file, anonymizer, scene, settings, times, stop)
        drive([functools.partial(run, watcher.of(stream), begin) for stream, begin in enumerate(begins)], watcher, stop)
    return _cell(anonymizer, scene, settings, watcher, snapshots, pace)


# --- file mode -----------------------------------------------------------------------------------------------------


def _run_file(
    anonymizer: Anonymizer,
    scene: Scene,
    settings: Settings,
    times: StageTimes,
    stop: threading.Event,
    watcher: StreamWatcher,
    begin: float,
) -> None:
    rate = Fraction(settings.rate).limit_denominator(1001)
    with tempfile.TemporaryDirectory(prefix="deepprivacy-rt-bench-") as name:
        sink: Sink = NullSink() if settings.encoder == "none" else _encoder(Path(name), scene, settings.preset, rate)
        with EndlessSource(scene, rate, watcher, begin) as source, WatchedSink(sink, watcher) as watched:
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
        self,
        anonymizer: Anonymizer,
        scene: Scene,
        settings: Settings,
        watcher: StreamWatcher,
        times: StageTimes,
        begin: float,
    ) -> None:
        gate = Gate()
        sink = LiveSink(watcher)
        self._source = PacedSource(scene, settings.rate, watcher, begin)
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
        streams=len(watcher.frames_of),
        seconds=round(seconds, 4),
        frames=frames,
        fps=round(frames / seconds, 3),
        fps_by_stream=tuple(round(one / seconds, 3) for one in watcher.frames_of),
        batch_mean=snapshots.batch_mean,
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
    if not min(watcher.frames_of):
        lines.append("a stream wrote no frame: this is the speed of the others")
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
