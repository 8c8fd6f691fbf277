"""The live engine: capture | look | replace | every sink, each on a thread of its own; late frames are left out.

What cannot be processed is not shown: the sinks' presenters show the last safe frame for a moment and then the slate,
whatever hangs or fails in here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from deepprivacy_rt.errors import EnvironmentProblem, SourceError, Stopped, UsageError
from deepprivacy_rt.pipeline.conveyor import Conveyor
from deepprivacy_rt.pipeline.replacing import Replacer, describe
from deepprivacy_rt.pipeline.reports import FrameReport
from deepprivacy_rt.pipeline.streaming import replace_faces, track_faces
from deepprivacy_rt.pipeline.window import DelayedTracker, FrameWindow
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.governor import Governor, Paced
from deepprivacy_rt.realtime.latest import LatestSlot
from deepprivacy_rt.realtime.presenter import Presenter
from deepprivacy_rt.realtime.stats import Counts, LiveStatus
from deepprivacy_rt.runtimes.heap import freeze_heap, give_back_memory
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.stages import Detector, Source
from deepprivacy_rt.types import Frame, SafeFrame

_MOST_BYTES = 128 << 20
_POLL_SECONDS = 0.1
_TRIM_SECONDS = 60.0
GRACE_SECONDS = 1.6
"""How long a run that ends waits for its outputs and its source; what hangs longer is left behind."""
_RESTART_SECONDS = 1.0


class LiveSource(Source, Protocol):
    """A source that goes on for hours, and can be told to end.

    ``Frame.pts`` is ``time.monotonic()`` at capture.
    """

    def __enter__(self) -> LiveSource: ...

    def close(self) -> None:
        """End the iteration within two seconds. From any thread."""
        ...


@dataclass(frozen=True, slots=True)
class LiveStages:
    """What turns frames into safe frames.

    :ivar paced: the detector once more, where its pace can be changed.
    :ivar new_tracker: makes a tracker; one is needed for every size of picture.
    """

    detector: Detector
    paced: Paced | None
    new_tracker: Callable[[], DelayedTracker]
    replacer: Replacer


class LiveEngine:
    """Runs one source into any number of sinks until told to stop.

    :param open_source: makes the source, and again after a failure that is a mistake rather than a lost connection.
    :param presenters: one per sink; they are started and stopped here.
    :param frame_rate: in which the tracker counts time.
    :param on_frame: called with every safe frame and its report, in order, just before the presenters get it.
    """

    def __init__(
        self,
        open_source: Callable[[], LiveSource],
        presenters: Sequence[Presenter],
        gate: Gate,
        *,
        frame_rate: float = 30.0,
        report: Callable[[str], None] = lambda line: None,
        on_frame: Callable[[SafeFrame, FrameReport], None] = lambda safe, report: None,
    ) -> None:
        self._open_source = open_source
        self._presenters = presenters
        self._gate = gate
        self._frame_rate = frame_rate
        self._on_frame = on_frame
        self._counts = Counts()
        self._governor = Governor(report)
        self._slot: LatestSlot[Frame] = LatestSlot()
        self._stop = threading.Event()
        self._stages: LiveStages | None = None
        self._source_state = "connecting"
        self._source: LiveSource | None = None
        self._failure: Exception | None = None
        self._last_index = -1

    def set_stages(self, stages: LiveStages) -> None:
        """Use these from the next frame on, from any thread. Before the first ones, the slate is shown."""
        if self._stages is None:
            freeze_heap()
        self._governor.attach(stages.paced, stages.replacer)
        self._stages = stages

    def set_source_state(self, state: str) -> None:
        """Note what the source says about itself, for the status."""
        self._source_state = state

    def hear(self, sound: Sound) -> None:
        """Take the next piece of sound. It goes out with the pictures of its time, never without. From any thread."""
        for presenter in self._presenters:
            presenter.hear(sound)

    def status(self) -> LiveStatus:
        """Return the account so far. From any thread."""
        stages = self._stages
        return LiveStatus(
            seconds=round(self._counts.seconds, 1),
            source=self._source_state,
            captured=self._counts["captured"],
            dropped=self._counts["dropped"],
            processed=self._counts["processed"],
            withheld=self._counts["withheld"],
            faces=self._counts["faces"],
            effort=self._governor.effort,
            panic=self._gate.closed,
            outputs=tuple(presenter.status() for presenter in self._presenters),
            problems=self._counts.problems,
            stage_seconds=stages.replacer.times.seconds() if stages else {},
        )

    def run(self, stop: threading.Event) -> LiveStatus:
        """Run until ``stop`` is set, the source ends, or every sink has failed for good.

        Returns within two seconds of the end, and leaves behind what hangs. Raises what ended the run for good:
        SourceError, UsageError, EnvironmentProblem.
        """
        for presenter in self._presenters:
            presenter.start()
        threads = [
            threading.Thread(target=self._capture, name="capture", daemon=True),
            threading.Thread(target=self._work, name="work", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(stop, threads[1])
        finally:
            self._shut(threads)
        failure = self._failure or next((p.error for p in self._presenters if p.error is not None), None)
        if failure is not None:
            raise failure
        return self.status()

    def _watch(self, stop: threading.Event, worker: threading.Thread) -> None:
        last, busy_before = time.monotonic(), 0.0
        trimmed = last
        while not stop.wait(_POLL_SECONDS) and worker.is_alive() and self._failure is None:
            if self._presenters and all(presenter.error is not None for presenter in self._presenters):
                return
            now = time.monotonic()
            if now - last >= 1.0 and self._stages is not None:
                busy = _busiest(self._stages)
                share = (busy - busy_before) / (now - last)
                self._governor.update(now - last, self._counts["captured"], self._counts["dropped"], share)
                last, busy_before = now, busy
            if now - trimmed >= _TRIM_SECONDS:
                give_back_memory()
                trimmed = now

    def _shut(self, threads: Sequence[threading.Thread]) -> None:
        # Where the source came to its end, what is under way is still shown; else this returns at once.
        deadline = time.monotonic() + GRACE_SECONDS
        ended = self._source_state == "ended" and self._failure is None
        self._stop.set()
        self._slot.close()
        for presenter in self._presenters:
            if ended:
                presenter.finish()
            else:
                presenter.stop()
        if self._source is not None:  # after them: a camera that does not answer takes as long as they need to end
            self._source.close()
        for presenter in self._presenters:
            presenter.join(max(0.0, deadline - time.monotonic()))
            presenter.stop()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- capture -----------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        while not self._stop.is_set():
            try:
                with self._open_source() as source:
                    self._source = source
                    for frame in source:
                        self._counts.add("captured")
                        if self._slot.put(frame):
                            self._counts.add("dropped")
                        if self._stop.is_set():
                            return
                if not self._stop.is_set():
                    self._source_state = "ended"
                self._slot.close()
                return
            except (SourceError, UsageError, EnvironmentProblem) as error:
                self._failure = error
                return
            except Exception as error:
                # A mistake of ours or a library's: the slate is shown, and the source opened again.
                self._counts.problem(describe("capture", error))
                self._stop.wait(_RESTART_SECONDS)

    # --- look and replace --------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.is_set():
            stages = self._stages
            if stages is None:
                # Frames that come before the networks are loaded are too old by then.
                self._slot.take(_POLL_SECONDS)
                continue
            try:
                self._process(stages)
                if self._slot.closed:
                    return
            except Stopped:
                return
            except BaseException as error:  # also a library's exit(): it must not end the covering
                self._counts.problem(describe("work", error))
                self._stop.wait(_POLL_SECONDS)

    def _process(self, stages: LiveStages) -> None:
        """Process frames until the stages or the size of the picture change."""
        replacer = stages.replacer
        window = FrameWindow(stages.new_tracker(), _MOST_BYTES)
        with Conveyor(self._stop, 1) as conveyor:
            frames = self._fresh_frames(stages)
            tracked = conveyor.run("look", track_faces(frames, stages.detector, window, replacer.times))
            for safe, report in conveyor.run("replace", replace_faces(tracked, replacer)):
                self._publish(safe, report)

    def _fresh_frames(self, stages: LiveStages) -> Iterator[Frame]:
        """Yield the newest frame, again and again, numbered by its time: the tracker counts time in frames."""
        shape = None
        while self._stages is stages:
            frame = self._slot.take(_POLL_SECONDS)
            if frame is None:
                if self._slot.closed:
                    return
                continue
            if shape not in (None, frame.image.shape):
                return  # this frame is lost; the next one starts with a tracker that knows nothing of the old size
            shape = frame.image.shape
            self._last_index = max(self._last_index + 1, round(float(frame.pts) * self._frame_rate))
            yield replace(frame, index=self._last_index)

    def _publish(self, safe: SafeFrame, report: FrameReport) -> None:
        self._counts.add("processed")
        self._counts.add("withheld", int(report.withheld))
        self._counts.set("faces", len(report.faces))
        for line in report.problems:
            self._counts.problem(line)
        self._on_frame(safe, report)
        for presenter in self._presenters:
            presenter.offer(safe)


def _busiest(stages: LiveStages) -> float:
    """CPU seconds of the busier of the two threads."""
    seconds = stages.replacer.times.seconds()
    look = sum(seconds.get(name, 0.0) for name in ("detect", "track"))
    replacing = ("express", "erase", "cut", "generate", "paste", "paint", "fetch")
    return max(look, sum(seconds.get(name, 0.0) for name in replacing))
