"""How a head is turned, from its six sparse keypoints alone: a weak-perspective pose, by least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.types import Points

Doubles = NDArray[np.float64]

_TREMBLE = np.array([0.035, 0.035, 0.045, 0.04, 0.09, 0.09])
"""Standard deviations of BlazeFace's keypoints from a rigid head, in canonical units; measured on training faces."""
_PITCH, _YAW, _ROLL = 0.25, 0.7, 0.3
"""Standard deviations of poses in radians. Patches are aligned: there is little roll left."""
_STEPS = 8
_SETTLED = 2e-3
"""Change of angles and scale below which another step moves no pixel."""
_STEP = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """How a head is turned. :ivar matrix: (2, 4) projection of canonical points to pixels: scaled rotation and shift.

    :ivar angles: (3,) yaw, pitch, roll.
    """

    matrix: Doubles
    angles: Doubles


def rotation(yaw: Doubles, pitch: Doubles, roll: Doubles) -> Doubles:
    """Return Rz(roll) · Ry(yaw) · Rx(pitch) of (n,) angles, (n, 3, 3)."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    rows = [
        [cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp],
        [sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp],
        [-sy, cy * sp, cy * cp],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def fit_pose(places: Points, head: Doubles, near: Pose | None = None) -> Pose:
    """Return the pose that six keypoints show.

    Gauss-Newton on reprojection errors in units of the head, with priors on the angles: six points say little about
    pitch, and an ear that is hidden is placed by guess.

    :param places: (6, 2) keypoints in pixels. :param head: (6, 3) the same points of the head, canonical.
    :param near: a pose nearby, which saves steps; the result is the same.
    """
    points = np.asarray(places, np.float64)
    span = np.linalg.norm(head - head.mean(axis=0), axis=1).sum()
    scale = float(np.linalg.norm(points - points.mean(axis=0), axis=1).sum() / span) or 1.0
    start = np.array([0.0, 0.0, 0.0, math.log(max(scale, 1e-3))])
    state = start.copy()
    if near is not None:
        state = np.append(near.angles, math.log(max(math.hypot(*near.matrix[0, :3]), 1e-3)))
    steps = np.vstack([np.zeros(4), np.eye(4) * _STEP])
    for _ in range(_STEPS):
        errors, _ = _residuals(state + steps, points, head, start)  # one call for all: arrays are small, calls are slow
        columns = (errors[1:] - errors[0]) / _STEP
        change = np.linalg.solve(columns @ columns.T, columns @ errors[0])
        state = state - np.clip(change, -0.5, 0.5)
        state[:2] = np.clip(state[:2], -1.2, 1.2)
        if np.abs(change).max() < _SETTLED:
            break
    return Pose(np.asarray(_residuals(state[None], points, head, start)[1][0]), state[:3])


def _residuals(states: Doubles, points: Doubles, head: Doubles, start: Doubles) -> tuple[Doubles, Doubles]:
    """Return what the least squares are of, (n, 16), and projections, (n, 2, 4); the best shift is known.

    :param states: (n, 4) yaw, pitch, roll, logarithm of the scale.
    """
    yaw, pitch, roll, log_scale = states.T
    scale = np.exp(log_scale)
    matrix = scale[:, None, None] * rotation(yaw, pitch, roll)[:, :2]
    weight = 1.0 / _TREMBLE
    rest = points - head @ matrix.transpose(0, 2, 1)
    shift = (weight**2 / (weight**2).sum()) @ rest
    errors = (rest - shift[:, None]) * weight[:, None] / scale[:, None, None]
    priors = np.stack([yaw / _YAW, pitch / _PITCH, roll / _ROLL, (log_scale - start[3]) / 0.5], axis=1)
    return np.hstack([errors.reshape(len(states), 12), priors]), np.concatenate([matrix, shift[..., None]], axis=2)
