"""How a head is turned, from its six sparse keypoints alone: a weak-perspective pose, by least squares."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.types import Points

Doubles = NDArray[np.float64]

_TREMBLE = np.array([0.035, 0.035, 0.045, 0.04, 0.09, 0.09])
"""Standard deviations of BlazeFace's keypoints from a rigid head, in canonical units; measured on training faces."""
_PITCH, _YAW, _ROLL = 0.25, 0.7, 0.3
"""Standard deviations of poses in radians. Patches are aligned: there is little roll left."""
_STEPS = 5
_STEP = 1e-4


def rotation(yaw: float, pitch: float, roll: float) -> Doubles:
    """Return Rz(roll) · Ry(yaw) · Rx(pitch), (3, 3)."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return np.asarray(around_z @ around_y @ around_x)


def fit_pose(places: Points, head: Doubles) -> Doubles:
    """Return the projection of canonical points to pixels, (2, 4): scaled rotation and shift.

    Gauss-Newton on reprojection errors in units of the head, with priors on the angles: six points say little about
    pitch, and an ear that is hidden is placed by guess.

    :param places: (6, 2) keypoints in pixels. :param head: (6, 3) the same points of the head, canonical.
    """
    points = np.asarray(places, np.float64)
    span = np.linalg.norm(head - head.mean(axis=0), axis=1).sum()
    scale = float(np.linalg.norm(points - points.mean(axis=0), axis=1).sum() / span) or 1.0
    start = np.array([0.0, 0.0, 0.0, math.log(max(scale, 1e-3))])
    state = start
    for _ in range(_STEPS):
        now, _ = _residuals(state, points, head, start)
        columns = [(_residuals(state + step, points, head, start)[0] - now) / _STEP for step in np.eye(4) * _STEP]
        change = np.linalg.lstsq(np.stack(columns, axis=1), now, rcond=None)[0]
        state = state - np.clip(change, -0.5, 0.5)
        state[:2] = np.clip(state[:2], -1.2, 1.2)
    return _residuals(state, points, head, start)[1]


def _residuals(state: Doubles, points: Doubles, head: Doubles, start: Doubles) -> tuple[Doubles, Doubles]:
    """Return what the least squares are of, and the projection; the best shift for a rotation is known."""
    yaw, pitch, roll, log_scale = state
    matrix = math.exp(log_scale) * rotation(yaw, pitch, roll)[:2]
    weight = 1.0 / _TREMBLE
    rest = points - head @ matrix.T
    share = weight**2 / (weight**2).sum()
    shift = share @ rest
    errors = (rest - shift) * weight[:, None] / math.exp(log_scale)
    priors = [yaw / _YAW, pitch / _PITCH, roll / _ROLL, (log_scale - start[3]) / 0.5]
    return np.concatenate([errors.ravel(), priors]), np.hstack([matrix, shift[:, None]])
