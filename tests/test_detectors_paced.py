"""How often a stream is looked at, and that nothing shows between two looks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.build import build_anonymizer, make_source
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.detectors.paced import PacedDetector
from deepprivacy_rt.evaluation.copies import PictureSink
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.pipeline import FaceReplacer, FrameReport, process_stream
from deepprivacy_rt.testing import ListSink, ScriptedDetector, SyntheticSource, make_detection, make_frame
from deepprivacy_rt.tracking import LookaheadTracker
from deepprivacy_rt.types import Detection, Frame, Image
from deepprivacy_rt.weights import Weights

FACE = make_detection(150, 120, 60)


class Watched:
    """Notes the frames that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def detect(self, frame: Frame) -> list[Detection]:
        self.asked.append(frame.index)
        return [FACE]


def looks(times: Sequence[Fraction | float]) -> tuple[list[int], list[int], list[int]]:
    """Return the frames with a quick look, those with a full one, and those in which faces were returned."""
    quick, full = Watched(), Watched()
    detector = PacedDetector(quick, full)
    image = make_frame(0, 32, 32).image
    found = [index for index, time in enumerate(times) if detector.detect(Frame(image, index, Fraction(time)))]
    return quick.asked, full.asked, found


@pytest.mark.parametrize(
    ("rate", "either", "full"),
    [(10, 1, 1), (15, 1, 2), (24, 2, 4), (25, 2, 4), (30, 2, 4), (50, 3, 6), (60, 3, 6), (120, 6, 12)],
)
def test_looks_come_by_time(rate: int, either: int, full: int) -> None:
    quick_looks, full_looks, found = looks([Fraction(index, rate) for index in range(49)])
    assert found == sorted(quick_looks + full_looks) == list(range(0, 49, either))
    assert full_looks == list(range(0, 49, full))


def test_the_first_frame_gets_a_look_of_its_own_and_no_other_does() -> None:
    quick, full, first = Watched(), Watched(), Watched()
    detector = PacedDetector(quick, full, first)
    image = make_frame(0, 32, 32).image
    for index in range(9):
        detector.detect(Frame(image, index, Fraction(index, 30)))
    assert (first.asked, quick.asked, full.asked) == ([0], [2, 6], [4, 8])


@pytest.mark.parametrize("name", ["019.jpg", "055.jpg"])
def test_a_turned_face_in_a_picture_is_found_though_no_other_look_follows(name: str, shared: Path) -> None:
    """Both were left bare by a balanced look: its score was too low to be sure of, and nothing could confirm it."""
    anonymizer = build_anonymizer(FaceConfig(seed=0, device="cpu", filter="solid"), Weights())
    reports: list[FrameReport] = []
    sink = PictureSink()
    with make_source(shared / "data/eval/stills" / name) as source, sink:
        anonymizer.run(source, sink, 1.0, on_frame=reports.append, stop=threading.Event())
    assert [len(report.faces) for report in reports] == [1]


def test_milliseconds_of_a_container_change_nothing() -> None:
    times = [Fraction(round(1000 * index / 30), 1000) for index in range(40)]
    assert looks(times)[2] == list(range(0, 40, 2))


def test_a_slow_part_of_a_variable_rate_is_looked_at_frame_by_frame() -> None:
    fast, slow = [index / 60 for index in range(7)], [0.1 + index / 4 for index in range(1, 5)]
    assert looks(fast + slow)[1] == [0, 6, 7, 8, 9, 10]


def test_time_that_jumps_back_is_looked_at() -> None:
    assert looks([5.0, 5.01, 0.0, 0.01, 0.06])[2] == [0, 2, 4]


def test_after_a_failure_the_next_frame_is_looked_at() -> None:
    detector = PacedDetector(ScriptedDetector({}), ScriptedDetector({0: RuntimeError("no device"), 1: [FACE]}))
    image = make_frame(0, 32, 32).image
    with pytest.raises(RuntimeError):
        detector.detect(Frame(image, 0, Fraction(0)))
    assert detector.detect(Frame(image, 1, Fraction(1, 30))) == [FACE]
    assert detector.detect(Frame(image, 2, Fraction(2, 30))) == []


def test_a_face_is_covered_in_every_frame_of_a_stream() -> None:
    """The face is red, comes at an odd frame, moves, and goes; red is nowhere else."""
    places = {index: (60 + 4 * index, 120) for index in range(7, 32)}

    def paint(image: Image, index: int) -> None:
        image //= 2
        if index in places:
            x, y = places[index]
            image[y - 20 : y + 20, x - 20 : x + 20] = (255, 0, 0)

    script = {index: [make_detection(x, y, 60)] for index, (x, y) in places.items()}
    source, sink = SyntheticSource(45, paint=paint), ListSink()
    replacer = FaceReplacer(AlignedCropper(64), SolidGenerator(64, color=(0, 200, 0)), PatchBlender())
    detector = ScriptedDetector(script)
    with source, sink:
        process_stream(source, sink, PacedDetector(detector, detector), LookaheadTracker(lookahead=20), replacer)
    shown = [frame.index for frame in sink.frames if (frame.image[..., 0] > 128).any()]
    assert len(sink.frames) == 45 and not shown
