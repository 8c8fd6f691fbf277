"""The threads of a stream: order, ends of all kinds, memory."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.errors import SinkError, SourceError, Stopped
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.pipeline import FaceReplacer, FrameReport, StreamSummary, process_stream
from deepprivacy_rt.testing import FailingGenerator, ListSink, ScriptedDetector, SyntheticSource, make_detection
from deepprivacy_rt.tracking import LookaheadTracker
from deepprivacy_rt.types import Coverage, FacePatch, Frame, Replacement

FACE = [make_detection(160, 120, 80)]


def replacer(seconds: float = 0.0) -> FaceReplacer:
    def generate(patches: Sequence[FacePatch]) -> list[Replacement]:
        time.sleep(seconds)
        return SolidGenerator(64, (0, 255, 0)).generate(patches)

    return FaceReplacer(AlignedCropper(64), FailingGenerator(generate, 64), PatchBlender())


def run(source: SyntheticSource, sink: ListSink, count: int = 50, seconds: float = 0.0, **more: Any) -> StreamSummary:
    detector = ScriptedDetector(dict.fromkeys(range(count), FACE))
    tracker = more.pop("tracker", None) or LookaheadTracker(lookahead=5)
    with source, sink:
        return process_stream(source, sink, detector, tracker, replacer(seconds), **more)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not set(threading.enumerate()) - before, 20, threading.enumerate)


def test_frames_come_out_in_order_and_are_counted() -> None:
    source, sink, seen = SyntheticSource(50), ListSink(), []
    summary = run(source, sink, on_frame=lambda report: seen.append(report.index))
    assert [frame.index for frame in sink.frames] == seen == list(range(50))
    assert (summary.frames, summary.withheld_frames, summary.frames_with_problems) == (50, 0, 0)
    assert summary.faces == {Coverage.GENERATED: 50}
    assert summary.lookahead == 5
    assert (source.closed, sink.outcome) == (True, "completed")
    assert set(summary.stage_seconds) == {"decode", "detect", "track", "erase", "cut", "generate", "paste", "encode"}
    assert 0 < sum(summary.stage_seconds.values()) <= summary.process_seconds + 0.5
    assert summary.wall_seconds > 0


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_streams_shorter_than_the_lookahead(count: int) -> None:
    sink = ListSink()
    assert run(SyntheticSource(count), sink).frames == count == len(sink.frames)
    assert sink.outcome == "completed"


@pytest.mark.parametrize("at", [0, 1, 20])
@pytest.mark.parametrize("error", [SourceError("camera.mp4: truncated"), RuntimeError("bug"), SystemExit(3)])
def test_a_failing_source_is_raised_and_the_output_discarded(at: int, error: BaseException) -> None:
    source, sink = SyntheticSource(50, error_at=at, error=error), ListSink()
    with pytest.raises(type(error)) as caught:
        run(source, sink)
    assert caught.value is error
    assert (source.closed, sink.outcome) == (True, "discarded")


@pytest.mark.parametrize("at", [0, 1, 20])
def test_a_failing_sink_is_raised_and_all_threads_end(at: int) -> None:
    source, sink = SyntheticSource(10_000), ListSink(error_at=at, error=SinkError("out.mp4: disk full"))
    with pytest.raises(SinkError, match="disk full"):
        run(source, sink, 10_000)
    assert sink.outcome == "discarded"
    assert source.delivered < at + 30


def test_a_failing_callback_is_raised() -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    sink = ListSink()
    with pytest.raises(ZeroDivisionError):
        run(SyntheticSource(50), sink, on_frame=fail)
    assert sink.outcome == "discarded"


def test_a_slow_generator_loses_nothing() -> None:
    sink = ListSink()
    assert run(SyntheticSource(20), sink, seconds=0.03).frames == 20


def test_a_slow_sink_makes_the_source_wait() -> None:
    """Queues are bounded: the source is never far ahead."""
    source, sink, ahead = SyntheticSource(60), ListSink(), []

    def watch(_: object) -> None:
        time.sleep(0.01)
        ahead.append(source.delivered - len(sink.frames))

    run(source, sink, 60, on_frame=watch)
    assert max(ahead) <= 5 + 3 * (2 + 2)


@pytest.mark.parametrize("when", ["before", "midway", "source hangs", "generator hangs"])
def test_stop_ends_within_two_seconds(when: str, by_the_clock: ByTheClock) -> None:
    stop = threading.Event()
    source = SyntheticSource(10_000, seconds=1.0 if when == "source hangs" else 0.001)
    sink = ListSink()
    if when == "before":
        stop.set()
    else:
        threading.Timer(0.3, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped):
        run(source, sink, 10_000, seconds=1.0 if when == "generator hangs" else 0.0, stop=stop)
    with by_the_clock:
        assert time.monotonic() - begin < 0.3 + 2.0
    assert sink.outcome == "discarded"


@pytest.mark.parametrize("hanging", [False, True])
def test_ctrl_c_ends_within_two_seconds_and_discards(hanging: bool, by_the_clock: ByTheClock) -> None:
    sink, begin = ListSink(), 0.0

    def under_way(report: FrameReport) -> None:
        nonlocal begin
        if not report.index:  # not before: on a slow machine, the sink may not be open yet
            begin = time.monotonic()
            threading.Timer(0.3, _thread.interrupt_main).start()

    with pytest.raises(KeyboardInterrupt):
        run(SyntheticSource(10_000), sink, 10_000, seconds=0.8 if hanging else 0.0, on_frame=under_way)
    with by_the_clock:
        assert time.monotonic() - begin < 0.3 + 2.0
    assert sink.outcome == "discarded"


def test_a_stage_that_hangs_for_ever_does_not_keep_the_caller(by_the_clock: ByTheClock) -> None:
    release = threading.Event()

    class Hanging:
        def detect(self, frame: Frame) -> list[Any]:
            release.wait(20)
            return []

    stop, sink = threading.Event(), ListSink()
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped), SyntheticSource(10) as source, sink:
        process_stream(source, sink, Hanging(), LookaheadTracker(lookahead=2), replacer(), stop=stop)
    with by_the_clock:
        assert time.monotonic() - begin < 2.2
    release.set()


def test_large_frames_shorten_the_lookahead() -> None:
    frame_bytes = 320 * 240 * 3
    sink = ListSink()
    summary = run(SyntheticSource(40), sink, tracker=LookaheadTracker(lookahead=30), most_bytes=4 * frame_bytes + 9)
    assert (summary.lookahead, summary.frames) == (4, 40)
    assert run(SyntheticSource(5), ListSink(), most_bytes=1).lookahead == 0


def test_a_face_is_covered_before_it_is_first_detected() -> None:
    """The point of the delay, through the whole stream."""
    sink = ListSink()
    detector = ScriptedDetector({10: FACE})
    with SyntheticSource(30) as source, sink:
        process_stream(source, sink, detector, LookaheadTracker(lookahead=8), replacer())
    green = [bool((frame.image[120, 160] == (0, 255, 0)).all()) for frame in sink.frames]
    assert green == [False] * 2 + [True] * 28
    assert not np.array_equal(sink.frames[0].image, sink.frames[29].image)
