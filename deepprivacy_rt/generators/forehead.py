"""A forehead that goes with the face below it.

Pictures that networks learn from are lit from above. A portrait is not, and its skin is brought to that of a neck: the
forehead over it, which is the network's, stays pale, and is grey in places. So what is lighter than the track's skin
there, and is no wall, is brought towards it, and what is not keeps its light and gets the skin's hue.
docs/adr/0037-foreheads.md.

As blind as the network: all of it follows from its answers and from erased patches.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.complexion import DARK, GREY, TINT_CELLS, to_ycc
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import Image

HEIGHT = 0.8
"""Radii of a portrait above it up to which there may be a forehead."""
BROW = 0.2
"""Radii of a portrait, from its upper end, that are forehead: brows lie below."""
EDGE = 1.5
"""Cells over which a forehead begins and ends."""
CHEEKS = 1.1
"""Light of a forehead over the mean of a face, whose brows, eyes and lips are dark."""
DIM = 0.65, 0.85
"""Parts of that light up to which it is hair, or shadow, and from which on it is skin."""
HUED = -0.4, 0.0
"""Parts of the skin's saturation up to which a colour is none of the skin's, and from which it is: networks paint grey
light on foreheads, and walls are known."""
KEPT = 0.35
"""How much of the difference is left."""
_LEAST = 0.02
"""Change that is not worth the work, as a part."""


def evened(
    face: Image, mask: NDArray[np.bool_], hint: Floats, skin: NDArray[np.float64], where: Floats | None = None
) -> Image:
    """Return a network's face whose forehead is about as light as its skin, (s, s, 3) uint8.

    :param face: (s, s, 3) uint8. :param mask: (s, s) the cover; nothing else changes.
    :param hint: (2, s, s) of a portrait, see ``portraits.hint``. :param skin: (3,) RGB levels; black: not known.
    :param where: (g, g) where there is a wall, 0 to 1; None: nowhere.
    """
    cells = (min(TINT_CELLS, len(face)),) * 2
    light, shown = (cv2.resize(one, cells, interpolation=cv2.INTER_AREA) for one in hint)
    above = over(shown)
    if where is not None:
        above = above * (1 - cv2.resize(where, cells, interpolation=cv2.INTER_LINEAR))
    wanted = np.asarray(np.minimum(skin * CHEEKS * brow_light(light, shown), 255), np.float32)
    if float(wanted.max()) < DARK or float(above.max()) < _LEAST:
        return face
    small = cv2.resize(face, cells, interpolation=cv2.INTER_AREA).astype(np.float32)
    ycc = cv2.cvtColor(small.astype(np.uint8), cv2.COLOR_RGB2YCrCb).astype(np.float32)
    share, light = _skin(ycc, to_ycc(wanted))
    goal = wanted * np.minimum(light, 1)[..., None]
    change = (1 - KEPT) * (above * share)[..., None] * (goal / np.maximum(small, 1) - 1)
    if float(np.abs(change).max()) < _LEAST:
        return face
    fine = cv2.resize(change, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    made = cv2.add(face, cv2.multiply(face, fine, dtype=cv2.CV_32F), dtype=cv2.CV_8U)
    return np.asarray(cv2.copyTo(made, mask.astype(np.uint8), face.copy()), np.uint8)


def over(shown: Floats) -> Floats:
    """Return where a forehead is, by where a portrait is, (g, g) 0 to 1 both."""
    inside = (shown > 0.5).astype(np.uint8)
    radius = math.sqrt(float(inside.sum()) / math.pi)
    column = np.ones((round(HEIGHT * radius) + 1, 1), np.uint8)
    head = cv2.dilate(inside, column, anchor=(0, 0)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(head, (0, 0), EDGE) * (1 - shown**4), np.float32)


def brow_light(light: Floats, shown: Floats) -> float:
    """Return how light a portrait is where it ends below a forehead, over its skin.

    :param light, shown: (g, g), the parts of a hint.
    """
    inside = shown > 0.5
    below = round(BROW * math.sqrt(float(inside.sum()) / math.pi)) + 1
    upper = inside.copy()
    upper[below:] &= ~inside[:-below]
    return 1.0 + float(light[upper].sum()) / max(float(shown[upper].sum()), 1.0)


def _skin(ycc: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Return how much colours may be a skin's, (g, g) 0 to 1, and how light they are, in parts of it.

    :param ycc: (g, g, 3) luma, Cr and Cb. :param wanted: (3,) of the skin.
    """
    luma, red, blue = cv2.split(ycc)
    over_luma = 1 / np.maximum(luma, np.float32(DARK))
    own_red, own_blue = np.maximum(np.array([wanted[1] - GREY, GREY - wanted[2]]) / max(float(wanted[0]), DARK), 1e-2)
    hue = np.minimum((red - np.float32(GREY)) / np.float32(own_red), (np.float32(GREY) - blue) / np.float32(own_blue))
    colored = np.clip((hue * over_luma - HUED[0]) / (HUED[1] - HUED[0]), 0, 1)
    light = np.asarray(luma / np.float32(max(float(wanted[0]), DARK)), np.float32)
    return np.asarray(np.clip((light - DIM[0]) / (DIM[1] - DIM[0]), 0, 1) * colored, np.float32), light
