"""How a track's head is turned from frame to frame: keypoints tremble, and what is sharp shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.rest import is_continued
from deepprivacy_rt.portraits.gestures import SMILE, UPPER_SHARE, gap_of
from deepprivacy_rt.portraits.pose import Pose, fit_pose
from deepprivacy_rt.types import FaceTrack, Points

_SMOOTHING_SECONDS = 0.05
"""Time constant for poses and tones of a face that is nearly at rest within its patch."""
_TREMBLE, _MOVE = 0.012, 0.05
"""Parts of the patch side: a pose that differs by no more is smoothed, one that differs by more is taken at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A track's head in one frame.

    :ivar pose: as it was fitted. :ivar matrix: (2, 4) as it is drawn, calmed. :ivar goes_on: whether the track was
        there in the frame before.
    """

    track: FaceTrack
    pose: Pose
    matrix: NDArray[np.float64]
    goes_on: bool


def new_part(frame_rate: float) -> float:
    """Return how much of a new pose or tone counts at rest, 0 to 1."""
    return 1.0 - math.exp(-1.0 / (_SMOOTHING_SECONDS * frame_rate))


def posed(
    track: FaceTrack,
    keypoints: Points,
    head: NDArray[np.float64],
    size: int,
    earlier: Posed | None,
    part: float,
) -> Posed:
    """Return how a head is turned. Small movements are smoothed, large ones are followed at once.

    :param keypoints: (6, 2) patch pixels. :param head: (6, 3) the same places of the head at rest, canonical.
    :param size: side of the patch. :param earlier: the same track in the frame before. :param part: see ``new_part``.
    """
    head = head.copy()
    # An open mouth's middle lies lower than where shut lips meet.
    head[3, 1] += (0.5 - UPPER_SHARE) * gap_of(track.expression)
    # A smile lifts its corners, which are half of what the mouth's place is the mean of.
    head[3, 1] += 0.5 * SMILE[1] * track.expression.smile
    if earlier is not None and not is_continued(earlier.track, track):
        earlier = None
    pose = fit_pose(keypoints, head, None if earlier is None else earlier.pose)
    if earlier is None:
        return Posed(track, pose, pose.matrix, goes_on=False)
    change = pose.matrix - earlier.matrix
    moved = head @ change[:, :3].T + change[:, 3]
    far = float(np.hypot(*moved.T).max()) / size
    share = part + (1 - part) * min(max((far - _TREMBLE) / (_MOVE - _TREMBLE), 0.0), 1.0)
    return Posed(track, pose, earlier.matrix + share * change, goes_on=True)
