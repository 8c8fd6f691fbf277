"""A whole stream: decode | detect and track | replace | encode, each on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from deepprivacy_rt.pipeline.conveyor import Conveyor
from deepprivacy_rt.pipeline.replacing import Replacer, describe
from deepprivacy_rt.pipeline.reports import FrameReport, StreamSummary
from deepprivacy_rt.pipeline.timing import StageTimes
from deepprivacy_rt.pipeline.window import DelayedTracker, FrameWindow, Tracked
from deepprivacy_rt.stages import Detector, Sink, Source
from deepprivacy_rt.types import Coverage, Detection, Frame, SafeFrame

_QUEUE_DEPTH = 2


def process_stream(
    source: Source,
    sink: Sink,
    detector: Detector,
    tracker: DelayedTracker,
    replacer: Replacer,
    *,
    on_frame: Callable[[FrameReport], None] | None = None,
    stop: threading.Event | None = None,
    most_bytes: int = 256 << 20,
) -> StreamSummary:
    """Anonymize a stream to its end.

    Call it inside of ``with source, sink:``. Whatever ends it early is raised here, so that the sink's ``__exit__``
    sees an exception and discards the output. Its threads have ended by then, or within two seconds given up on: one
    that hangs in a library cannot be ended, and dies with the process.

    :param on_frame: called after each frame is written, in order, on the calling thread.
    :param stop: set it, from anywhere, to end early.
    :param most_bytes: memory for frames that wait for the tracker; the lookahead shrinks to it.
    :raises Stopped: ``stop`` was set.
    :raises SourceError, SinkError: from source and sink; anything that ``on_frame`` raises. A failure of detector,
        tracker or replacer is not raised: it ends in filled faces and withheld frames, told in the reports.
    """
    times = replacer.times
    begin, begin_process = time.monotonic(), time.process_time()
    tally = _Tally()
    with Conveyor(stop or threading.Event(), _QUEUE_DEPTH) as conveyor:
        frames = conveyor.run("decode", _timed(source, times))
        tracked = conveyor.run("detect", track_faces(frames, detector, FrameWindow(tracker, most_bytes), times))
        for safe, report in conveyor.run("replace", replace_faces(tracked, replacer)):
            with times.measure("encode"):
                sink.write(safe)
            tally.add(report)
            if on_frame is not None:
                on_frame(report)
    return StreamSummary(
        frames=tally.frames,
        withheld_frames=tally.withheld,
        faces=dict(tally.faces),
        frames_with_problems=tally.problems,
        lookahead=tracker.lookahead,
        wall_seconds=time.monotonic() - begin,
        process_seconds=time.process_time() - begin_process,
        stage_seconds=times.seconds(),
    )


class _Tally:
    """Counts what the reports say."""

    def __init__(self) -> None:
        self.frames = 0
        self.withheld = 0
        self.problems = 0
        self.faces: Counter[Coverage] = Counter()

    def add(self, report: FrameReport) -> None:
        self.frames += 1
        self.withheld += report.withheld
        self.problems += bool(report.problems)
        self.faces.update(face.coverage for face in report.faces)


def _timed(source: Iterable[Frame], times: StageTimes) -> Iterator[Frame]:
    iterator = iter(source)
    while True:
        with times.measure("decode"):
            frame = next(iterator, None)
        if frame is None:
            return
        yield frame


def track_faces(
    frames: Iterator[Frame], detector: Detector, window: FrameWindow, times: StageTimes
) -> Iterator[Tracked]:
    for frame in frames:
        detections: Sequence[Detection] = []
        problems = []
        try:
            with times.measure("detect"):
                detections = detector.detect(frame)
        except Exception as error:
            problems.append(describe("detect", error))
        with times.measure("track"):
            ready = window.push(frame, detections, problems)
        yield from ready
    yield from window.flush()


def replace_faces(tracked: Iterator[Tracked], replacer: Replacer) -> Iterator[tuple[SafeFrame, FrameReport]]:
    for entry in tracked:
        if entry.problems:
            yield replacer.withheld(entry.frame, entry.tracks, entry.problems)
        else:
            yield replacer.replace(entry.frame, entry.tracks)
