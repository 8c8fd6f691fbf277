"""The report of a run (``--report``): what was covered in which frames, how, and what was uncertain.

The schema is described in docs/report.md. Frames of a face are kept as runs of equal treatment, so memory grows with
the number of changes, not with the length of a video.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from deepprivacy_rt import __version__
from deepprivacy_rt.cli.batch import Plan
from deepprivacy_rt.cli.files import one_line, write_side_file
from deepprivacy_rt.config import Config
from deepprivacy_rt.pipeline import FaceReport, FrameReport, StreamSummary
from deepprivacy_rt.types import Coverage, Evidence

SCHEMA_VERSION = 1

State = Literal["done", "failed", "interrupted"]
ValueT = TypeVar("ValueT")

_MOST_PROBLEMS = 50
_GUESSES = {
    Evidence.COASTED: "not seen in these frames; its place is extrapolated from before",
    Evidence.INTERPOLATED: "not seen in these frames; its place lies between those before and after",
    Evidence.BACKTRACKED: "not seen for sure in these frames; its place is extrapolated from after",
}


class Runs(Generic[ValueT]):
    """Values by rising frame index, as runs of equal values: ``(first frame, last frame, value)``."""

    def __init__(self) -> None:
        self.items: list[tuple[int, int, ValueT]] = []

    def add(self, index: int, value: ValueT) -> None:
        if self.items and self.items[-1][1] == index - 1 and self.items[-1][2] == value:
            self.items[-1] = (self.items[-1][0], index, value)
        else:
            self.items.append((index, index, value))


class FaceRecord:
    """What was done to one face over a file."""

    def __init__(self, face: FaceReport) -> None:
        self.track = face.track_id
        self.identity = face.identity
        self.uncertain = False
        self.lowest_score = 1.0
        self.smallest = self.largest = face.box.height
        self.runs: Runs[tuple[Coverage, Evidence]] = Runs()

    def add(self, index: int, face: FaceReport) -> None:
        self.uncertain |= face.uncertain
        self.lowest_score = min(self.lowest_score, face.score)
        self.smallest = min(self.smallest, face.box.height)
        self.largest = max(self.largest, face.box.height)
        self.runs.add(index, (face.coverage, face.evidence))

    def to_json(self) -> dict[str, object]:
        frames = dict.fromkeys((coverage.value for coverage in Coverage), 0)
        for first, last, (coverage, _) in self.runs.items:
            frames[coverage.value] += last - first + 1
        return {
            "track": self.track,
            "identity": self.identity,
            "first_frame": self.runs.items[0][0],
            "last_frame": self.runs.items[-1][1],
            "height_px": [round(self.smallest), round(self.largest)],
            "lowest_score": round(self.lowest_score, 3),
            "uncertain": self.uncertain,
            "frames": frames,
            "runs": [[first, last, how.value, why.value] for first, last, (how, why) in self.runs.items],
        }


@dataclass(slots=True, eq=False)
class FileRecord:
    """What became of one input.

    :ivar output: None where nothing was written.
    :ivar error: one line that names the input; None unless the state is failed.
    :ivar frames: frames written.
    :ivar faces: by track.
    :ivar problems: how many frames had a problem, by the text of it.
    :ivar summary: facts about the whole stream; None unless it came to its end.
    """

    source: str
    output: str | None = None
    state: State = "failed"
    error: str | None = None
    frames: int = 0
    seconds: float = 0.0
    faces: dict[int, FaceRecord] = field(default_factory=dict)
    withheld: Runs[None] = field(default_factory=Runs)
    problems: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: StreamSummary | None = None

    def add(self, report: FrameReport) -> None:
        """Take the account of the next frame."""
        self.frames += 1
        for face in report.faces:
            record = self.faces.setdefault(face.track_id, FaceRecord(face))
            record.add(report.index, face)
        if report.withheld:
            self.withheld.add(report.index, None)
        for problem in report.problems:
            known = problem in self.problems or len(self.problems) < _MOST_PROBLEMS
            self.problems[problem if known else "other problems"] += 1

    def describe(self) -> str:
        """Return one line for a person."""
        faces = f"{len(self.faces)} face{'s' * (len(self.faces) != 1)}"
        frames = f"{self.frames} frame{'s' * (self.frames != 1)}"
        rate = f", {self.frames / self.seconds:.1f} fps" if self.frames > 1 and self.seconds > 0 else ""
        return one_line(f"{self.source} -> {self.output}: {frames}, {faces}{rate}")

    def to_json(self) -> dict[str, object]:
        faces = [self.faces[track] for track in sorted(self.faces)]
        stages = {} if self.summary is None else self.summary.stage_seconds
        return {
            "source": self.source,
            "output": self.output,
            "state": self.state,
            "error": self.error,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": None if self.summary is None else round(self.summary.process_seconds, 3),
            "stage_cpu_seconds": {stage: round(seconds, 3) for stage, seconds in stages.items()},
            "faces": [face.to_json() for face in faces],
            "withheld": [[first, last] for first, last, _ in self.withheld.items],
            "uncertain": [line for face in faces for line in _uncertain(face)],
            "problems": [{"what": what, "frames": count} for what, count in self.problems.most_common()],
            "warnings": self.warnings,
            "notes": self.notes,
        }


def _uncertain(face: FaceRecord) -> Iterator[dict[str, object]]:
    """Name what a person may want to look at: covers that rest on a guess."""
    if face.uncertain:
        first, last = face.runs.items[0][0], face.runs.items[-1][1]
        why = "seen so briefly or faintly that it may be no face; covered all the same"
        yield {"track": face.track, "first_frame": first, "last_frame": last, "why": why}
    for first, last, (_, evidence) in face.runs.items:
        if evidence in _GUESSES:
            yield {"track": face.track, "first_frame": first, "last_frame": last, "why": _GUESSES[evidence]}


def write_report(
    path: Path,
    records: Sequence[FileRecord],
    plan: Plan,
    *,
    config: Config,
    device: str | None,
    exit_code: int,
    interrupted: bool,
) -> None:
    """Write the report of a run. Raises SinkError.

    The secret behind the synthetic faces is not in it, nor a seed, which would stand in for it.
    """
    faces = {key: value for key, value in asdict(config.faces).items() if key != "seed"}
    content = {
        "version": SCHEMA_VERSION,
        "tool": f"deepprivacy-rt {__version__}",
        "exit_code": exit_code,
        "interrupted": interrupted,
        "settings": {
            "faces": {**faces, "seeded": config.faces.seed is not None},
            "output": asdict(config.output),
            "device_used": device,
        },
        "files": [record.to_json() for record in records],
        "skipped": [str(skipped) for skipped in plan.skipped],
        "ignored": [str(ignored) for ignored in plan.ignored],
    }
    write_side_file(path, (json.dumps(content, indent=1) + "\n").encode())
