"""Which detection belongs to which track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.tracking.state import State
from deepprivacy_rt.types import Box, Detection

Matrix = NDArray[np.float64]

_SIZE_RATIO = 2.0
"""A face does not grow or shrink by more from one look to the next."""
_SAME_FACE = 0.55
"""Two detections in one frame with at least this IoU are one face."""


def boxes_of(detections: Sequence[Detection]) -> Matrix:
    """Return (n, 4) float64: centre x, centre y, width, height."""
    return np.array([(*one.box.center, one.box.width, one.box.height) for one in detections])


def match(tracks: Sequence[State], seen: Matrix, reaches: Sequence[float]) -> list[tuple[int, int]]:
    """Pair tracks with detections, nearest pairs first (greedy), each at most once.

    :param tracks: predicted states.
    :param seen: (m, 4) float64, detected boxes as from :func:`boxes_of`.
    :param reaches: per track, the largest distance between centres in face sizes.
    :return: pairs of (track, detection) positions.
    """
    if not tracks or not len(seen):
        return []
    first, second = np.array(tracks)[:, :4], seen
    sizes = np.sqrt(first[:, 2] * first[:, 3])[:, None], np.sqrt(second[:, 2] * second[:, 3])[None, :]
    way = first[:, None, :2] - second[None, :, :2]
    distance = np.hypot(way[..., 0], way[..., 1]) / ((sizes[0] + sizes[1]) / 2)
    ratio = np.abs(np.log(sizes[0] / sizes[1]))
    cost = distance + 0.5 * ratio + (1.0 - overlap(first, second))
    near = (distance <= np.asarray(reaches)[:, None]) & (ratio <= np.log(_SIZE_RATIO))
    rows, columns = np.nonzero(near)
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(rows.tolist()), set(columns.tolist())
    for position in np.argsort(cost[rows, columns], kind="stable").tolist():
        row, column = int(rows[position]), int(columns[position])
        if row in free_rows and column in free_columns:
            pairs.append((row, column))
            free_rows.remove(row)
            free_columns.remove(column)
    return pairs


def overlap(first: Matrix, second: Matrix) -> Matrix:
    """Return intersection over union of boxes.

    :param first: (n, 4 or more): centre x, centre y, width, height. :param second: (m, 4 or more), the same.
    :return: (n, m), 0 to 1.
    """
    low = np.maximum((first[:, :2] - first[:, 2:4] / 2)[:, None], (second[:, :2] - second[:, 2:4] / 2)[None])
    high = np.minimum((first[:, :2] + first[:, 2:4] / 2)[:, None], (second[:, :2] + second[:, 2:4] / 2)[None])
    sides = np.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    areas = (first[:, 2] * first[:, 3])[:, None] + (second[:, 2] * second[:, 3])[None]
    return np.asarray(shared / (areas - shared))


def merged(detections: Sequence[Detection]) -> list[Detection]:
    """Return the detections, best first, with those of one face joined: the union of the boxes, keypoints and score of
    the best."""
    ranked = sorted(detections, key=lambda one: -one.score)
    if len(ranked) < 2:
        return ranked
    boxes = boxes_of(ranked)
    same = overlap(boxes, boxes) >= _SAME_FACE
    kept: dict[int, Detection] = {}
    for i, detection in enumerate(ranked):
        twin = next((int(j) for j in np.flatnonzero(same[i, :i]) if int(j) in kept), None)
        if twin is None:
            kept[i] = detection
        else:
            kept[twin] = _joined(kept[twin], detection.box)
    return list(kept.values())


def _joined(best: Detection, other: Box) -> Detection:
    box = best.box
    union = Box(min(box.x0, other.x0), min(box.y0, other.y0), max(box.x1, other.x1), max(box.y1, other.y1))
    return Detection(union, best.keypoints, best.score)
