"""Several detectors at once: they err on different faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepprivacy_rt.detectors.candidates import Candidates, merge_views, to_detections
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.types import Detection, Frame


class UnionDetector:
    """Implements :class:`deepprivacy_rt.stages.Detector`: what any of the given detectors finds, each face once."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        if not detectors:
            raise ValueError("a union needs at least one detector")
        self._detectors = tuple(detectors)

    def detect(self, frame: Frame) -> list[Detection]:
        """Return every face, best first. Raises what the detectors raise: one that fails is not passed over."""
        found = [face for detector in self._detectors for face in detector.detect(frame)]
        rows = Candidates(
            np.array([face.box for face in found], np.float32).reshape(-1, 4),
            np.array([face.keypoints for face in found], np.float32).reshape(-1, 6, 2),
            np.array([face.score for face in found], np.float32),
            np.zeros(len(found), np.bool_),
        )
        return to_detections(merge_views(rows))
