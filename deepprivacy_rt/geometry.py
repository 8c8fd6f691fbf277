"""Where a face lies: the similarity between a frame and *face units*.

The origin is the centre of the (smoothed, BlazeFace) box, one unit is the box's mean side, x runs along the line from
the subject's right eye to the left one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.types import Affine, Box, Points


@dataclass(frozen=True, slots=True)
class RegionGeometry:
    """Cover and patch of a region, in face units.

    :ivar center_y: the common centre of cover and patch, downwards from the box centre.
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


def face_to_frame(box: Box, keypoints: NDArray[np.floating]) -> Affine:
    """Return the (2, 3) similarity that maps face units to frame pixels."""
    unit = (box.width + box.height) / 2
    roll = roll_of(keypoints)
    c, s = unit * np.cos(roll), unit * np.sin(roll)
    x, y = box.center
    return np.array([[c, -s, x], [s, c, y]])


def frame_to_patch(geometry: RegionGeometry, box: Box, keypoints: NDArray[np.floating], size: int) -> Affine:
    """Return the (2, 3) similarity that maps frame pixels to the pixels of a patch of ``size``."""
    to_frame = np.vstack([face_to_frame(box, keypoints), [0.0, 0.0, 1.0]])
    scale = size / geometry.side
    middle = (size - 1) / 2
    to_patch = np.array([[scale, 0.0, middle], [0.0, scale, middle - scale * geometry.center_y]])
    mapped: Affine = to_patch @ np.linalg.inv(to_frame)
    return mapped


def transform_points(transform: Affine, points: NDArray[np.floating]) -> Points:
    """Map (n, 2) points by a (2, 3) transform."""
    mapped: Points = (np.asarray(points, dtype=np.float64) @ transform[:, :2].T + transform[:, 2]).astype(np.float32)
    return mapped
