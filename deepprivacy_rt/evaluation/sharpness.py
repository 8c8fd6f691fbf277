"""How much fine detail a face has: the variance of its Laplacian."""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.audit.floors import face_ellipse
from deepprivacy_rt.audit.recogniser import INPUT_SIDE, similarity_to_template
from deepprivacy_rt.evaluation.crops import aligned_luma
from deepprivacy_rt.types import Image, Points

_LEAST, _MOST = 48, 512
"""Sides in pixels between which faces are looked at in the frame's own resolution."""


def own_side(points: Points) -> int:
    """Return the side of the aligned picture at which one of its pixels is about one of the frame's."""
    transform = similarity_to_template(points)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    return int(np.clip(round(INPUT_SIDE / max(scale, 1e-6)), _LEAST, _MOST))


def sharpness(image: Image, points: Points) -> float:
    """Return the variance of the Laplacian of the luma over the face, from the brows to the chin.

    (LAPV in Pertuz et al., Analysis of focus measure operators, 2013.) At the frame's own resolution, so that a face
    that was generated at 128 pixels and enlarged is found blurred. Noise counts as detail.

    :param points: (5, 2) frame pixels; give the original's for both pictures, so that the same place is compared.
    """
    side = own_side(points)
    laplacian = cv2.Laplacian(aligned_luma(image, points, side), cv2.CV_32F)
    return float(np.var(laplacian[face_ellipse(side)]))
