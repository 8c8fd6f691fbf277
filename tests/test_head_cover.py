"""What a head's cover hides, on rendered heads, of which it is known where ears and face are."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.tracking.online import OnlineTracker
from deepprivacy_rt.types import Frame
from deepprivacy_rt.weights import Weights

EVERY = 8
TURNED = 30.0
"""Degrees of yaw from which an ear lies far to one side."""


def test_ears_and_faces_of_rendered_heads_are_covered(shared: Path) -> None:
    folder = shared / "data/renders"
    detector = BlazeFaceDetector(Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range"))
    ears: list[tuple[bool, bool]] = []
    faces = []
    for row in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines()[::EVERY]):
        image = cv2.cvtColor(cv2.imread(str(folder / row["file"])), cv2.COLOR_BGR2RGB)
        frame = Frame(np.asarray(image, np.uint8), 0, Fraction(0))
        tracks = OnlineTracker().update(0, detector.detect(frame))
        if not tracks:
            continue
        cover = AlignedCropper(128, Region.HEAD).erase(frame, tracks).cover
        face = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        faces.append(float((face & cover).sum() / face.sum()))
        turned = abs(row["attributes"]["yaw"]) >= TURNED
        for name in ("earL", "earR"):
            x, y = (int(one) for one in row["landmarks"][name])
            if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
                ears.append((bool(cover[y, x]), turned))
    assert len(faces) >= 90
    assert np.mean(faces) > 0.999 and min(faces) > 0.95  # of a profile, the jaw
    straight, aside = ([is_covered for is_covered, turned in ears if turned == wanted] for wanted in (False, True))
    assert len(aside) >= 30 and all(straight)
    assert np.mean(aside) >= 0.95
