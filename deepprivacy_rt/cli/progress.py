"""Progress of a batch: bars for a person, JSON lines for a script (docs/report.md), or nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from deepprivacy_rt.cli.report import FileRecord

SCHEMA_VERSION = 1
_INTERVAL_S = 0.5


class ProgressView(Protocol):
    """Is told what happens, in this order: ``begin``, then per file begins, frames, ends; then ``end``."""

    def begin(self, files: int) -> None:
        """A batch of so many files begins, inputs that were refused from the start included."""

    def file_begins(self, source: Path, target: Path, frames: int | None) -> None:
        """A file begins; ``frames`` is how many it promises, an estimate."""

    def frame_done(self, done: int) -> None:
        """``done`` frames of the current file are written."""

    def message(self, text: str) -> None:
        """Show one line about an error or a warning on standard error, at once."""

    def file_ends(self, record: FileRecord) -> None:
        """A file ended, or was refused without having begun."""

    def end(self, exit_code: int, records: list[FileRecord]) -> None:
        """The batch is over, by whatever way."""


def make_view(*, as_json: bool) -> ProgressView:
    """Return JSON lines where asked for; else bars where standard error is a terminal; else plain lines."""
    if as_json:
        return JsonView(sys.stdout)
    return BarView() if sys.stderr.isatty() else PlainView()


class PlainView:
    """No bars: one line per finished file on standard output, errors on standard error."""

    def begin(self, files: int) -> None: ...

    def file_begins(self, source: Path, target: Path, frames: int | None) -> None: ...

    def frame_done(self, done: int) -> None: ...

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def file_ends(self, record: FileRecord) -> None:
        if record.state == "done":
            print(record.describe(), flush=True)

    def end(self, exit_code: int, records: list[FileRecord]) -> None: ...


class JsonView(PlainView):
    """One JSON object per line on standard output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._file: dict[str, object] = {}
        self._frames: int | None = None
        self._started = self._told = 0.0

    def _tell(self, event: str, **facts: object) -> None:
        print(json.dumps({"event": event, **facts}), file=self._stream, flush=True)

    def begin(self, files: int) -> None:
        self._tell("begin", version=SCHEMA_VERSION, files=files)

    def file_begins(self, source: Path, target: Path, frames: int | None) -> None:
        self._file = {"source": str(source), "output": str(target)}
        self._frames = frames
        self._started = self._told = time.monotonic()
        self._tell("file_begin", **self._file, frames=frames)

    def frame_done(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told < _INTERVAL_S:
            return
        self._told = now
        fps = done / (now - self._started)
        remaining = None if self._frames is None else round(max(0, self._frames - done) / fps, 1)
        rate = {"fps": round(fps, 2), "remaining_s": remaining}
        self._tell("progress", **self._file, frames_done=done, frames=self._frames, **rate)

    def file_ends(self, record: FileRecord) -> None:
        self._tell(
            "file_end",
            source=record.source,
            output=record.output,
            state=record.state,
            frames=record.frames,
            seconds=round(record.seconds, 3),
            error=record.error,
            warnings=record.warnings,
        )

    def end(self, exit_code: int, records: list[FileRecord]) -> None:
        states = {
            state: sum(record.state == state for record in records) for state in ("done", "failed", "interrupted")
        }
        self._tell("end", exit_code=exit_code, **states)


class BarView:
    """A bar per file and one for the batch, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._batch: TaskID | None = None
        self._file: TaskID | None = None
        self._started = 0.0

    def begin(self, files: int) -> None:
        if files > 1:
            self._batch = self._bars.add_task("all files", total=files, count=f"0/{files} files", rate="")
        self._bars.start()

    def file_begins(self, source: Path, target: Path, frames: int | None) -> None:
        self._started = time.monotonic()
        self._file = self._bars.add_task(escape(source.name), total=frames, count="", rate="")

    def frame_done(self, done: int) -> None:
        if self._file is None:
            return
        seconds = time.monotonic() - self._started
        rate = f"{done / seconds:.1f} fps" if seconds > 1.0 else ""
        self._bars.update(self._file, completed=done, count=f"{done} frames", rate=rate)

    def message(self, text: str) -> None:
        self._console.print(Text(text))

    def file_ends(self, record: FileRecord) -> None:
        if self._file is not None:
            self._bars.remove_task(self._file)
            self._file = None
        if record.state == "done":
            self._console.print(Text(record.describe()))
        if self._batch is not None:
            self._bars.advance(self._batch)
            task = next(task for task in self._bars.tasks if task.id == self._batch)
            self._bars.update(self._batch, count=f"{task.completed:.0f}/{task.total or 0:.0f} files")

    def end(self, exit_code: int, records: list[FileRecord]) -> None:
        self._bars.stop()
