"""Scores of doubtful faces: the arithmetic on a stand-in network, the effect on real ones."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.detectors.candidates import Candidates
from deepprivacy_rt.detectors.second_look import SecondLook
from deepprivacy_rt.types import Frame, Image

START = 0.5
"""TrackerSettings.start_score: below it nothing new is covered."""


class Sees:
    """Finds one face with a fixed score in the middle of whatever it is shown, as wide as a third of it."""

    def __init__(self, score: float) -> None:
        self.score = score
        self.looks = 0

    def find(self, image: Image) -> Candidates:
        self.looks += 1
        box = np.array([[1, 1, 2, 2]], np.float32) * len(image) / 3
        return Candidates(box, np.zeros((1, 6, 2), np.float32), np.array([self.score], np.float32), np.zeros(1, bool))


def findings(scores: list[float], x: float = 200) -> Candidates:
    n = len(scores)
    boxes = np.array([[x + 100 * i, 100, x + 100 * i + 60, 160] for i in range(n)], np.float32)
    return Candidates(boxes, np.zeros((n, 6, 2), np.float32), np.array(scores, np.float32), np.zeros(n, bool))


IMAGE = np.zeros((400, 800, 3), np.uint8)


def test_doubtful_scores_become_means_and_the_others_stay() -> None:
    full, short = Sees(0.1), Sees(0.9)
    found = SecondLook(full, short).rescored(IMAGE, findings([0.7, 0.5, 0.36, 0.3]))
    assert found.scores.tolist() == pytest.approx([(0.5 + 1.8) / 3, (0.36 + 1.8) / 3, 0.7, 0.3])
    assert found.boxes[:, 0].tolist() == [300, 400, 200, 500]
    assert (full.looks, short.looks) == (0, 4)


def test_where_doubt_remains_the_other_network_is_asked_too() -> None:
    full, short = Sees(0.1), Sees(0.6)
    found = SecondLook(full, short).rescored(IMAGE, findings([0.6, 0.4]))
    assert found.scores.tolist() == pytest.approx([(0.6 + 1.2 + 0.1) / 4, (0.4 + 1.2 + 0.1) / 4])
    assert (full.looks, short.looks) == (2, 4)


@pytest.mark.parametrize("x", [790, 2000])
def test_what_is_seen_elsewhere_does_not_count(x: float) -> None:
    """The box reaches out of the frame, so that the middle of the crop lies beside it; or there is nothing to see."""
    assert SecondLook(Sees(0.9), Sees(0.9)).rescored(IMAGE, findings([0.6], x)).scores.tolist() == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("clip", "index", "place", "is_face"),
    [
        ("previews/intel_classroom.gif", 0, (134, 136), True),
        ("previews/intel_face-demographics-walking.gif", 0, (277, 130), True),
        ("talking/source_s18.mp4", 192, (921, 347), False),  # leaves out of focus
        ("asl/intel_again.mkv", 50, (357, 254), False),  # print on a shirt
    ],
)
def test_real_faces_rise_and_others_fall(
    clip: str, index: int, place: tuple[int, int], is_face: bool, shared: Path, model_file: Callable[[str], Path]
) -> None:
    detector = BlazeFaceDetector(model_file("blazeface-full-range"), model_file("blazeface-short-range"))
    with av.open(str(shared / "data/eval" / clip)) as file:
        image = next(frame for i, frame in enumerate(file.decode(video=0)) if i == index).to_ndarray(format="rgb24")
    found = detector.detect(Frame(image, index, Fraction(0)))
    there = [d for d in found if d.box.x0 < place[0] < d.box.x1 and d.box.y0 < place[1] < d.box.y1]
    assert any(d.score >= START for d in there) == is_face
