"""What is shown when there is nothing that may be shown."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from deepprivacy_rt.types import Image, SafeFrame

_GROUND = (38, 40, 44)
_SIGN = (150, 154, 160)


def slate(width: int, height: int, index: int, pts: Fraction) -> SafeFrame:
    """Return a dark picture with a pause sign: no pixel of it comes from a source."""
    return SafeFrame(_picture(width, height), np.ones((height, width), dtype=np.bool_), index, pts)


def _picture(width: int, height: int) -> Image:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = _GROUND
    unit = min(width, height) / 16
    top, bottom = round(height / 2 - 2 * unit), round(height / 2 + 2 * unit)
    for side in (-1, 1):
        center = width / 2 + side * unit
        image[top:bottom, round(center - unit / 2) : round(center + unit / 2)] = _SIGN
    return image
