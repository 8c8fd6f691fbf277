"""What covers hide, on rendered heads, of which it is known where ears and face are, and how they are turned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.tracking.online import OnlineTracker
from deepprivacy_rt.types import FaceTrack, Frame, Image
from deepprivacy_rt.weights import Weights

EVERY = 8


class Head:
    """One picture in which a face was found. :ivar yaw: degrees from straight. :ivar face: (h, w) bool."""

    def __init__(self, folder: Path, row: dict[str, Any], image: Image, tracks: Sequence[FaceTrack]) -> None:
        self.frame, self.tracks = Frame(image, 0, Fraction(0)), tracks
        self.yaw = abs(float(row["attributes"]["yaw"]))
        self.face = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        self._points = row["landmarks"]

    def ears(self, cover: np.ndarray) -> list[bool]:
        """Return which ears in the picture are under a cover."""
        places = [[int(one) for one in self._points[name]] for name in ("earL", "earR")]
        return [bool(cover[y, x]) for x, y in places if 0 <= x < cover.shape[1] and 0 <= y < cover.shape[0]]


@lru_cache(maxsize=1)
def heads(folder: Path) -> list[Head]:
    detector = BlazeFaceDetector(Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range"))
    found = []
    for row in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines()[::EVERY]):
        image = np.asarray(cv2.cvtColor(cv2.imread(str(folder / row["file"])), cv2.COLOR_BGR2RGB), np.uint8)
        tracks = OnlineTracker().update(0, detector.detect(Frame(image, 0, Fraction(0))))
        if tracks:
            found.append(Head(folder, row, image, tracks))
    assert len(found) >= 90
    return found


def cover(head: Head, region: Region) -> np.ndarray:
    return AlignedCropper(128, region).erase(head.frame, head.tracks).cover


@pytest.mark.parametrize(
    ("least", "most", "bare", "worst"), [(0, 30, 0.002, 0.02), (30, 45, 0.006, 0.05), (45, 90, 0.035, 0.15)]
)
def test_faces_are_covered_however_they_are_turned(
    least: float, most: float, bare: float, worst: float, shared: Path
) -> None:
    some = [head for head in heads(shared / "data/renders") if least <= head.yaw < most]
    shares = [float((head.face & ~cover(head, Region.FACE)).sum() / head.face.sum()) for head in some]
    assert len(shares) >= 8
    assert np.mean(shares) < bare and max(shares) < worst


def test_ears_and_faces_lie_under_the_cover_of_a_head(shared: Path) -> None:
    ears, faces = [], []
    for head in heads(shared / "data/renders"):
        hidden = cover(head, Region.HEAD)
        ears += head.ears(hidden)
        faces.append(float((head.face & hidden).sum() / head.face.sum()))
    assert len(ears) > 150 and np.mean(ears) > 0.99
    assert min(faces) > 0.99
