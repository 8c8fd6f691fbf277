"""The numbers of a run, and their JSON. What each means: docs/bench.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.pipeline.timing import Call

SCHEMA = 2
_NOT_STAGES = ("decode",)
"""Frames are prepared: taking one from a list is no decoding."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles, in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one cell.

    :ivar calls: how often it was called; several times per frame, or not for every frame.
    :ivar wall_ms, cpu_ms: of one call; the CPU time is that of the stage's own thread.
    :ivar wall_ms_per_frame, cpu_ms_per_frame: sum over the calls, divided by the written frames.
    :ivar share: of the wall time of all stages together, 0 to 1.
    """

    calls: int
    wall_ms: Spread
    cpu_ms: Spread
    wall_ms_per_frame: float
    cpu_ms_per_frame: float
    share: float


@dataclass(frozen=True, slots=True)
class Drops:
    """Frames that were lost: before the capture (no turn on the CPU), before the detector, before the sink."""

    source: int = 0
    engine: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        return self.source + self.engine + self.output

    @classmethod
    def sum(cls, parts: Sequence[Drops]) -> Drops:
        return cls(*(sum(getattr(part, name) for part in parts) for name in ("source", "engine", "output")))


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of faces in one size of picture, in one number of streams.

    Frames are those of all streams together, faces those of one frame.

    :ivar streams: inputs that one process anonymized at the same time.
    :ivar encoder: ``x264`` or ``none``.
    :ivar size: width, height.
    :ivar faces_placed: in every frame; None for a clip, where nobody knows them.
    :ivar seconds: length of the run, warm-up excluded.
    :ivar frames: written in it.
    :ivar fps: of all streams together. :ivar fps_by_stream: of each.
    :ivar batch_mean: faces that the generator's network was given in a call; None where it has none, or was not called.
    :ivar latency_ms: from the source to the sink, lookahead included.
    :ivar cpu_ms_per_frame: of the whole process, all threads.
    :ivar ram_peak_mib: of the process in this cell, or since its start (``ram_peak_scope``); None where
        the system does not say.
    :ivar faces_covered: placed faces that lay under a cover, per frame; of a clip: faces that were covered.
    :ivar faces_generated: placed faces that got a generated face, per frame; the others were filled or missed.
    :ivar faces_extra: covers on no placed face, per frame; 0 for a clip.
    :ivar pace: how often the detector looked at the end of a live run.
    :ivar warnings: what makes the numbers say less than they seem to.
    """

    mode: str
    device: str
    encoder: str
    size: tuple[int, int]
    faces_placed: int | None
    streams: int
    seconds: float
    frames: int
    fps: float
    fps_by_stream: tuple[float, ...]
    batch_mean: float | None
    latency_ms: Spread
    cpu_ms_per_frame: float
    ram_peak_mib: float | None
    ram_peak_scope: str
    vram_peak_mib: float | None
    drops: Drops
    faces_covered: float
    faces_generated: float
    faces_extra: float
    withheld_frames: int
    pace: str | None
    stages: Mapping[str, Stage]
    warnings: tuple[str, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two cells comparable, beside the machine."""
        return self.mode, self.device, self.encoder, self.size, self.faces_placed, self.streams

    @property
    def label(self) -> str:
        faces = "clip" if self.faces_placed is None else f"{self.faces_placed} face{'s' * (self.faces_placed != 1)}"
        streams = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.size[0]}x{self.size[1]}, {faces}{streams}"


@dataclass(frozen=True, slots=True)
class Run:
    """All cells, with what they were measured on. The mappings hold plain JSON values."""

    created: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    cells: tuple[Cell, ...]


def spread(seconds: Sequence[float]) -> Spread:
    """Return percentiles of at least one duration in seconds, in milliseconds."""
    p50, p95, p99 = (float(value) for value in np.percentile(np.asarray(seconds), [50, 95, 99]) * 1e3)
    return Spread(round(p50, 4), round(p95, 4), round(p99, 4))


def stages_of_calls(calls: Mapping[str, Sequence[Call]], frames: int) -> dict[str, Stage]:
    """Return every stage that was called, the first in the pipeline first."""
    kept = {name: taken for name, taken in calls.items() if taken and name not in _NOT_STAGES}
    walls = {name: sum(call.wall for call in taken) for name, taken in kept.items()}
    whole = sum(walls.values()) or 1.0
    order = ("detect", "track", "express", "erase", "cut", "generate", "paste", "paint", "fetch", "encode")
    return {
        name: Stage(
            calls=len(kept[name]),
            wall_ms=spread([call.wall for call in kept[name]]),
            cpu_ms=spread([call.cpu for call in kept[name]]),
            wall_ms_per_frame=round(walls[name] / frames * 1e3, 4),
            cpu_ms_per_frame=round(sum(call.cpu for call in kept[name]) / frames * 1e3, 4),
            share=walls[name] / whole,
        )
        for name in sorted(kept, key=lambda name: order.index(name) if name in order else len(order))
    }


def to_json(run: Run) -> str:
    """Return the text of a result file."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(run)}, indent=1) + "\n"


def read_json(path: Path) -> Run:
    """Read a result file. Raises UsageError where it is none, or one of another schema."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: is no result of bench --output: not JSON") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path}: is no result of bench --output with schema {SCHEMA}; measure again")
    try:
        cells = tuple(_cell(one) for one in content["cells"])
        return Run(content["created"], content["settings"], content["machine"], content["versions"], cells)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: is a damaged result of bench --output: {error}") from error


def _cell(stored: Mapping[str, Any]) -> Cell:
    values = dict(stored)
    stages = {
        name: Stage(**{**one, "wall_ms": Spread(**one["wall_ms"]), "cpu_ms": Spread(**one["cpu_ms"])})
        for name, one in values.pop("stages").items()
    }
    width, height = values.pop("size")
    drops, latency = Drops(**values.pop("drops")), Spread(**values.pop("latency_ms"))
    for name in ("warnings", "fps_by_stream"):
        values[name] = tuple(values[name])
    return Cell(size=(width, height), drops=drops, latency_ms=latency, stages=stages, **values)
