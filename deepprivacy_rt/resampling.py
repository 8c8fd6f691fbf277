"""Cutting an upright patch out of a picture without aliasing."""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.types import Affine, Image


def warped(image: Image, transform: Affine, side: int) -> Image:
    """Return what ``transform`` (picture to patch pixels) shows of a picture, (side, side, 3) RGB; black beyond it.

    Bilinear taps skip pixels where a picture shrinks: it is first averaged in whole cells.
    """
    image, moved = _around(image, transform, side)
    factor = max(1, int(1 / np.hypot(transform[0, 0], transform[1, 0])))
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


def _around(image: Image, transform: Affine, side: int) -> tuple[Image, Affine]:
    """Return the part of the picture that the patch shows, with a margin, and its own transform."""
    corners = np.array([[0, 0, 1], [side, 0, 1], [side, side, 1], [0, side, 1]], np.float64)
    places = corners @ cv2.invertAffineTransform(transform).T
    margin = 2 / np.hypot(transform[0, 0], transform[1, 0]) + 2
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(places.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(places.max(axis=0) + margin), [x0 + 1, y0 + 1], [width, height]).astype(int)
    moved = transform.astype(np.float64)
    moved[:, 2] += moved[:, :2] @ np.array([x0, y0])
    return image[y0:y1, x0:x1], moved
