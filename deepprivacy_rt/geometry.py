"""Where a face lies: the similarity between a frame and *face units*.

The origin is the middle of the face, near the centre of the (smoothed, BlazeFace) box, one unit is the box's mean side
or more where the head is turned or tilted, x runs along the line from the subject's right eye to the left one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.types import Affine, Box, Points

_ASIDE, _NEARLY_STRAIGHT, _FARTHEST = 0.65, 0.02, 0.13
"""How far the middle of a face lies from its box's, over how far that of its keypoints does; units by which less than
that, for keypoints tremble; units beyond which it does not. docs/adr/0030-middle-of-turned-faces.md."""
_LARGER = 0.6
"""By how much a unit is larger, per unit that the middle is aside: boxes of faces that are turned are smaller."""
_TILTED, _MOST_TILTED = 0.41, 0.75
"""The same, per square radian that a head is tilted, and radians from which it is no larger."""


@dataclass(frozen=True, slots=True)
class RegionGeometry:
    """Cover and patch of a region, in face units.

    :ivar center_y: the common centre of cover and patch, downwards from the middle of the face.
    :ivar half_width: half-axis of the cover across the face.
    :ivar half_height: half-axis of the cover along the face.
    :ivar side: side of the square patch.
    :ivar exponent: of the superellipse |x/a|^n + |y/b|^n = 1; 2 is an ellipse, more is squarer.
    """

    center_y: float
    half_width: float
    half_height: float
    side: float
    exponent: float = 2.7


def roll_of(keypoints: NDArray[np.floating]) -> float:
    """Return the in-plane rotation of a face in radians, clockwise as seen in the picture, 0 when upright.

    The eye line alone is ill-conditioned in profile. The eye line, half of the ear line and the eyes-to-mouth line
    turned by a right angle are added as vectors: each weighs as much as it is long in the picture.

    :param keypoints: (6, 2), any unit.
    """
    right_eye, left_eye, _, mouth, right_ear, left_ear = np.asarray(keypoints, dtype=np.float64)
    down = mouth - (right_eye + left_eye) / 2
    across = (left_eye - right_eye) + 0.5 * (left_ear - right_ear) + np.array([down[1], -down[0]])
    return float(np.arctan2(across[1], across[0]))


def box_to_frame(box: Box, keypoints: NDArray[np.floating]) -> Affine:
    """Return the (2, 3) similarity that maps face units to frame pixels, but for its origin: the centre of the box."""
    unit = (box.width + box.height) / 2
    roll = roll_of(keypoints)
    c, s = unit * np.cos(roll), unit * np.sin(roll)
    x, y = box.center
    return np.array([[c, -s, x], [s, c, y]])


def about_the_middle(to_frame: Affine, keypoints: NDArray[np.floating]) -> Affine:
    """Return face units about the middle of a face in place of its box's centre.

    The box of a face that turns goes ahead with the nose, leaves cheek and ear behind, and gets smaller; that of a head
    that is tilted gets smaller, too.

    :param to_frame: see ``box_to_frame``. :param keypoints: (6, 2) frame pixels.
    """
    right = to_frame[:, 0]
    x = (np.asarray(keypoints, np.float64) - to_frame[:, 2]) @ right / max(float(right @ right), 1e-12)
    off = _ASIDE * (float(x.min()) + float(x.max())) / 2
    off = float(np.copysign(min(max(abs(off) - _NEARLY_STRAIGHT, 0.0), _FARTHEST), off))
    tilt = min(abs(float(np.arctan2(right[1], right[0]))), _MOST_TILTED)
    linear = to_frame[:, :2] * ((1 + _LARGER * abs(off)) * (1 + _TILTED * tilt**2))
    return np.column_stack([linear, to_frame[:, 2] + off * right])


def face_to_frame(box: Box, keypoints: NDArray[np.floating]) -> Affine:
    """Return the (2, 3) similarity that maps face units to frame pixels."""
    return about_the_middle(box_to_frame(box, keypoints), keypoints)


def frame_to_patch(geometry: RegionGeometry, box: Box, keypoints: NDArray[np.floating], size: int) -> Affine:
    """Return the (2, 3) similarity that maps frame pixels to the pixels of a patch of ``size``."""
    return to_patch(geometry, face_to_frame(box, keypoints), size)


def to_patch(geometry: RegionGeometry, to_frame: Affine, size: int) -> Affine:
    """Return the (2, 3) similarity that maps frame pixels to the pixels of a patch of ``size``.

    :param to_frame: (2, 3) face units to frame pixels.
    """
    scale = size / geometry.side
    middle = (size - 1) / 2
    from_units = np.array([[scale, 0.0, middle], [0.0, scale, middle - scale * geometry.center_y]])
    mapped: Affine = from_units @ np.linalg.inv(np.vstack([to_frame, [0.0, 0.0, 1.0]]))
    return mapped


def transform_points(transform: Affine, points: NDArray[np.floating]) -> Points:
    """Map (n, 2) points by a (2, 3) transform."""
    mapped: Points = (np.asarray(points, dtype=np.float64) @ transform[:, :2].T + transform[:, 2]).astype(np.float32)
    return mapped
