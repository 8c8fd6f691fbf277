"""Whatever fails inside, no pixel of a face comes out. Each failure is injected and its account checked.

Faces are painted in a magenta that nothing else in the pictures comes near: one look at the output tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.pipeline import FaceReplacer, FrameReport, Pipeline, process_stream, withhold
from deepprivacy_rt.pipeline.window import FrameWindow
from deepprivacy_rt.testing import (
    FailingGenerator,
    ListSink,
    ScriptedDetector,
    SyntheticSource,
    make_detection,
    make_frame,
    unchecked_detection,
    unchecked_replacement,
)
from deepprivacy_rt.tracking import LookaheadTracker, OnlineTracker
from deepprivacy_rt.types import Box, Coverage, Detection, FacePatch, FaceTrack, Frame, Image, Replacement, SafeFrame

FACES = ((90, 100, 60), (215, 130, 70))
DETECTIONS = [make_detection(*face) for face in FACES]
GENERATED, FILLED, WITHHELD = Coverage.GENERATED, Coverage.FILLED, Coverage.WITHHELD


def paint_faces(image: Image, index: int = 0) -> None:
    image //= 2
    for x, y, size in FACES:
        cv2.ellipse(image, (x, y), (size // 2, size // 2), 0, 0, 360, (255, 0, 255), -1)


def face_frame(index: int = 0) -> Frame:
    frame = make_frame(index)
    paint_faces(frame.image)
    return frame


def shows_a_face(image: Image) -> bool:
    """Whether any pixel is red or blue beyond the surroundings, which end at 85, as a trace of the face makes it."""
    return bool(((image[..., 0] > 100) | (image[..., 2] > 100)).any())


def green() -> SolidGenerator:
    return SolidGenerator(64, color=(0, 200, 0))


def outcome(report: FrameReport) -> list[Coverage]:
    return [face.coverage for face in report.faces]


def tracks() -> list[FaceTrack]:
    return OnlineTracker().update(0, DETECTIONS)


def run_replacer(cropper: Any = None, generator: Any = None, blender: Any = None) -> tuple[SafeFrame, FrameReport]:
    """Run with the real stages, but for the one given; check that nothing shows."""
    replacer = FaceReplacer(cropper or AlignedCropper(64), generator or green(), blender or PatchBlender())
    safe, report = replacer.replace(face_frame(), tracks())
    assert not shows_a_face(safe.image)
    assert safe.cover[100, 90] and safe.cover[130, 215]
    return safe, report


def test_the_check_of_these_tests_sees_a_face() -> None:
    assert shows_a_face(face_frame().image)
    bare = make_frame().image // 2
    assert not shows_a_face(bare)
    assert shows_a_face((0.8 * bare + 0.2 * face_frame().image).astype(np.uint8))


def test_all_well() -> None:
    safe, report = run_replacer()
    assert outcome(report) == [GENERATED, GENERATED]
    assert report.problems == () and not report.withheld
    assert safe.image[100, 90].tolist() == [0, 200, 0]


def raising(patches: Sequence[FacePatch]) -> list[Replacement]:
    raise RuntimeError("out of memory\nsecond line")


def good(patches: Sequence[FacePatch]) -> list[Replacement]:
    return green().generate(patches)


def with_image(change: Callable[[Image], Any]) -> Callable[[Sequence[FacePatch]], list[Replacement]]:
    return lambda patches: [unchecked_replacement(one.patch, change(one.image)) for one in good(patches)]


def lazily_raising(patches: Sequence[FacePatch]) -> Any:
    yield good(patches)[0]
    raise RuntimeError("late")


BROKEN_GENERATORS = {
    "raises": (raising, [FILLED, FILLED]),
    "raises while its answer is read": (lazily_raising, [FILLED, FILLED]),
    "nothing at all": (lambda patches: None, [FILLED, FILLED]),
    "too few": (lambda patches: good(patches)[1:], [FILLED, GENERATED]),
    "too many": (lambda patches: good(patches) * 2, [GENERATED, GENERATED]),
    "not replacements": (lambda patches: [np.zeros((64, 64, 3), np.uint8)] * 2, [FILLED, FILLED]),
    "another patch": (lambda patches: good([foreign_patch()]), [FILLED, FILLED]),
    "no patch": (lambda patches: [unchecked_replacement(None, good(patches)[0].image)], [FILLED, FILLED]),
    "NaN": (with_image(lambda image: np.full(image.shape, np.nan, np.float32)), [FILLED, FILLED]),
    "float": (with_image(lambda image: image.astype(np.float32)), [FILLED, FILLED]),
    "wrong shape": (with_image(lambda image: image[:32]), [FILLED, FILLED]),
    "half as large again": (
        with_image(lambda image: np.repeat(image, 3, 0)[::2].repeat(3, 1)[:, ::2]),
        [FILLED, FILLED],
    ),
    "twice as high": (with_image(lambda image: np.repeat(image, 2, 0)), [FILLED, FILLED]),
    "no image": (with_image(lambda image: None), [FILLED, FILLED]),
    "one flat colour": (with_image(lambda image: np.zeros_like(image)), [FILLED, FILLED]),
}


def foreign_patch() -> FacePatch:
    cropper = AlignedCropper(64)
    track = tracks()[0]
    return cropper.cut(cropper.erase(make_frame(), [track]), track)


@pytest.mark.parametrize("name", BROKEN_GENERATORS)
def test_generator_breaks(name: str) -> None:
    answer, expected = BROKEN_GENERATORS[name]
    _, report = run_replacer(generator=FailingGenerator(answer, 64))
    assert outcome(report) == expected
    assert report.problems and all("\n" not in problem for problem in report.problems)
    assert not report.withheld


def test_an_uncertain_face_is_filled_and_said_so() -> None:
    class Watched(SolidGenerator):
        def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
            assert not any(patch.track.uncertain for patch in patches)
            return super().generate(patches)

    cropper, filler = AlignedCropper(64), SolidGenerator(64)
    replacer = FaceReplacer(cropper, Watched(64, color=(0, 200, 0)), PatchBlender(), filler=filler)
    faint, sure = make_detection(*FACES[0], score=0.55), DETECTIONS[1]
    safe, report = replacer.replace(face_frame(), OnlineTracker().update(0, [faint, sure]))
    assert not shows_a_face(safe.image)
    assert {face.uncertain: face.coverage for face in report.faces} == {True: FILLED, False: GENERATED}
    assert not report.problems


def test_swapped_patches_still_show_no_face() -> None:
    def swapped(patches: Sequence[FacePatch]) -> list[Replacement]:
        first, second = good(patches)
        return [Replacement(first.patch, second.image), Replacement(second.patch, first.image)]

    run_replacer(generator=FailingGenerator(swapped, 64))


class Wrapped:
    """A stage in which one method is another one."""

    def __init__(self, stage: Any, **methods: Any) -> None:
        self._stage = stage
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


def always_raising(*_: object) -> Any:
    raise MemoryError


def changed(safe: SafeFrame, **values: Any) -> SafeFrame:
    fields = {name: getattr(safe, name) for name in ("image", "cover", "index", "pts")}
    return SafeFrame(**{**fields, **values})


BROKEN_BLENDERS = {
    "raises": always_raising,
    "nothing": lambda safe, _: None,
    "only an image": lambda safe, _: safe.image,
    "another size": lambda safe, _: changed(safe, image=safe.image[1:].copy(), cover=safe.cover[1:]),
    "another frame": lambda safe, _: changed(safe, index=7),
    "no cover": lambda safe, _: changed(safe, cover=np.zeros_like(safe.cover)),
    "leaves all out": lambda safe, _: changed(safe, image=safe.image.copy()),
}


@pytest.mark.parametrize("name", BROKEN_BLENDERS)
def test_blender_breaks(name: str) -> None:
    _, report = run_replacer(blender=Wrapped(PatchBlender(), paste=BROKEN_BLENDERS[name]))
    assert outcome(report) == [FILLED, FILLED]
    assert report.problems and not report.withheld


def test_blender_smuggles_the_original_back() -> None:
    """It holds the original's memory, which no blender of ours can."""
    frame = face_frame()

    def paste(safe: SafeFrame, _: object) -> SafeFrame:
        return changed(safe, image=frame.image)

    replacer = FaceReplacer(AlignedCropper(64), green(), Wrapped(PatchBlender(), paste=paste))
    safe, report = replacer.replace(frame, tracks())
    assert not shows_a_face(safe.image)
    assert outcome(report) == [FILLED, FILLED]


def erase_nothing(frame: Frame, _: object) -> SafeFrame:
    return SafeFrame(frame.image, np.ones(frame.image.shape[:2], np.bool_), frame.index, frame.pts)


def erase_only_one(frame: Frame, all_tracks: Sequence[FaceTrack]) -> SafeFrame:
    return AlignedCropper(64).erase(frame, all_tracks[:1])


BROKEN_ERASERS = {
    "raises": always_raising,
    "nothing": lambda frame, _: None,
    "the frame itself": lambda frame, _: frame,
    "the original's memory": erase_nothing,
    "one face forgotten": erase_only_one,
    "another size": lambda frame, _: withhold(make_frame(0, 100, 100)),
    "another frame": lambda frame, all_tracks: changed(AlignedCropper(64).erase(frame, all_tracks), index=3),
}


@pytest.mark.parametrize("name", BROKEN_ERASERS)
def test_erasing_breaks_and_the_frame_is_withheld(name: str) -> None:
    safe, report = run_replacer(cropper=Wrapped(AlignedCropper(64), erase=BROKEN_ERASERS[name]))
    assert report.withheld and outcome(report) == [WITHHELD, WITHHELD]
    assert report.problems
    assert safe.cover.all()
    assert len(np.unique(safe.image)) == 1


@pytest.mark.parametrize("cut", [always_raising, lambda safe, track: None, lambda safe, track: foreign_patch()])
def test_cutting_breaks_and_the_faces_stay_filled(cut: Any) -> None:
    _, report = run_replacer(cropper=Wrapped(AlignedCropper(64), cut=cut))
    assert outcome(report) == [FILLED, FILLED]
    assert len(report.problems) == 2


@pytest.mark.parametrize("garbage", [None, 3, ["face"], [None], [make_detection(90, 100, 60)]])
def test_garbage_for_tracks_withholds_the_frame(garbage: Any) -> None:
    replacer = FaceReplacer(AlignedCropper(64), green(), PatchBlender())
    safe, report = replacer.replace(face_frame(), garbage)
    assert report.withheld and safe.cover.all() and not shows_a_face(safe.image)


NAN_FACE = unchecked_detection(Box(math.nan, 0, 10, 10), DETECTIONS[0].keypoints, 0.9)
BROKEN_LOOKS: dict[str, Any] = {
    "raises": RuntimeError("no device"),
    "NaN boxes": [NAN_FACE, DETECTIONS[1]],
    "not detections": ["face", "face"],
    "nothing": None,
    "a number": 3,
}


@pytest.mark.parametrize("name", BROKEN_LOOKS)
def test_online_detector_breaks_for_a_frame(name: str) -> None:
    """The frame is withheld; the next one, where the detector sees nothing, is covered by coasting."""
    detector = ScriptedDetector({0: DETECTIONS, 1: BROKEN_LOOKS[name], 2: []})
    replacer = FaceReplacer(AlignedCropper(64), green(), PatchBlender())
    pipeline = Pipeline(detector, OnlineTracker(), replacer)
    results = [pipeline.process(face_frame(index)) for index in range(3)]
    assert not any(shows_a_face(safe.image) for safe, _ in results)
    assert [report.withheld for _, report in results] == [False, True, False]
    assert outcome(results[1][1]) == [WITHHELD, WITHHELD]
    assert results[1][1].problems
    assert outcome(results[2][1]) == [GENERATED, GENERATED]


def test_online_tracker_breaks() -> None:
    tracker = Wrapped(OnlineTracker(), update=always_raising)
    replacer = FaceReplacer(AlignedCropper(64), green(), PatchBlender())
    safe, report = Pipeline(ScriptedDetector({0: DETECTIONS}), tracker, replacer).process(face_frame())
    assert report.withheld and not shows_a_face(safe.image)


def run_stream(
    script: dict[int, Any], tracker: Any = None, count: int = 12, replacer: FaceReplacer | None = None
) -> tuple[list[SafeFrame], list[FrameReport]]:
    """Process a stream in which the faces are always there; check that every frame comes out and none shows a face."""
    reports: list[FrameReport] = []
    source, sink = SyntheticSource(count, paint=paint_faces), ListSink()
    replacer = replacer or FaceReplacer(AlignedCropper(64), green(), PatchBlender())
    with source, sink:
        summary = process_stream(
            source,
            sink,
            ScriptedDetector(script),
            tracker or LookaheadTracker(lookahead=4),
            replacer,
            on_frame=reports.append,
        )
    assert [frame.index for frame in sink.frames] == [report.index for report in reports] == list(range(count))
    assert summary.frames == count
    assert summary.withheld_frames == sum(report.withheld for report in reports)
    assert not any(shows_a_face(frame.image) for frame in sink.frames)
    return sink.frames, reports


def always() -> dict[int, Any]:
    return dict.fromkeys(range(12), DETECTIONS)


def test_stream_all_well_covers_missed_frames_too() -> None:
    _, reports = run_stream({3: DETECTIONS, 7: DETECTIONS})
    assert not any(report.withheld or report.problems for report in reports[:1] + reports[3:])
    script: dict[int, Sequence[Detection]] = {4: DETECTIONS, 8: DETECTIONS}
    _, reports = run_stream(dict(script))
    assert all(outcome(report) == [GENERATED, GENERATED] for report in reports)


@pytest.mark.parametrize("name", BROKEN_LOOKS)
def test_stream_detector_breaks_for_some_frames(name: str) -> None:
    script = always()
    script[0] = script[5] = script[6] = script[11] = BROKEN_LOOKS[name]
    _, reports = run_stream(script)
    assert [report.index for report in reports if report.withheld] == [0, 5, 6, 11]
    assert all(report.problems for report in reports if report.withheld)


def test_stream_detector_always_breaks() -> None:
    frames, reports = run_stream(dict.fromkeys(range(12), RuntimeError("no device")))
    assert all(report.withheld for report in reports)
    assert all(len(np.unique(frame.image)) == 1 for frame in frames)


class MoodyTracker(LookaheadTracker):
    """Answers as the test wants at some frames."""

    def __init__(self, moods: dict[int, Callable[[list[Any]], Any]]) -> None:
        super().__init__(lookahead=4)
        self._moods = moods

    def push(self, frame_index: int, detections: Sequence[Detection]) -> Any:
        answers = super().push(frame_index, detections)
        return self._moods.get(frame_index, lambda same: same)(answers)

    def flush(self) -> Any:
        return self._moods.get(-1, lambda same: same)(super().flush())


@pytest.mark.parametrize(
    ("moods", "withheld"),
    [
        ({6: always_raising}, [2, 6]),
        ({6: lambda answers: []}, [2]),
        ({6: lambda answers: None}, [2, 6]),
        ({6: lambda answers: answers * 2}, []),
        ({6: lambda answers: [(99, [])]}, [2, 3, 4, 5, 6]),
        ({6: lambda answers: [(index, None) for index, _ in answers]}, [2, 6]),
        ({6: lambda answers: [(index, ["face"]) for index, _ in answers]}, [2]),
        ({-1: always_raising}, [8, 9, 10, 11]),
        ({-1: lambda answers: answers[2:]}, [8, 9]),
    ],
)
def test_stream_tracker_breaks(moods: dict[int, Any], withheld: list[int]) -> None:
    """A frame for which the tracker gives no sound answer is withheld; none is lost, none is shown twice."""
    _, reports = run_stream(always(), MoodyTracker(moods))
    assert [report.index for report in reports if report.withheld] == withheld


def test_stream_tracker_always_raises_and_memory_stays_bounded() -> None:
    tracker = Wrapped(LookaheadTracker(lookahead=4), push=always_raising, flush=always_raising)
    _, reports = run_stream(always(), tracker)
    assert all(report.withheld for report in reports)
    window = FrameWindow(tracker, 1 << 30)
    assert [len(window.push(face_frame(index), [], [])) for index in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_stream_generator_breaks() -> None:
    replacer = FaceReplacer(AlignedCropper(64), FailingGenerator(raising, 64), PatchBlender())
    _, reports = run_stream(always(), replacer=replacer)
    assert all(outcome(report) == [FILLED, FILLED] for report in reports)
    assert all(len(report.problems) == 1 for report in reports)
