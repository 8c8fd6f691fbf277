"""Outlines of heads before plain walls, as crisp as what is around the cover.

After little training a network paints the edge of a cheek, a jaw, or hair as smoke, ten pixels wide. Where a plain wall
was continued, what lies at the foot of that slope takes the colours below, up to the wall's, and what lies above it the
head's: a shock filter (Osher and Rudin, Feature-oriented image enhancement using shock filters, 1990) with the second
derivative across the edge, of a blurred picture, so that the outline is smooth (Weickert, Coherence-enhancing shock
filters, 2003). In one step, for a network's smoke is as wide as it is. docs/adr/0035-outlines.md.

As blind as the network: all of it follows from its answers and from erased patches.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import Image

SMOOTH = 0.025
"""Standard deviation, in parts of the patch side, over which an outline is smooth."""
REACH = 0.024
"""Parts of the patch side from which the colour of a head is taken."""
NEAR = 5
"""Cells of the wall's grid up to which an outline is a wall's."""
NEAR_BLUR, NEAR_SURE = 1.0, (1.5, -0.25)
"""Cells over which that ends; gain and offset, so that what is half a wall's counts half, and the ends are cut."""
STEEP, LEAST_SLOPE = 6.0, 1.0
"""Second derivative over slope, per deviation, from whose inverse on colours are moved as far as they are, whatever the
contrast; and the slope, in levels of luma per cell, that is no edge."""
LIFT, HEADWARDS = 0.95, 0.5
"""How far that is, 1: all the way; and how much less far it is for what becomes the head's: the dark line that networks
draw along a jaw would become a band."""
CONTRAST = 8.0
"""Levels of luma off a wall's from which on it is known which side is the head's."""
_LEAST = 0.05
"""How near any outline must be for the work to be worth it."""


def outlined(face: Image, where: Floats, wall: Floats, mask: NDArray[np.bool_]) -> Image:
    """Return a network's face with crisp edges where a wall is near, (s, s, 3) uint8.

    :param face: (s, s, 3) uint8. :param where: (g, g) where a wall was continued, 0 to 1.
    :param wall: (g, g, 3) its RGB levels. :param mask: (s, s) the cover; nothing else changes.
    """
    near = cv2.GaussianBlur(cv2.dilate(where, np.ones((2 * NEAR + 1,) * 2, np.uint8)), (0, 0), NEAR_BLUR)
    near = np.clip(NEAR_SURE[0] * near + NEAR_SURE[1], 0, 1)
    if float(near.max()) < _LEAST:
        return face
    rising, wallwards = _moves(face, wall)
    size = face.shape[1::-1]
    rising, wallwards, behind = (
        cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in (rising * near, wallwards, wall)
    )
    square = np.ones((reach(len(face)),) * 2, np.uint8)
    beside = cv2.copyTo(cv2.erode(face, square), (rising > 0).astype(np.uint8), cv2.dilate(face, square))
    behind = np.clip(np.rint(behind), 0, 255).astype(np.uint8)
    bounded = cv2.max(cv2.min(beside, cv2.max(face, behind)), cv2.min(face, behind))
    target = cv2.blendLinear(bounded, beside, wallwards, 1 - wallwards)
    share = np.abs(rising) * mask
    return np.asarray(cv2.blendLinear(target, face, share, 1 - share), np.uint8)


def reach(size: int) -> int:
    """Return the side of the square from which colours are taken, in a patch of ``size``."""
    return 2 * max(round(REACH * size), 1) + 1


def _moves(face: Image, wall: Floats) -> tuple[Floats, Floats]:
    """Return how much to darken, above 0, or to brighten, below it, (g, g) -1 to 1, and how surely towards the wall."""
    cells = wall.shape[:2]
    luma, beside = (
        cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float32)
        for one in (cv2.resize(face, cells, interpolation=cv2.INTER_AREA), wall)
    )
    blurred = cv2.GaussianBlur(luma, (0, 0), SMOOTH * len(wall))
    across, slope = _across(blurred, SMOOTH * len(wall))
    rising = LIFT * np.clip(STEEP * SMOOTH * len(wall) * across / (slope + LEAST_SLOPE), -1, 1)
    headwards = np.clip((beside - blurred) / CONTRAST, -1, 1) * np.sign(rising)
    rising *= 1 - (1 - HEADWARDS) * np.maximum(headwards, 0)
    return np.asarray(rising, np.float32), np.asarray(np.maximum(-headwards, 0), np.float32)


def _across(luma: Floats, deviation: float) -> tuple[Floats, Floats]:
    """Return the second derivative in the direction in which most changes, by the structure tensor, and the slope."""
    dx, dy = _slopes(luma)
    (dxx, dxy), (_, dyy) = _slopes(dx), _slopes(dy)
    xx, xy, yy = (cv2.GaussianBlur(one, (0, 0), deviation) for one in (dx * dx, dx * dy, dy * dy))
    # The direction's doubled angle has this cosine and sine, times its length.
    cosine, sine = xx - yy, 2 * xy
    length = np.sqrt(cosine * cosine + sine * sine) + np.float32(1e-6)
    across = 0.5 * (dxx + dyy + (cosine * (dxx - dyy) + 2 * sine * dxy) / length)
    return np.asarray(across, np.float32), np.asarray(np.sqrt(xx + yy), np.float32)


def _slopes(luma: Floats) -> tuple[Floats, Floats]:
    dx, dy = (cv2.Sobel(luma, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)
