"""Raw findings as arrays, and how overlapping ones become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.types import Box, Detection

Floats: TypeAlias = NDArray[np.float32]

_SAME_IOU = 0.3
_MOSTLY, _HALF = 0.7, 0.5
_SAME_EYE = 0.2
"""Distance of two eyes, in sides of the smaller box, up to which they are one."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Faces that a network believes to see, in any order.

    :ivar boxes: (n, 4) float32: left, top, right, bottom.
    :ivar keypoints: (n, 6, 2) float32, in the order of ``KEYPOINT_NAMES``.
    :ivar scores: (n,) float32, 0 to 1.
    :ivar cut: (n,) bool, True where the picture that the network saw ended in the middle of the frame at the box, so
        that the box may hold only a part of the face.
    """

    boxes: Floats
    keypoints: Floats
    scores: Floats
    cut: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.keypoints.shape != (n, 6, 2) or self.cut.shape != (n,):
            raise StageError(f"candidates disagree: {self.boxes.shape}, {self.keypoints.shape}, {self.cut.shape}")

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Candidates:
        """Return the rows of that index or selection."""
        return Candidates(self.boxes[rows], self.keypoints[rows], self.scores[rows], self.cut[rows])

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """Return the rows of all parts, in order. Raises ValueError for no part."""
        return Candidates(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.cut for part in parts]),
        )


def overlaps(box: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """Compare one box (4,) with boxes (n, 4).

    :return: intersection over union (n,), and intersection over the smaller of both areas (n,).
    """
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    tiny = np.float32(1e-9)
    return shared / np.maximum(area + areas - shared, tiny), shared / np.maximum(np.minimum(area, areas), tiny)


def weighted_nms(found: Candidates, iou: float) -> Candidates:
    """Join the overlapping findings of one network call into their mean, weighted by score.

    The joined box keeps the best score. BlazeFace (Bazarevsky et al. 2019, section 3.3, "tie resolution") averages
    instead of suppressing, for then boxes do not jitter from frame to frame.

    :return: one row per face, best first.
    """
    left = found.pick(np.argsort(-found.scores, kind="stable"))
    faces = []
    while len(left):
        same = overlaps(left.boxes[0], left.boxes)[0] > iou
        same[0] = True
        faces.append(_mean(left.pick(same)))
        left = left.pick(~same)
    return Candidates.join(faces) if faces else found


def merge_views(found: Candidates) -> Candidates:
    """Join the findings of several overlapping views of one frame: each face once.

    Whole faces come before faces cut by the border of a view, then higher scores. A finding is the same face as a
    better one when they overlap well, or one lies mostly in the other and is not much smaller, or a cut one lies
    mostly in it, or one lies half in the other and they have an eye in common: nobody shares eyes. A small box in a
    large one stays: that may be a child in front of an adult. A cut face that no whole one explains stays too: better a
    wrong box than a bare face.

    :return: one row per face, the mean of its whole findings weighted by score; best first.
    """
    left = found.pick(np.lexsort((-found.scores, found.cut)))
    faces = []
    while len(left):
        iou, inside = overlaps(left.boxes[0], left.boxes)
        same = (iou > _SAME_IOU) | ((inside > _MOSTLY) & ((iou > _SAME_IOU / 2) | left.cut))
        same |= (inside > _HALF) & (iou > _SAME_IOU / 2) & _share_an_eye(left)
        same[0] = True
        close = same & (iou > _SAME_IOU) & (left.cut == left.cut[0])
        close[0] = True
        faces.append(_mean(left.pick(close)))
        left = left.pick(~same)
    if not faces:
        return found
    merged = Candidates.join(faces)
    return merged.pick(np.argsort(-merged.scores, kind="stable"))


def _share_an_eye(found: Candidates) -> NDArray[np.bool_]:
    """Say of which findings an eye is the first one's, (n,)."""
    eyes = found.keypoints[:, :2]
    apart = np.linalg.norm(eyes[:, :, None] - eyes[0], axis=-1).min(axis=(1, 2))
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).mean(axis=1)
    return np.asarray(apart < _SAME_EYE * np.minimum(sides, sides[0]), np.bool_)


def _mean(group: Candidates) -> Candidates:
    weights = group.scores / np.maximum(group.scores.sum(), np.float32(1e-9))
    return Candidates(
        np.einsum("n,nk->k", weights, group.boxes)[None],
        np.einsum("n,nkc->kc", weights, group.keypoints)[None],
        group.scores.max(keepdims=True),
        group.cut[:1],
    )


def to_detections(found: Candidates) -> list[Detection]:
    """Turn rows into detections, in the same order. Raises StageError for values that are not finite."""
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.keypoints).all() and np.isfinite(found.scores).all()):
        raise StageError("the face detector returned values that are not finite")
    return [
        Detection(Box(*(float(v) for v in box)), np.ascontiguousarray(keypoints, np.float32), float(score))
        for box, keypoints, score in zip(found.boxes, found.keypoints, found.scores, strict=True)
        if box[2] > box[0] and box[3] > box[1]
    ]
