"""The live engine, end to end: what reaches the sinks while everything around it fails.

The source's picture is bright red where it is private: no frame that a sink gets may show a red pixel.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NoReturn

import cv2
import numpy as np
import pytest
from waiting import until

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.errors import SinkError, SourceError, UsageError
from deepprivacy_rt.pipeline import FaceReplacer
from deepprivacy_rt.pipeline.window import DelayedTracker
from deepprivacy_rt.realtime.engine import LiveEngine, LiveStages
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.immediate import Immediate
from deepprivacy_rt.realtime.presenter import Presenter, PresenterSettings
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.testing import FailingGenerator, ListSink, ToyGenerator, make_detection
from deepprivacy_rt.tracking import LookaheadTracker, OnlineTracker
from deepprivacy_rt.types import Detection, FacePatch, Frame, Replacement, SafeFrame

WIDTH, HEIGHT, FACE = 192, 128, (96, 64, 40)
RED = (255, 0, 0)


class Camera:
    """A live source: a face in the middle, 50 frames per second. ``after`` maps a frame's number to what happens."""

    def __init__(self, count: int = 10_000, after: dict[int, Callable[[], None]] | None = None) -> None:
        self.count, self.after = count, after or {}
        self.size = WIDTH, HEIGHT

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def close(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            time.sleep(0.02)
            if index >= self.count:
                return
            self.after.get(index, lambda: None)()
            image = np.full((*self.size[::-1], 3), 90, np.uint8)
            x, y, side = FACE
            cv2.circle(image, (x, y), side // 2, RED, -1)
            yield Frame(image, index, Fraction(time.monotonic()))


class Finds:
    """Finds the face in every frame; ``at`` maps the number of a call to what happens first."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.calls, self.at = 0, at or {}

    def detect(self, frame: Frame) -> Sequence[Detection]:
        self.calls += 1
        self.at.get(self.calls, lambda: None)()
        return [make_detection(*FACE)]


def fails(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def hangs(until: threading.Event) -> Callable[[], None]:
    def hang() -> None:
        until.wait(30)

    return hang


def generates(act: Callable[[], object]) -> FailingGenerator:
    """A generator that does this, and returns no face."""

    def answer(patches: Sequence[FacePatch]) -> list[Replacement]:
        act()
        return []

    return FailingGenerator(answer, 32)


def stages(
    detector: Finds | None = None,
    generator: Generator | None = None,
    tracker: Callable[[], DelayedTracker] = lambda: Immediate(OnlineTracker()),
) -> LiveStages:
    made = generator or ToyGenerator(32)
    replacer = FaceReplacer(AlignedCropper(made.patch_size, Region.FACE), made, PatchBlender())
    return LiveStages(detector or Finds(), None, tracker, replacer)


QUICK = PresenterSettings(stall=0.1, hold=0.3, tick=0.05, first_retry=0.05, last_retry=0.2, size=(WIDTH, HEIGHT))


class Live:
    """An engine on a thread, with one sink that keeps everything."""

    def __init__(self, camera: Camera, made: LiveStages | None, *more: Presenter, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()
        self.sink = ListSink()
        self.presenters = [Presenter("kept", lambda: self.sink, self.gate, QUICK), *more]
        self.engine = LiveEngine(lambda: camera, self.presenters, self.gate, frame_rate=50)
        if made is not None:
            self.engine.set_stages(made)
        self.stop = threading.Event()
        self.errors: list[Exception] = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.engine.run(self.stop)
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> Live:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        begin = time.monotonic()
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert time.monotonic() - begin < 10, "stopping takes too long"
        assert_safe(self.sink.frames)

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        until(condition, seconds, self.engine.status)

    @property
    def written(self) -> int:
        return self.presenters[0].status().written

    @property
    def slates(self) -> int:
        return self.presenters[0].status().slates


def is_slate(frame: SafeFrame) -> bool:
    return bool(frame.cover.all())


def assert_safe(frames: Sequence[SafeFrame]) -> None:
    """No private pixel, the slate first, order and time rising."""
    assert is_slate(frames[0])
    assert_nothing_private(frames)


def assert_nothing_private(frames: Sequence[SafeFrame]) -> None:
    for frame in frames:
        red = (frame.image == RED).all(axis=2)
        assert not red.any(), f"frame {frame.index} shows {red.sum()} private pixels"
    assert all(a.index < b.index and a.pts < b.pts for a, b in itertools.pairwise(frames))


def test_frames_flow_and_come_covered() -> None:
    with Live(Camera(), stages()) as live:
        live.wait(lambda: live.written >= 20)
    status = live.engine.status()
    shown = [frame for frame in live.sink.frames if not is_slate(frame)]
    assert len(shown) >= 20
    assert all(frame.cover[FACE[1], FACE[0]] for frame in shown)
    assert live.sink.outcome == "completed"
    assert status.processed >= 20 and status.withheld == 0 and status.faces == 1 and not status.problems
    assert status.outputs[0].latency_ms is not None
    assert status.captured >= status.processed + status.dropped


def test_the_check_for_private_pixels_would_find_them() -> None:
    frame = next(iter(Camera()))
    bare = SafeFrame(frame.image, np.zeros(frame.image.shape[:2], bool), 1, frame.pts)
    first = SafeFrame(np.zeros_like(frame.image), np.ones(frame.image.shape[:2], bool), 0, Fraction(0))
    with pytest.raises(AssertionError, match="private pixels"):
        assert_safe([first, bare])


def test_before_the_networks_are_loaded_the_slate_is_shown() -> None:
    with Live(Camera(), None) as live:
        live.wait(lambda: live.slates >= 5)
        assert live.written == 0
        live.engine.set_stages(stages())
        live.wait(lambda: live.written >= 3)


ALL = range(3, 10_000)
FAULTS: dict[str, Callable[[threading.Event], LiveStages]] = {
    "detector raises": lambda _: stages(Finds(dict.fromkeys(ALL, fails(RuntimeError("torn"))))),
    "detector hangs": lambda until: stages(Finds({3: hangs(until)})),
    "detector exits": lambda _: stages(Finds(dict.fromkeys(ALL, fails(SystemExit(1))))),
    "tracker cannot be made": lambda _: stages(tracker=fails(RuntimeError("torn"))),
    "generator raises": lambda _: stages(generator=generates(fails(ValueError("torn")))),
    "generator hangs": lambda until: stages(generator=generates(hangs(until))),
    "generator returns nothing": lambda _: stages(generator=generates(lambda: None)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("lookahead", [False, True])
def test_a_faulty_stage_shows_nothing_private(fault: str, lookahead: bool) -> None:
    hang = threading.Event()
    made = FAULTS[fault](hang)
    if lookahead and fault != "tracker cannot be made":
        made = LiveStages(made.detector, None, lambda: LookaheadTracker(lookahead=3), made.replacer)
    with Live(Camera(), made) as live:
        time.sleep(0.7)
        live.wait(lambda: len(live.sink.frames) >= 8)
        if any(word in fault for word in ("hangs", "cannot", "exits")):
            live.wait(lambda: is_slate(live.sink.frames[-1]))
    hang.set()


def test_a_silent_source_shows_the_last_safe_frame_for_a_moment_and_then_the_slate() -> None:
    silence = threading.Event()
    with Live(Camera(after={20: hangs(silence)}), stages()) as live:
        live.wait(lambda: live.written > 3)
        before = live.slates
        live.wait(lambda: live.slates > before + 2)
        repeated = live.presenters[0].status().repeated
        assert repeated >= 1
        silence.set()
        count = live.written
        live.wait(lambda: live.written > count)


def test_slow_frames_are_held_and_do_not_take_turns_with_the_slate() -> None:
    """By a clock of its own: on a busy machine no sleep is as long as it says."""
    presenter, sink = Presenter("kept", ListSink, Gate(), QUICK), ListSink()
    frame = SafeFrame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.bool_), 0, Fraction(100))

    def shown_after(seconds: float, now: float) -> str:
        presenter._write(sink, frame, now)
        before = presenter.status()
        presenter._write(sink, None, now + seconds)
        return "slate" if presenter.status().slates > before.slates else "still"

    gap = 1.5 * QUICK.hold
    assert shown_after(gap, 100.0) == "slate"  # nobody knows yet how slow frames come
    for number in range(1, 6):
        assert shown_after(2 * gap, 100.0 + number * gap) == "still"
    assert shown_after(3 * gap, 100.0 + 6 * gap) == "slate"  # that no frame comes any more is seen all the same
    assert shown_after(QUICK.longest_hold + 0.01, 200.0) == "slate"  # however long it was away before
    for number in range(40):
        presenter._write(sink, frame, 300.0 + number / 50)
    assert shown_after(QUICK.hold + 0.01, 300.8) == "slate"  # what was slow is forgotten


def test_a_source_that_fails_by_mistake_is_opened_again() -> None:
    calls: list[int] = []

    def once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a mistake")

    with Live(Camera(after={10: once}), stages()) as live:
        live.wait(lambda: len(calls) >= 2)
        live.wait(lambda: live.written > 3)
    assert any("a mistake" in line for line in live.engine.status().problems)
    assert not live.errors


def test_a_source_that_is_lost_for_good_ends_the_run() -> None:
    with Live(Camera(after={10: fails(SourceError("camera 0: is gone"))}), stages()) as live:
        live.wait(lambda: bool(live.errors))
    assert str(live.errors[0]) == "camera 0: is gone"


def test_a_source_that_ends_is_shown_to_its_last_frame() -> None:
    camera = Camera(25)
    with Live(camera, stages(tracker=lambda: LookaheadTracker(lookahead=3))) as live:
        live.wait(lambda: not live.thread.is_alive())
    status = live.engine.status()
    assert (status.source, status.captured) == ("ended", 25)
    assert status.processed + status.dropped == 25
    assert live.sink.outcome == "completed"


def test_a_new_size_goes_through() -> None:
    camera = Camera()

    def grow() -> None:
        camera.size = 2 * WIDTH, 2 * HEIGHT

    camera.after = {15: grow}
    trackers: list[Immediate] = []

    def track() -> Immediate:
        trackers.append(Immediate(OnlineTracker()))
        return trackers[-1]

    with Live(camera, stages(tracker=track)) as live:
        live.wait(lambda: bool(live.sink.frames) and live.sink.frames[-1].image.shape == (2 * HEIGHT, 2 * WIDTH, 3))
    assert len(trackers) == 2, "places in the old picture mean nothing in the new one"


def test_panic_shows_the_slate_at_once_and_until_two_steps_back() -> None:
    with Live(Camera(), stages()) as live:
        live.wait(lambda: live.written > 5)
        live.gate.panic()
        count = len(live.sink.frames)
        live.wait(lambda: len(live.sink.frames) > count + 5)
        # One frame may be under way in the sink.
        assert all(is_slate(frame) for frame in live.sink.frames[count + 1 :])
        live.gate.resume()
        time.sleep(0.1)
        assert is_slate(live.sink.frames[-1])
        live.gate.arm()
        live.gate.resume()
        live.wait(lambda: not is_slate(live.sink.frames[-1]))


class Flaky(ListSink):
    """A sink that fails after some frames, or hangs."""

    def __init__(self, after: int, hang: threading.Event | None = None) -> None:
        super().__init__()
        self.after, self.hang = after, hang

    def write(self, frame: SafeFrame) -> None:
        if len(self.frames) >= self.after:
            if self.hang is not None:
                self.hang.wait(30)
            raise SinkError("server: connection lost")
        super().write(frame)


def test_a_sink_that_fails_is_opened_again_and_the_others_go_on() -> None:
    opened: list[Flaky] = []
    gate = Gate()

    def make() -> Flaky:
        opened.append(Flaky(6))
        return opened[-1]

    with Live(Camera(), stages(), Presenter("flaky", make, gate, QUICK), gate=gate) as live:
        live.wait(lambda: len(opened) >= 4)
        count = live.written
        live.wait(lambda: live.written > count + 5)
    assert all(sink.outcome == "discarded" for sink in opened[:-1])
    for sink in opened:
        assert_nothing_private(sink.frames)


def test_a_sink_that_hangs_holds_nobody() -> None:
    hang, gate = threading.Event(), Gate()
    with Live(Camera(), stages(), Presenter("stuck", lambda: Flaky(2, hang), gate, QUICK), gate=gate) as live:
        live.wait(lambda: live.written > 20)
        assert live.presenters[1].status().dropped > 5
    hang.set()


def test_a_source_that_hangs_as_it_is_closed_leaves_sinks_the_time_to_end_in_order() -> None:
    class Frozen(Camera):
        def close(self) -> None:
            super().close()
            time.sleep(1.5)

    class Slow(ListSink):
        def __exit__(self, *exc: object) -> None:
            time.sleep(0.8)
            super().__exit__(*exc)

    sink, gate = Slow(), Gate()
    with Live(Frozen(), stages(), Presenter("slow", lambda: sink, gate, QUICK), gate=gate) as live:
        live.wait(lambda: len(sink.frames) > 2)
    assert sink.outcome == "completed"


def test_a_sink_that_cannot_work_ends_alone_and_the_last_one_ends_the_run() -> None:
    def refuse() -> ListSink:
        raise UsageError("out.mp4: exists")

    gate = Gate()
    with Live(Camera(), stages(), Presenter("wrong", refuse, gate, QUICK), gate=gate) as live:
        live.wait(lambda: live.written > 10)
        assert live.presenters[1].status().state == "failed"
    engine = LiveEngine(lambda: Camera(), [Presenter("wrong", refuse, gate, QUICK)], gate)
    with pytest.raises(UsageError, match="exists"):
        engine.run(threading.Event())


def test_a_slow_machine_shows_new_frames_and_counts_the_others() -> None:
    slow = Finds({n: lambda: time.sleep(0.1) for n in range(10_000)})
    with Live(Camera(), stages(slow)) as live:
        live.wait(lambda: live.written > 0)
        begin = time.monotonic()
        live.wait(lambda: live.written > 25)
        milliseconds = 1000 * (time.monotonic() - begin)
    status = live.engine.status()
    assert status.dropped > status.processed
    latency = status.outputs[0].latency_ms
    # If all were shown, the last one would come late by four fifths of that time, and the median one by two.
    assert latency is not None and latency[0] < 0.25 * milliseconds, "old frames are shown"
