"""Works through a batch: one file after the other, a failure of one never ends the others."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import cv2

from deepprivacy_rt.build import Anonymizer, OpenedSink, OpenedSource, build_anonymizer, make_sink, make_source
from deepprivacy_rt.cli.batch import Job, Plan
from deepprivacy_rt.cli.files import one_line
from deepprivacy_rt.cli.preview import ContactSheet
from deepprivacy_rt.cli.progress import make_view
from deepprivacy_rt.cli.report import FileRecord, write_report
from deepprivacy_rt.config import Config
from deepprivacy_rt.errors import DeepPrivacyError, EnvironmentProblem, SinkError, Stopped, UsageError
from deepprivacy_rt.pipeline import FrameReport
from deepprivacy_rt.sources import is_image
from deepprivacy_rt.stages import Sink, Source
from deepprivacy_rt.weights import Weights


class BatchRunner:
    """One run of ``deepprivacy-rt anonymize``."""

    def __init__(self, config: Config, plan: Plan, args: argparse.Namespace) -> None:
        self._config = config
        self._plan = plan
        self._verbose: bool = args.verbose
        self._report_path = args.report
        self._sheet = ContactSheet(args.preview) if args.preview else None
        self._view = make_view(as_json=args.json)
        self._records: list[FileRecord] = []
        self._anonymizer: Anonymizer | None = None
        self._sink: OpenedSink | None = None
        self._misuse = False
        self._interrupted = False

    def run(self, stop: threading.Event) -> int:
        """Do everything; return the exit code. Raises what stops the batch before its first file."""
        if self._plan.jobs:
            cv2.setNumThreads(1)  # each stage has a thread of its own; more would fight over the cores
            # OpenVINO's converter sees our --verbose in sys.argv and prints, where JSON lines may be due.
            with contextlib.redirect_stdout(sys.stderr):
                self._anonymizer = build_anonymizer(self._config.faces, Weights(report=self._view.message))
        self._view.begin(len(self._plan.jobs) + len(self._plan.refusals))
        try:
            self._say_before()
            for job in self._plan.jobs:
                if stop.is_set():
                    self._interrupted = True
                    break
                self._file(job, stop)
        finally:
            code = self._finish()
        return code

    def abandon(self) -> None:
        """Clean up while :meth:`run` hangs in a library, from another thread: the process is about to end."""
        self._interrupted = True
        if self._sink is not None:
            self._sink.remove_unfinished()
        self._finish()

    def _say_before(self) -> None:
        for note in self._anonymizer.notes if self._anonymizer else ():
            self._view.message(f"note: {note}")
        if self._verbose and self._anonymizer:
            self._view.message(f"note: computing on {self._anonymizer.device}")
        if self._plan.skipped:
            self._view.message(f"note: {len(self._plan.skipped)} outputs of earlier runs are left out")
        if self._plan.ignored:
            self._view.message(f"note: {len(self._plan.ignored)} files or links are no video or picture: left out")
        for refusal in self._plan.refusals:
            record = FileRecord(refusal.source)
            self._records.append(record)
            self._fail(record, f"{refusal.source}: {refusal.cause}")
            self._view.file_ends(record)

    def _file(self, job: Job, stop: threading.Event) -> None:
        record = FileRecord(str(job.source))
        self._records.append(record)
        begin = time.monotonic()
        try:
            self._anonymize(job, record, stop)
            record.state = "done"
            record.output = str(job.target)
        except Stopped:
            record.state = "interrupted"
            self._interrupted = True
        except DeepPrivacyError as error:
            self._misuse |= isinstance(error, (UsageError, EnvironmentProblem))
            self._fail(record, _naming(job, str(error)))
        except Exception as error:  # a mistake of ours, or no memory: the other files go on
            self._fail(record, f"{job.source}: internal: {type(error).__name__}: {error} (--verbose shows where)")
        record.seconds = time.monotonic() - begin
        self._close(record)

    def _anonymize(self, job: Job, record: FileRecord, stop: threading.Event) -> None:
        assert self._anonymizer is not None
        source = make_source(job.source)
        with self._noting(source.warnings, record.warnings), source:
            sink = make_sink(job.target, source.info, self._config.output)
            frames = getattr(source.info, "frames", 1)
            rate = float(getattr(source.info, "average_rate", 1))
            self._view.file_begins(job.source, job.target, frames)

            def on_frame(report: FrameReport) -> None:
                record.add(report)
                self._view.frame_done(record.frames)

            _make_folder(job)
            watched_source, watched_sink = self._watched(source, sink)
            with self._noting(sink.notes, record.notes), watched_sink:
                self._sink = sink
                record.summary = self._anonymizer.run(
                    watched_source,
                    watched_sink,
                    rate,
                    on_frame=on_frame,
                    stop=stop,
                    first_identity=_first_identity(job.source),
                )
                if not record.frames:
                    raise SinkError(f"{job.source}: no frame could be read, so nothing was written")

    def _watched(self, source: OpenedSource, sink: OpenedSink) -> tuple[Source, Sink]:
        if self._sheet is None:
            return source, sink
        return self._sheet.watch_source(source), self._sheet.watch_sink(sink)

    @staticmethod
    @contextlib.contextmanager
    def _noting(lines: list[str], kept: list[str]) -> Iterator[None]:
        """Keep what a source or sink has to say, once it is closed, however that comes."""
        try:
            yield
        finally:
            kept.extend(lines)

    def _close(self, record: FileRecord) -> None:
        """Tell how a file ended."""
        if record.withheld.items:
            count = sum(last - first + 1 for first, last, _ in record.withheld.items)
            record.warnings.append(f"{count} of {record.frames} frames were withheld (grey): see the report")
        unsafe = [f"{what} ({count} frames)" for what, count in record.problems.most_common(3)]
        record.warnings += [f"faces were filled or frames withheld: {problem}" for problem in unsafe]
        for kind, lines in (("warning", record.warnings), ("note", record.notes)):
            for line in lines:
                self._view.message(one_line(f"{kind}: {record.source}: {line}"))
        if self._verbose and record.summary:
            times = ", ".join(f"{stage} {value:.2f}" for stage, value in record.summary.stage_seconds.items())
            self._view.message(one_line(f"note: {record.source}: CPU seconds: {times}"))
        if self._sheet is not None:
            self._sheet.end_file(Path(record.source).name, complete=record.state == "done")
        self._view.file_ends(record)

    def _fail(self, record: FileRecord, cause: str) -> None:
        record.state = "failed"
        record.error = one_line(cause)
        if self._verbose:
            self._view.message(traceback.format_exc().rstrip())
        self._view.message(f"error: {record.error}")

    def _finish(self) -> int:
        """Write report and preview, say how it ended, and return the exit code."""
        code = self._exit_code()
        if self._interrupted:
            done = sum(record.state == "done" for record in self._records)
            self._view.message(f"error: interrupted; {done} files are complete, and nothing half done is left")
        try:
            if self._sheet is not None and not self._sheet.save():
                self._view.message("warning: no preview was written: no file came to its end")
            if self._report_path:
                device = self._anonymizer.device if self._anonymizer else None
                write_report(
                    self._report_path,
                    self._records,
                    self._plan,
                    config=self._config,
                    device=device,
                    exit_code=code,
                    interrupted=self._interrupted,
                )
        finally:
            self._view.end(code, self._records)
        return code

    def _exit_code(self) -> int:
        done = sum(record.state == "done" for record in self._records)
        failed = sum(record.state == "failed" for record in self._records)
        if self._interrupted:
            return 1
        if not failed:
            return 0
        if done:
            return 3
        return 2 if self._misuse else 1


def _naming(job: Job, message: str) -> str:
    """Make sure that a message names a file."""
    named = job.source.name in message or job.target.name in message
    return message if named else f"{job.source}: {message}"


def _first_identity(source: Path) -> int:
    """Return where a file's identities begin: clips share their faces, for they may be parts of one recording.

    A picture gets faces of its own, or a folder of portraits became one person's. By its name: nothing that is drawn
    depends on what it shows.
    """
    if not is_image(source):
        return 0
    return int.from_bytes(hashlib.sha256(os.fsencode(source.name)).digest()[:4], "big")


def _make_folder(job: Job) -> None:
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{job.target}: its folder cannot be made: {error.strerror}") from error
