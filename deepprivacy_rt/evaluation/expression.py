"""Opening of mouth and eyelids over time, from MediaPipe's 468 face points, and how far a copy follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.cropping import RegionGeometry, frame_to_patch
from deepprivacy_rt.detectors.yunet_convention import to_blazeface
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.evaluation.crops import warped
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork
from deepprivacy_rt.types import Box, Image

_SIDE = 192
_REGION = RegionGeometry(center_y=0.0, half_width=0.75, half_height=0.75, side=1.5)
"""MediaPipe's own: 1.5 times BlazeFace's box (face_detection_front_detection_to_roi.pbtxt)."""
_LIPS = (13, 14)
"""Middle of the upper and of the lower lip, inner edge."""
_LIDS = ((159, 145, 33, 133), (386, 374, 263, 362))
"""Upper and lower lid, outer and inner corner, of the right and the left eye."""
_OUTER_CORNERS = (33, 263)


class Openings(NamedTuple):
    """What a face does.

    :ivar mouth: gap between the lips over the distance of the outer corners of the eyes.
    :ivar eyes: gap between the lids over the length of the eye, mean of both (eye aspect ratio, Soukupová & Čech 2016).
    """

    mouth: float
    eyes: float


class FaceMesh:
    """MediaPipe's Face Mesh on OpenVINO.

    :param model: ``face_landmark.tflite``: (1, 192, 192, 3) RGB 0 to 1 in, 468 points (x, y, z) out.

    Raises EnvironmentProblem without OpenVINO, WeightsError for a file that is missing or unreadable.
    """

    def __init__(self, model: Path) -> None:
        self._network = OpenVinoNetwork(model)

    def points(self, image: Image, face: Face) -> NDArray[np.float32]:
        """Return the points at the place of ``face``, (468, 3) float32, in pixels of its own crop. Raises StageError.

        :param face: where to look: the original's for both pictures, for a copy may have no face to find.
        """
        found = to_blazeface(np.array([face.box]), face.points[None].astype(np.float64), np.array([face.score]))
        transform = frame_to_patch(_REGION, Box(*map(float, found.boxes[0])), found.keypoints[0], _SIDE)
        if not np.isfinite(transform).all():
            raise StageError("a face of the original has degenerate points")
        blob = warped(image, transform, _SIDE)[None].astype(np.float32) / np.float32(255)
        mesh = next(out for out in self._network.infer([blob]) if out.size == 468 * 3)
        return np.asarray(mesh.reshape(468, 3), np.float32)


def openings(mesh: NDArray[np.float32]) -> Openings:
    """Return the openings of mouth and eyes of (468, 3) points. Distances are in space: yaw leaves them alone."""

    def distance(first: int, second: int) -> float:
        return float(np.linalg.norm(mesh[first] - mesh[second]))

    mouth = distance(*_LIPS) / max(distance(*_OUTER_CORNERS), 1e-6)
    eyes = [distance(upper, lower) / max(distance(outer, inner), 1e-6) for upper, lower, outer, inner in _LIDS]
    return Openings(mouth, float(np.mean(eyes)))


def correlation(original: Sequence[float], copy: Sequence[float]) -> float:
    """Return Pearson's correlation of two series of the same moments; 0 where the copy does not move at all.

    NaN where the original does not move: then there is nothing to follow.
    """
    a, b = (np.asarray(series, np.float64) - np.mean(series) for series in (original, copy))
    if len(a) < 2 or not np.any(a):
        return float("nan")
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0
