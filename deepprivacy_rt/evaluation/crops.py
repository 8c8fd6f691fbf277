"""Aligned pictures of faces for the measures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.recogniser import INPUT_SIDE, similarity_to_template
from deepprivacy_rt.types import Affine, Image, Points


def warped(image: Image, transform: Affine, side: int) -> Image:
    """Return what ``transform`` (frame to patch pixels) shows of a frame, (side, side, 3) RGB, without aliasing.

    Bilinear taps skip pixels where a picture shrinks: it is first averaged in whole cells.
    """
    factor = max(1, int(1 / np.hypot(transform[0, 0], transform[1, 0])))
    moved = transform.copy()
    if factor > 1:
        height, width = (length // factor for length in image.shape[:2])
        if not (height and width):
            return np.zeros((side, side, 3), np.uint8)
        cells = image[: height * factor, : width * factor]
        image = np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        # Pixel centres: full = (small + 0.5) * factor - 0.5
        moved[:, 2] += moved[:, :2].sum(axis=1) * (0.5 * factor - 0.5)
        moved[:, :2] *= factor
    return np.asarray(cv2.warpAffine(image, moved, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def aligned_luma(image: Image, points: Points, side: int = INPUT_SIDE) -> NDArray[np.float32]:
    """Return the face at ``points`` ((5, 2), see ``Face``), turned onto the template: (side, side) luma, 0 to 255."""
    transform = similarity_to_template(points) * (side / INPUT_SIDE)
    return np.asarray(cv2.cvtColor(warped(image, transform, side), cv2.COLOR_RGB2GRAY), np.float32)
