"""Pictures of any size on a canvas of one size."""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.types import Image


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height rounded down to even numbers, at least 2: 4:2:0 video and virtual cameras need them."""
    width, height = size
    return max(2, width & ~1), max(2, height & ~1)


def letterbox(image: Image, size: tuple[int, int]) -> Image:
    """Fit a picture into a canvas with black bars, keeping its aspect ratio.

    :param image: (h, w, 3) uint8.
    :param size: width and height of the canvas, both even.
    :return: (height, width, 3) uint8, contiguous: ``image`` itself where it has that size already. A picture that is
        larger by one odd row or column only is cut, not scaled, so that its pixels stay exact.
    """
    width, height = size
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width) and image.flags.c_contiguous:
        return image
    if 0 <= rows - height <= 1 and 0 <= columns - width <= 1:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / columns, height / rows)
    inner_width = min(width, max(1, round(columns * scale)))
    inner_height = min(height, max(1, round(rows * scale)))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = image if scale == 1 else cv2.resize(image, (inner_width, inner_height), interpolation=method)
    canvas[top : top + inner_height, left : left + inner_width] = fitted
    return canvas
