"""Where a portrait's picture has hair on the rim of its forehead: there the network's forehead is the better one.

A strand that ends where the portrait does looks like a second brow, and no hair around a new face goes on with it.
"""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import Image

_DARK, _DARKER = 0.66, 0.56
"""Parts of the light on the skin around: what is darker is hair, in part from the first on, wholly from the second."""
_LOWEST, _LOWER = 0.41, 0.48
"""Parts of the picture's side down to which hair is looked for, and from which it is not: there beards begin."""
_RIM, _GRAIN, _REACH, _SOFT = 0.11, 0.005, 0.045, 0.013
"""Parts of the side: from the edge of the face inwards; below which nothing is hair; around hair; of the transition."""


def strands(image: Image, level: Floats, cover: Floats) -> Floats:
    """Return how much of each pixel of a face's picture is hair on its forehead and temples, (t, t) 0 to 1.

    :param image: (t, t, 3) uint8 RGB. :param level: (t, t, 3) the light on its skin. :param cover: (t, t, 2), see
        ``covers``.
    """
    side = len(image)
    luma, light = (one.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) for one in (image, level))
    smooth = cv2.GaussianBlur(luma, (0, 0), _GRAIN * side) / np.maximum(light, 1.0)
    dark = np.clip((_DARK - smooth) / (_DARK - _DARKER), 0.0, 1.0)
    rows = (np.arange(side, dtype=np.float32)[:, None] + 0.5) / side
    found = dark * np.clip((_LOWER - rows) / (_LOWER - _LOWEST), 0.0, 1.0) * _rim(cover, side)
    found = cv2.morphologyEx(np.asarray(found, np.float32), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    wide = cv2.dilate(found, _disc(_REACH * side))
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), _SOFT * side), np.float32)


def _rim(cover: Floats, side: int) -> Floats:
    """Return 1 near the edge of a face, but for brows and eyes, else 0."""
    face = (cover[..., 0] > 0.5).astype(np.uint8)
    inner = cv2.erode(face, _disc(2 * _RIM * side))
    features = cover[..., 0] - cover[..., 1] > 0
    return np.where(inner.astype(np.bool_) | features, 0.0, 1.0).astype(np.float32)


def _disc(diameter: float) -> Image:
    reach = 2 * round(diameter / 2) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)), np.uint8)
