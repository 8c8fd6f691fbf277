"""The colour of a face's skin, steady over a track.

A network reads it off neck and light anew in every frame, and where a chin hides the neck it guesses: a face that is
pale in one second is brown in the next, and where a neck is to be seen, its face is paler than that. So the network's
colour is brought towards that of the skin below the face, as far as there is any. These colours are averaged over
seconds, each with as much weight as there is skin of that colour to be seen around the face, and what the network draws
is brought to the average. Light that changes at once is followed at once. docs/adr/0022-complexion.md.

As blind as the network: all of it follows from its answers and from erased patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import FacePatch, Image

MEMORY_SECONDS = 4.0
"""Time constant of the average."""
CELLS = 32
"""Side of the grid on which surroundings are looked at."""
TINT_CELLS = 64
"""Side of the grid on which it is told what has the skin's colour."""
SPREAD = 40.0, 7.0
"""Levels of luma, and of chroma (Cr and Cb), over which a colour ceases to be the skin's."""
NECK = 0.27, 0.25
"""Parts of the patch side to either side of the middle, and above the cover's lower end, within which skin is a
neck's."""
NECK_OFF, NECK_SPREAD, NECK_LIKE = (-18.0, -3.0, 0.0), (50.0, 8.0, 8.0), (32.0, 6.0, 6.0)
"""By how much a neck is darker than what a network draws, with standard deviations, in levels of luma, Cr and Cb; and
those of a neck's colours from their mean."""
NECK_STEPS, NECK_WIDER = 3, 1.6
NECK_COLORED = 0.5
"""Part of the network's saturation, red and yellow, below which it is a grey wall or hair."""
FACE_OVER_NECK = 0.93, 1.2, 1.05
"""Luma, Cr and Cb of a face, its brows, eyes and lips included, over its neck's; cheeks alone are 1.03, 1.3 and 1.1."""
NECK_SURE, NECK_TRUST = (0.08, 0.30), 0.6
"""Part of the place that is skin from which on it counts, and from which on it counts most; and how much that is."""
DARK = 8.0
"""Level of luma below which colours are noise."""
GREY = 127.5
"""Cr and Cb of what has no colour."""
LEAST_SEEN = 1e-3
"""Part of the surroundings that counts as skin even where none is: the first guess is better than none."""
FLASH = 0.04
"""Change of the logarithm of the surroundings' light from one frame to the next that is no trembling of the picture."""
AGREEING = 0.75
"""Part of the light around a face that must change alike, for the light to have changed: a head that moves before a
window changes many places, and leaves others."""
JOINED = 0.04
"""Standard deviation, in parts of the patch side, over which a face goes over into skin that is to be seen."""
LARGEST_GAIN = 2.0
LEAST_CHANGE = 0.01
"""Change of a colour, as a part of it, that is not worth the work."""


@dataclass(frozen=True, slots=True, eq=False)
class Complexion:
    """What is known of the skin of one track.

    :ivar color: (3,) sum of colours, RGB levels by weight. :ivar weight: sum of the weights.
    :ivar light, known: (c, c) luma of the surroundings in the last frame, and 1 where they were to be seen.
    """

    color: NDArray[np.float64]
    weight: float
    light: Floats
    known: Floats

    @property
    def skin(self) -> NDArray[np.float64]:
        """The average colour, (3,) RGB levels; black where no skin was seen."""
        return self.color / max(self.weight, 1e-9)


def memory(frame_rate: float) -> float:
    """Return what is left of a weight one frame later, 0 to 1."""
    return math.exp(-1.0 / (MEMORY_SECONDS * frame_rate))


def steadied(
    face: Image, patch: FacePatch, shown: Floats, earlier: Complexion | None, kept: float
) -> tuple[Image, Complexion]:
    """Return a network's face with the track's skin, and what is known of that now.

    :param face: (s, s, 3) uint8. :param shown: (g, g) how much of the portrait that goes on it is to be seen, 0 to 1.
    :param earlier: of the track when it was drawn before; None: it is new. :param kept: see ``memory``.
    """
    found = skin_of(face, shown)
    around, known = surroundings(patch)
    light = np.asarray(around[..., 0] * known, np.float32)
    if found is None:
        return face, earlier or Complexion(np.zeros(3), 0.0, light, known)
    wanted = beside_neck(around, known, found)
    alike = np.asarray(likeness(around, wanted) * known, np.float32)
    seen = float(alike.mean()) + LEAST_SEEN
    color, weight = wanted.astype(np.float64) * seen, seen
    if earlier is not None:
        change = _flash(earlier, light, known)
        color += kept * change * earlier.color
        weight += kept * earlier.weight
    gain = np.clip(color / weight / np.maximum(found, 1.0), 1 / LARGEST_GAIN, LARGEST_GAIN).astype(np.float32)
    return _tinted(face, patch, found, gain, alike), Complexion(color, weight, light, known)


def beside_neck(around: Floats, known: Floats, found: Floats) -> Floats:
    """Return the colour that a face is to have, (3,) RGB levels, by what is seen of its neck.

    :param around, known: see ``surroundings``. :param found: (3,) what the network drew.
    """
    place, drawn = _below(known), to_ycc(found)
    skin = place * _as_colored(around, drawn)
    far = (((around - (drawn + np.array(NECK_OFF, np.float32))) / np.array(NECK_SPREAD, np.float32)) ** 2).sum(axis=-1)
    share, color = np.exp(-0.5 * far) * skin, drawn
    for _ in range(NECK_STEPS):
        color = (around * share[..., None]).sum(axis=(0, 1)) / max(float(share.sum()), 1e-6)
        alike = (((around - color) / np.array(NECK_LIKE, np.float32)) ** 2).sum(axis=-1)
        share = np.exp(-0.5 * (alike + far / NECK_WIDER)) * skin
    sure = (float(share.sum()) / max(float(place.sum()), 1.0) - NECK_SURE[0]) / (NECK_SURE[1] - NECK_SURE[0])
    trust = NECK_TRUST * min(max(sure, 0.0), 1.0)
    grey = np.array([0.0, GREY, GREY], np.float32)
    wanted = grey + (color - grey) * np.array(FACE_OVER_NECK, np.float32)
    return from_ycc(np.asarray(drawn + trust * (wanted - drawn), np.float32))


def _below(known: Floats) -> Floats:
    """Return which known cells lie where a neck is: below the cover, and beside its lower end."""
    cells = len(known)
    hidden = np.flatnonzero((known[:, cells * 3 // 8 : cells * 5 // 8] < 0.5).all(axis=1))
    lowest = int(hidden[-1]) if len(hidden) else cells // 2
    beside = np.abs(np.arange(cells) - (cells - 1) / 2) < NECK[0] * cells
    low = np.arange(cells)[:, None] > lowest - NECK[1] * cells
    return np.asarray(known * (beside & low), np.float32)


def _as_colored(around: Floats, drawn: Floats) -> NDArray[np.bool_]:
    """Return which cells are half as saturated as a colour, (3,) luma, Cr and Cb, in red and in yellow."""
    own, seen = (
        (part[..., 1:] - np.float32(GREY)) / np.maximum(part[..., :1], np.float32(DARK)) for part in (drawn, around)
    )
    signs = np.array([1.0, -1.0], np.float32)
    return np.asarray((signs * seen > NECK_COLORED * signs * own).all(axis=-1))


def from_ycc(color: Floats) -> Floats:
    """Return the RGB colour of luma, Cr and Cb, (3,) levels."""
    pixel = cv2.cvtColor(color.reshape(1, 1, 3) / np.float32(255), cv2.COLOR_YCrCb2RGB)
    return np.asarray(np.clip(pixel[0, 0] * np.float32(255), 0, 255), np.float32)


def to_ycc(color: Floats) -> Floats:
    """Return luma, Cr and Cb of an RGB colour, (3,) levels."""
    pixel = cv2.cvtColor(color.reshape(1, 1, 3) / np.float32(255), cv2.COLOR_RGB2YCrCb)
    return np.asarray(pixel[0, 0] * np.float32(255), np.float32)


def likeness(ycc: Floats, color: Floats) -> Floats:
    """Return how much pixels (…, 3) of luma, Cr and Cb have a colour, (3,) RGB: 0 to 1."""
    off = (ycc - to_ycc(color)) / np.array([SPREAD[0], SPREAD[1], SPREAD[1]], np.float32)
    return np.asarray(np.exp(-0.5 * (off * off).sum(axis=-1)), np.float32)


def skin_of(face: Image, shown: Floats) -> Floats | None:
    """Return the mean colour of a face where its portrait is to be seen, (3,); None: nowhere."""
    cells = (min(CELLS, len(face)),) * 2
    coarse, weights = (cv2.resize(one, cells, interpolation=cv2.INTER_NEAREST) for one in (face, shown))
    weight = float(weights.sum())  # a mean needs no better
    if weight < 1.0:
        return None
    return np.asarray((coarse * weights[..., None]).sum(axis=(0, 1)) / weight, np.float32)


def surroundings(patch: FacePatch) -> tuple[Floats, Floats]:
    """Return the picture around a face as luma, Cr and Cb, (c, c, 3), and how much of each cell is known."""
    cells = (min(CELLS, len(patch.image)),) * 2
    known = cv2.resize((~patch.mask).astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(patch.image, cells, interpolation=cv2.INTER_AREA) / np.maximum(known, 1e-3)[..., None]
    ycc = cv2.cvtColor(np.asarray(mean / 255, np.float32), cv2.COLOR_RGB2YCrCb) * np.float32(255)
    return ycc, np.asarray(known > 0.5, np.float32)


def _flash(earlier: Complexion, light: Floats, known: Floats) -> float:
    """Return how much brighter the light is than in the frame before, by the same places; 1: as before."""
    both = earlier.known * known
    before, now = earlier.light * both, light * both
    change = math.log((float(now.sum()) + 1.0) / (float(before.sum()) + 1.0))
    if abs(change) <= FLASH:
        return 1.0
    alike = math.copysign(1.0, change) * np.log((now + 1) / (before + 1)) > FLASH
    agreeing = float(((now + before) * alike).sum()) >= AGREEING * float((now + before).sum())
    return math.exp(change) if agreeing else 1.0


def _tinted(face: Image, patch: FacePatch, found: Floats, gain: Floats, alike: Floats) -> Image:
    """Return the face with what has the skin's colour multiplied by a gain, (3,).

    :param alike: (c, c) where skin is to be seen: a network goes on with that, and so it stays beside it.
    """
    if float(np.abs(gain - 1).max()) < LEAST_CHANGE:
        return face
    cells = (min(TINT_CELLS, len(face)),) * 2
    small = cv2.resize(face, cells, interpolation=cv2.INTER_AREA)
    share = likeness(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32), found)
    beside = np.clip(2 * cv2.GaussianBlur(alike, (0, 0), JOINED * len(alike)), 0, 1)
    share *= 1 - cv2.resize(beside, cells, interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(share, face.shape[1::-1], interpolation=cv2.INTER_LINEAR) * patch.mask
    change = cv2.multiply(face * (gain - 1), cv2.merge((share, share, share)))
    return np.asarray(cv2.add(face, change, dtype=cv2.CV_8U), np.uint8)
