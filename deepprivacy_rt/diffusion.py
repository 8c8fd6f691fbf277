"""Spreading known values smoothly over unknown ones: used to match colours and to colour mosaics."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

KERNEL = ((0.05, 1.0), (0.12, 1e-2), (0.35, 1e-4))
"""(standard deviation as a part of the side, weight): a sum of Gaussians with a long tail. Near a known cell the narrow
ones rule, far from all the wide ones."""


def diffused(values: FloatImage, known: NDArray[np.float32], cells: int) -> FloatImage | None:
    """Return known values spread over a coarse grid by normalised convolution.

    Knutsson, Westin: Normalized and Differential Convolution, CVPR 1993.

    :param values: (s, s, 3) float32, 0 where not known.
    :param known: (s, s) float32, 1 where values count, 0 where not.
    :param cells: side of the grid, at most s.
    :return: (cells, cells, 3) float32, or None where nothing is known.
    """
    grid = (cells, cells)
    weights = cv2.resize(known, grid, interpolation=cv2.INTER_AREA)
    if not weights.any():
        return None
    both = np.dstack([cv2.resize(values, grid, interpolation=cv2.INTER_AREA), weights])
    total = np.zeros_like(both)
    for spread, share in KERNEL:
        total += share * cv2.GaussianBlur(both, (0, 0), spread * cells, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(total[..., :3] / np.maximum(total[..., 3:], 1e-12), dtype=np.float32)
