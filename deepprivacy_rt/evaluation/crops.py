"""Aligned pictures of faces for the measures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.recogniser import INPUT_SIDE, similarity_to_template
from deepprivacy_rt.resampling import warped
from deepprivacy_rt.types import Image, Points


def aligned_luma(image: Image, points: Points, side: int = INPUT_SIDE) -> NDArray[np.float32]:
    """Return the face at ``points`` ((5, 2), see ``Face``), turned onto the template: (side, side) luma, 0 to 255."""
    transform = similarity_to_template(points) * (side / INPUT_SIDE)
    return np.asarray(cv2.cvtColor(warped(image, transform, side), cv2.COLOR_RGB2GRAY), np.float32)
