"""How far eyes, nose and mouth of the new face lie from where those of the original were."""

from __future__ import annotations

import numpy as np

from deepprivacy_rt.audit.recogniser import TEMPLATE
from deepprivacy_rt.types import Points

_FRONTAL = float(
    np.hypot(*(TEMPLATE[1] - TEMPLATE[0])) / np.hypot(*(TEMPLATE[3:].mean(axis=0) - TEMPLATE[:2].mean(axis=0)))
)
"""Inter-ocular over eyes-to-mouth distance of a frontal face (0.87)."""


def inter_ocular(points: Points) -> float:
    """Return the distance of the eyes in pixels, as it would be seen from the front.

    In profile the eyes nearly coincide; the distance from the eyes to the mouth, which the yaw leaves alone, is then
    the better measure of size. The larger of the two counts.

    :param points: (5, 2), see ``Face``.
    """
    eyes = float(np.hypot(*(points[1] - points[0])))
    down = float(np.hypot(*(points[3:].mean(axis=0) - points[:2].mean(axis=0))))
    return max(eyes, _FRONTAL * down)


def keypoint_error(original: Points, copy: Points) -> float:
    """Return the mean distance of the five points from the original's, in its inter-ocular distances.

    (The normalised mean error of face alignment, Sagonas et al., 300 Faces in-the-Wild, 2013.)

    :param original, copy: (5, 2) frame pixels, found by the same detector.
    """
    distances = np.hypot(*(copy.astype(np.float64) - original).T)
    return float(distances.mean() / max(inter_ocular(original), 1e-6))
