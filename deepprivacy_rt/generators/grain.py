"""Grain of the skin on a forehead that a network painted.

Beside a portrait, whose skin has pores, a forehead without any looks like wax. Which grain it is does not matter, only
that there is about as much of it as below, and that it goes with the head. docs/adr/0039-foreheads-without-a-seam.md.

As blind as the network: all of it follows from its answers, from keypoints and from a constant.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.complexion import TINT_CELLS, likeness, skin_of
from deepprivacy_rt.generators.forehead import over
from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF, Floats
from deepprivacy_rt.types import Image

SIZE, TEXELS = 256, 192
"""Side of the map of grain, which repeats, and how many of its texels are as long as the side of a portrait's map."""
BANDS = ((0.0, 0.5, 0.0117), (0.5, 1.0, 0.0099), (1.0, 2.0, 0.0080))
"""Deviations of the two blurs between which a band lies, in texels, and how much there is of it, in parts of the light.
Bands overlap; drawn, and so sampled linearly, they deviate by 0.0069, 0.0062 and 0.0047 of the light. Foreheads of
portraits, as they are drawn, do so by 0.0070, 0.0059 and 0.0050 in the median (benchmarks/harshness.py)."""
_LEAST = 0.02
"""Part of the grain that is not worth the work."""


def made() -> Floats:
    """Return the map, (SIZE, SIZE) parts of the light by which skin is lighter; the same at every call."""
    noise = np.fft.fft2(np.random.default_rng(39).standard_normal((SIZE, SIZE)))
    ticks = np.fft.fftfreq(SIZE) * 2 * np.pi
    squared = ticks[:, None] ** 2 + ticks[None] ** 2
    total = np.zeros((SIZE, SIZE))
    for fine, coarse, deviation in BANDS:
        passed = np.exp(-0.5 * squared * fine**2) - np.exp(-0.5 * squared * coarse**2)
        band = np.fft.ifft2(noise * passed).real
        total += deviation * band / band.std()
    return np.asarray(total, np.float32)


def in_map(pose: NDArray[np.float64], zoom: int) -> NDArray[np.float64]:
    """Return the (2, 3) matrix from pixels of a picture to those of the map, as if a head were flat.

    :param pose: (2, 4), from canonical points to patch pixels. :param zoom: pixels of the picture per patch pixel.
    """
    texels = TEXELS / (2 * HALF)
    back = np.linalg.inv(pose[:, :2] + 1e-6 * np.eye(2)) * texels
    start = np.array([HALF, HALF - CENTER_Y]) * texels - back @ pose[:, 3]
    return np.column_stack([back / zoom, start + back @ np.full(2, 0.5 / zoom - 0.5)])


def grained(picture: Image, face: Image, shown: Floats, pose: NDArray[np.float64], grain: Floats) -> Image:
    """Return a picture with grain on the skin above its portrait, (S, S, 3) uint8.

    :param picture: (S, S, 3) uint8, with a portrait. :param face: (s, s, 3) uint8, as the network painted it.
    :param shown: (s, s) how much of the portrait is to be seen, 0 to 1. :param pose: see ``in_map``.
    :param grain: see ``made``.
    """
    side, cells = len(picture), min(TINT_CELLS, len(face))
    skin = skin_of(face, shown)
    coarse = cv2.resize(shown, (cells, cells), interpolation=cv2.INTER_AREA)
    above = over(coarse)
    above[_middle(coarse) :] = 0
    if skin is None or above.max() <= _LEAST:
        return picture
    small = cv2.resize(face, (cells, cells), interpolation=cv2.INTER_AREA)
    share = above * likeness(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32), skin)
    window, (left, top), size = _around(share > _LEAST, side)
    matrix = in_map(pose, side // len(face))
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(grain, matrix, size, flags=how, borderMode=cv2.BORDER_WRAP)
    fine *= cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)[window]
    change = cv2.multiply(picture[window], cv2.merge((fine, fine, fine)), dtype=cv2.CV_32F)
    result = picture.copy()
    result[window] = cv2.add(picture[window], change, dtype=cv2.CV_8U)
    return np.asarray(result, np.uint8)


def _middle(shown: Floats) -> int:
    """Return the row of the middle of a portrait, below which there is no forehead. :param shown: (g, g)."""
    rows = shown.sum(axis=1)
    return round(float((rows * np.arange(len(rows))).sum() / max(float(rows.sum()), 1e-6)))


def _around(cells: NDArray[np.bool_], side: int) -> tuple[tuple[slice, slice], tuple[int, int], tuple[int, int]]:
    """Return the pixels of a picture around cells and their neighbours: rows and columns, left and top, width and
    height."""
    rows, columns = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (slice(0, 1), slice(0, 1)), (0, 0), (1, 1)
    count = len(cells)
    top, left = (max(int(one[0]) - 1, 0) * side // count for one in (rows, columns))
    bottom, right = (min(int(one[-1]) + 2, count) * side // count for one in (rows, columns))
    return (slice(top, bottom), slice(left, right)), (left, top), (right - left, bottom - top)
