"""From the raw output of a BlazeFace network to faces: anchors, coordinates, scores.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019); the layouts are those of
MediaPipe's ``face_detection_short_range`` and ``face_detection_full_range_sparse``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepprivacy_rt.detectors.candidates import Candidates, Floats


@dataclass(frozen=True, slots=True)
class Layout:
    """One BlazeFace network.

    :ivar size: side of the square RGB input in pixels.
    :ivar grids: (cells per side, anchors per cell) of each output scale, in output order.
    """

    size: int
    grids: tuple[tuple[int, int], ...]

    def anchors(self) -> Floats:
        """Return the anchor centres, (n, 2) float32, in input pixels."""
        centres = []
        for cells, per_cell in self.grids:
            ticks = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) * np.float32(self.size / cells)
            x, y = np.meshgrid(ticks, ticks)
            centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
        return np.concatenate(centres)


SHORT_RANGE = Layout(128, ((16, 2), (8, 6)))
"""Faces within about two metres."""
FULL_RANGE = Layout(192, ((48, 1),))
"""Faces within about five metres."""


def decode(raw: Floats, logits: Floats, anchors: Floats, threshold: float) -> Candidates:
    """Read a network's output.

    :param raw: (n, 16) float32: box centre x, y, box width, height, then six keypoints x, y, all in input pixels
        relative to the anchor's centre (sides absolute).
    :param logits: (n,) float32.
    :param anchors: (n, 2) float32, of the network's layout.
    :param threshold: lowest score to keep.
    :return: in input pixels, counted from the picture's edge, before suppression of overlaps.
    """
    scores: Floats = np.reciprocal(1 + np.exp(-np.clip(logits, -80, 80)), dtype=np.float32)
    # Written so that a score that is no number is kept, and refused later, instead of silently meaning "no face".
    keep = ~(scores < threshold)
    points = raw[keep].reshape(-1, 8, 2)
    centres = points[:, 0] + anchors[keep]
    half = points[:, 1] / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    keypoints = points[:, 2:] + anchors[keep][:, None]
    return Candidates(boxes, keypoints, scores[keep], np.zeros(len(boxes), np.bool_))
