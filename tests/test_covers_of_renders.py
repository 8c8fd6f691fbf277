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

    def __init__(self, row: dict[str, Any], image: Image, face: np.ndarray, tracks: Sequence[FaceTrack]) -> None:
        self.frame, self.tracks, self.face = Frame(image, 0, Fraction(0)), tracks, face
        self.yaw = abs(float(row["attributes"]["yaw"]))
        self._points = row["landmarks"]

    def ears(self, cover: np.ndarray) -> list[bool]:
        """Return which ears in the picture are under a cover."""
        places = [[int(one) for one in self._points[name]] for name in ("earL", "earR")]
        return [bool(cover[y, x]) for x, y in places if 0 <= x < cover.shape[1] and 0 <= y < cover.shape[0]]


@lru_cache(maxsize=3)
def heads(folder: Path, tilt: float = 0.0) -> list[Head]:
    """Return rendered heads in which a face is found, turned in the picture by so many degrees."""
    detector = BlazeFaceDetector(Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range"))
    found = []
    for row in map(
        json.loads, (folder / "manifest.jsonl").read_text().splitlines()[:: EVERY if tilt == 0 else 2 * EVERY]
    ):
        image = tilted(cv2.cvtColor(cv2.imread(str(folder / row["file"])), cv2.COLOR_BGR2RGB), tilt)
        face = tilted(cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE), tilt) > 128
        tracks = OnlineTracker().update(0, detector.detect(Frame(image, 0, Fraction(0))))
        if tracks:
            found.append(Head(row, image, face, tracks))
    assert len(found) >= (90 if tilt == 0 else 45)
    return found


def tilted(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a picture, on a larger one, where it is to be turned at all."""
    if degrees == 0:
        return picture
    side = len(picture)
    way = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 0.8)
    way[:, 2] += side / 6
    return np.asarray(cv2.warpAffine(picture, way, (side * 4 // 3,) * 2, borderMode=cv2.BORDER_REPLICATE), np.uint8)


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


@pytest.mark.parametrize("tilt", [40.0, -40.0])
def test_faces_of_tilted_heads_are_covered(tilt: float, shared: Path) -> None:
    some = [head for head in heads(shared / "data/renders", tilt) if head.yaw < 25]
    shares = [float((head.face & ~cover(head, Region.FACE)).sum() / head.face.sum()) for head in some]
    assert len(shares) >= 25
    assert np.mean(shares) < 0.012 and np.quantile(shares, 0.9) < 0.04


def test_ears_and_faces_lie_under_the_cover_of_a_head(shared: Path) -> None:
    ears, faces = [], []
    for head in heads(shared / "data/renders"):
        hidden = cover(head, Region.HEAD)
        ears += head.ears(hidden)
        faces.append(float((head.face & hidden).sum() / head.face.sum()))
    assert len(ears) > 150 and np.mean(ears) > 0.99
    assert min(faces) > 0.99
