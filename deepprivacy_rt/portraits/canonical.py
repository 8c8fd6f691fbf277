"""The canonical face: one frontal frame of coordinates in which all portraits have their eyes, nose and lips in common.

Its unit is the distance of the outer corners of the eyes; x to the right of the picture, y down, z away from the
camera, about the middle of Face Mesh's points. Maps over it are squares of ``2 * HALF``, centred at (0, ``CENTER_Y``).
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

HALF = 1.05
CENTER_Y = -0.05
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Face Mesh's points around the face."""
_FEATURES = (
    (33, 133, 159, 145, 70, 63, 105, 66, 107, 55),
    (263, 362, 386, 374, 300, 293, 334, 296, 336, 285),
    (61, 291, 0, 17, 37, 267, 84, 314, 39, 269, 181, 405),
)
"""Of each eye with its brow, and of the lips."""
_AROUND_FEATURES = 0.06
_EDGE = 0.07
"""Part of a map's side over which a portrait fades out towards the oval."""
_BARE = 2.0


def to_map(points: Floats, size: int) -> Floats:
    """Return where canonical (…, 2) points lie in a map of ``size``, in its pixels."""
    scale = np.float32(size / (2 * HALF))
    return np.asarray((points - np.array([0.0, CENTER_Y], np.float32)) * scale + np.float32(size / 2 - 0.5))


def map_points(size: int) -> Floats:
    """Return the canonical place of every pixel of a map, (size, size, 2)."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * np.float32(HALF)
    x, y = np.meshgrid(axis, axis + np.float32(CENTER_Y))
    return np.stack([x, y], axis=-1)


def oval(mean: Floats, size: int) -> Floats:
    """Return how much of each pixel of a map is face, (size, size) 0 to 1: soft towards the oval, and 0 at it.

    :param mean: (468, 3) the canonical places of Face Mesh's points.
    """
    outline = np.round(to_map(mean[list(OVAL), :2], size) * 16).astype(np.int32)
    inside = np.zeros((size, size), np.uint8)
    cv2.fillPoly(inside, [outline], 255, shift=4)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    rise = np.clip((distance - _BARE) / (_EDGE * size), 0.0, 1.0)
    return np.asarray(rise * rise * (3 - 2 * rise), np.float32)


def covers(mean: Floats, size: int) -> Floats:
    """Return how much of each pixel of a map is face, and how much is skin without features, (size, size, 2)."""
    features = np.zeros((size, size), np.uint8)
    for points in _FEATURES:
        hull = cv2.convexHull(np.round(to_map(mean[list(points), :2], size)).astype(np.int32))
        cv2.fillConvexPoly(features, hull, 255)
    reach = 2 * round(_AROUND_FEATURES * size / 2) + 1
    features = cv2.dilate(features, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    face = oval(mean, size)
    return np.asarray(np.stack([face, np.where(features > 0, 0.0, face)], axis=-1), np.float32)
