"""How far a copy's mouth, eyelids and smile follow the original's over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.detectors.yunet_convention import to_blazeface
from deepprivacy_rt.expressions.face_mesh import FaceMesh, Openings, crop_of, openings
from deepprivacy_rt.types import Box, Image


def openings_at(mesh: FaceMesh, image: Image, face: Face) -> Openings:
    """Return the openings at the place of ``face``. Raises StageError.

    :param face: where to look: the original's for both pictures, for a copy may have no face to find.
    """
    found = to_blazeface(np.array([face.box]), face.points[None].astype(np.float64), np.array([face.score]))
    box = Box(*map(float, found.boxes[0]))
    return openings(mesh.points(image, crop_of(box, found.keypoints[0])))


def correlation(original: Sequence[float], copy: Sequence[float]) -> float:
    """Return Pearson's correlation of two series of the same moments; 0 where the copy does not move at all.

    NaN where the original does not move: then there is nothing to follow.
    """
    a, b = (np.asarray(series, np.float64) - np.mean(series) for series in (original, copy))
    if len(a) < 2 or not np.any(a):
        return float("nan")
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0
