"""A face as one vector, so that smoothing and extrapolating are plain arithmetic.

State: (16,) float64 in frame pixels: centre x, centre y, width, height, then x and y of the six keypoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.tracking.settings import TrackerSettings
from deepprivacy_rt.types import Box, Detection, Points

State = NDArray[np.float64]
Velocity = NDArray[np.float64]
"""(2,) float64: pixels per frame of the box centre."""

_USUAL_KEYPOINTS = np.array(
    [(-0.20, -0.22), (0.20, -0.22), (0.0, 0.04), (0.0, 0.27), (-0.44, -0.14), (0.44, -0.14)], dtype=np.float64
)
"""Frontal upright face in BlazeFace's box, from the box centre in box sides: stands in for impossible keypoints."""

_DAMPING_SECONDS = 0.25
"""A lost face is thought to slow down to 1/e of its speed in this time."""
_FARTHEST = 1.5
"""Face sizes that a lost face is thought to go at most."""
_AT_REST = 0.01
"""Face sizes per frame below which a velocity is taken for noise."""


def check_detections(detections: Sequence[Detection]) -> None:
    """Raise StageError unless all are finite detections; not every detector's work was checked by ``Detection``."""
    for detection in detections:
        if not isinstance(detection, Detection):
            raise StageError(f"detector returned a {type(detection).__name__} in place of a Detection")
        box = detection.box
        finite = math.isfinite(sum(box)) and math.isfinite(detection.score) and np.isfinite(detection.keypoints).all()
        if not finite or not (box[2] > box[0] and box[3] > box[1]):
            raise StageError("detector returned a face that is not finite or has no area")


def observe(detection: Detection, previous: State | None = None) -> State:
    """Return the state of a detection; impossible keypoints are replaced, the box never is.

    :param previous: the same face a moment ago: its keypoints stand in for impossible ones.
    """
    box = detection.box
    state = np.empty(16)
    state[:2] = box.center
    state[2:4] = box.width, box.height
    state[4:] = detection.keypoints.ravel()
    if not _keypoints_possible(state):
        offsets = _USUAL_KEYPOINTS if previous is None else _relative_keypoints(previous)
        state[4:] = (state[:2] + offsets * state[2:4]).ravel()
    return state


def _relative_keypoints(state: State) -> NDArray[np.float64]:
    return np.asarray((state[4:].reshape(6, 2) - state[:2]) / state[2:4])


def _keypoints_possible(state: State) -> bool:
    """Keypoints lie about the box, and the mouth at a sane distance from the eyes, whatever the roll or yaw."""
    # Plain floats: this runs for every detection, and small arrays are slow.
    x, y, width, height, *points = state.tolist()
    right = [(value - x) / width for value in points[0::2]]
    down = [(value - y) / height for value in points[1::2]]
    if max(map(abs, right)) > 1.1 or max(map(abs, down)) > 1.1:
        return False
    if max(abs(sum(right[:4])), abs(sum(down[:4]))) > 4 * 0.4:
        return False
    reach = math.hypot(right[3] - (right[0] + right[1]) / 2, down[3] - (down[0] + down[1]) / 2)
    return 0.12 < reach < 1.0 and math.hypot(right[1] - right[0], down[1] - down[0]) < 0.9


def box_of(state: State) -> Box:
    x, y, half_width, half_height = float(state[0]), float(state[1]), float(state[2]) / 2, float(state[3]) / 2
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def keypoints_of(state: State) -> Points:
    return state[4:].reshape(6, 2).astype(np.float32)


def size_of(state: State) -> float:
    """Geometric mean of the box sides, in pixels."""
    return math.sqrt(float(state[2]) * float(state[3]))


def moved(state: State, velocity: Velocity, frames: int, settings: TrackerSettings) -> State:
    """Return a face extrapolated by some frames, slowing down. Negative frames run backwards in time."""
    if math.hypot(float(velocity[0]), float(velocity[1])) < _AT_REST * size_of(state):
        return np.array(state)
    damping = math.exp(-1.0 / (_DAMPING_SECONDS * settings.frame_rate))
    way = velocity * math.copysign((1.0 - damping ** abs(frames)) / (1.0 - damping), frames)
    way *= min(1.0, _FARTHEST * size_of(state) / math.hypot(*way))
    result = np.array(state)
    result[:2] += way
    result[4:].reshape(6, 2)[:] += way
    return result


def coasted(state: State, velocity: Velocity, frames: int, settings: TrackerSettings) -> State:
    """Return where a face may be that was seen some frames away.

    The face is enlarged as a whole, so that it contains both the place where it was seen and the place where it would
    be had it gone on: it moves half of the way d between the two, and is scaled by at least 1 + d / size. A convex
    cover that reaches half a size from the box centre on every side then holds its old self and the moved one. (That of
    a face that is turned reaches less far to one side, where its box holds background: docs/adr/0030.)
    """
    ahead = moved(state, velocity, frames, settings)
    way = ahead[:2] - state[:2]
    result: State = state.copy()
    result[:2] += way / 2
    result[4:].reshape(6, 2)[:] += way / 2
    grown, gone = settings.growth(abs(frames)), math.hypot(*way) / size_of(state)
    return enlarged(result, max(grown, gone + grown))


def enlarged(state: State, factor: float) -> State:
    """Return the face, box and keypoints, enlarged about the centre of its box."""
    result: State = state.copy()
    result[2:4] *= factor
    points = result[4:].reshape(6, 2)
    points[:] = result[:2] + (points - result[:2]) * factor
    return result


def kept_near(smoothed: State, seen: State, slack: float) -> State:
    """Return the smoothed state, nowhere farther from the detection than ``slack`` face sizes and never a smaller box
    than that: smoothing then cannot leave part of a fast face uncovered."""
    limit = slack * size_of(seen)
    result: State = np.clip(smoothed, seen - limit, seen + limit)
    result[2:4] = np.maximum(result[2:4], seen[2:4] * (1.0 - slack))
    return result
