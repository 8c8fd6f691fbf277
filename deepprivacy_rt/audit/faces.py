"""Faces as the audit sees them: YuNet's box and five points, in YuNet's own convention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.detectors.yunet import YuNetDetector
from deepprivacy_rt.types import Box, Image, Points

LONGEST_SIDE = 1280
"""Frames are shown to YuNet at about their own size, larger ones at this."""
DEFAULT_SCORE = 0.6
_NMS_IOU = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face found by YuNet.

    :ivar box: frame pixels, from the forehead to the chin: higher than wide on a frontal face.
    :ivar points: (5, 2) float32 frame pixels: right eye, left eye, nose tip, right and left corner of the mouth.
    :ivar score: 0 to 1.
    """

    box: Box
    points: Points
    score: float

    @property
    def size(self) -> float:
        """The shorter side of the box in pixels; what "a face of 48 px" means in every number of the audit."""
        return min(self.box.width, self.box.height)


class FaceFinder:
    """Finds faces for the audit.

    :param model: ``yunet_n_dynamic.onnx``.
    :param score: lowest score of a face. Below 0.6 YuNet takes more backs of heads and hands for faces.

    Raises EnvironmentProblem without OpenVINO, WeightsError for a file that is unreadable or another network.
    """

    def __init__(self, model: Path, *, score: float = DEFAULT_SCORE) -> None:
        self.model = model
        self.score = score
        self._detectors: dict[int, YuNetDetector] = {}

    def find(self, image: Image) -> list[Face]:
        """Return the faces in an RGB picture, best first. Raises StageError when the inference fails."""
        long_side = max(32, min(LONGEST_SIDE, max(image.shape[:2])))
        if long_side not in self._detectors:
            self._detectors[long_side] = YuNetDetector(self.model, threshold=self.score, long_side=long_side)
        boxes, points, scores = self._detectors[long_side].raw(image)
        if not len(scores):
            return []
        corners = [(float(x0), float(y0), float(x1 - x0), float(y1 - y0)) for x0, y0, x1, y1 in boxes]
        kept = np.asarray(cv2.dnn.NMSBoxes(corners, scores.tolist(), self.score, _NMS_IOU)).ravel()
        faces = [Face(Box(*map(float, boxes[i])), points[i].astype(np.float32), float(scores[i])) for i in kept]
        return sorted(faces, key=lambda face: -face.score)


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes, 0 to 1."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)


def best_match(box: Box, faces: list[Face]) -> tuple[Face | None, float]:
    """Return the face that overlaps a box most, and how much (IoU); None and 0 where none does."""
    overlaps = [iou(box, face.box) for face in faces]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return (faces[best], overlaps[best]) if best >= 0 and overlaps[best] > 0 else (None, 0.0)
