"""How a face's picture over the canonical square is prepared: as mild as faces in front of cameras, and sharpened.

Pictures made to please are lit from the side and shine; in the flat light of a call they look pasted, and whatever
trembles shows more. So contrast that exceeds what cameras see is taken from a picture, more of it from the light than
from the dark, which is brows, lashes and nostrils. What the enlarged picture lacks is fine detail: that is raised.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.strands import strands
from deepprivacy_rt.types import Image

FINER = 2
_SOFT = 3
"""Texels over which a texture is averaged for coarse grids."""
_HARSHNESS = 0.018
"""Mean slope of the luma per texel of 192, over its mean, that is left before fine detail is raised. Faces of five
clips have 0.016 to 0.042 in the median (benchmarks/harshness.py)."""
_LEAST_CONTRAST, _MOST_CONTRAST = 0.30, 0.50
_VIVID = 1.35
"""The same of a picture that does not move, as parts of these: nothing flickers, and mild faces are alike."""
_DARK = 1.2
"""How much more contrast the dark keeps, and how much less the light."""
_HUES = 0.5
"""How much of what a skin's places differ in hue is left: on a skin of another tone, a warm light is a yellow spot."""
_USUAL_SKIN = np.array([1.20, 0.93, 0.82], np.float32)
"""RGB of skin over its luma, as it mostly is in front of cameras."""
_OWN_COLOR, _FEATURE_BLUR = 0.35, 2.0
"""How much of the colour that brings a portrait's skin to that is not for eyes and lips; texels over which that ends.
All of it is multiplied by one colour when it is drawn; warm skin made cool would have violet lips and blue eyes."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LEVEL_CELLS, _LEVEL_BLUR = 24, 5.0
"""Grid on which a picture's light is looked at, and cells over which it is blurred: a fifth of the picture."""
_FINE_BLUR, _FINE = 0.7, 0.0256
"""Texels of 192 over which detail is fine, and how much of it is added: in the mean, over the mean luma of the face."""
_LEAST_GAIN, _MOST_GAIN = 1.5, 6.0
"""By how much fine detail is raised, at least and at most: what a picture hardly has is noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """A face's picture over the canonical square, as it is drawn.

    :ivar image: (f, f, 3) uint8, ``FINER`` times as fine as the others: sampled linearly, it is as sharp as what cubic
        sampling takes six times as long for. :ivar soft: (t, t, 3), blurred to what a coarse grid can show.
    :ivar cover: (t, t, 2) how much of it is face, and how much is skin without eyes, brows and lips, 0 to 1.
    """

    image: Image
    soft: Image
    cover: Floats

    @classmethod
    def of(cls, image: Image, cover: Floats, *, still: bool = False, detail: float = 1.0) -> Texture:
        """Return the texture of a (t, t, 3) uint8 RGB picture.

        :param still: for a picture that does not move. :param detail: factor by which more of it is raised than usual.
        """
        level = _level(image, cover[..., 1:])
        cover = np.asarray(cover * (1 - strands(image, level, cover)[..., None]), np.float32)
        vivid = _VIVID if still else 1.0
        mild = _featured(_mild(image, level, cover, vivid), cover)
        smooth = cv2.GaussianBlur(mild, (0, 0), _FINE_BLUR)
        gain = detail * _fine_gain(mild, smooth, cover[..., 0] > 0.5, vivid)
        sharp = cv2.addWeighted(mild, 1.0 + gain, smooth, -gain, 0.0)
        fine = cv2.resize(sharp, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_LANCZOS4)
        return cls(np.asarray(fine, np.uint8), np.asarray(cv2.blur(mild, (_SOFT, _SOFT)), np.uint8), cover)


def _mild(image: Image, level: Floats, cover: Floats, vivid: float) -> Image:
    found = max(harshness(image, cover[..., 0] > 0.5), 1e-6)
    contrast = vivid * min(max(_HARSHNESS / found, _LEAST_CONTRAST), _MOST_CONTRAST)
    off = _evened(image - level, level, cover[..., 1:])
    mild = level + contrast * (np.minimum(off, 0) * _DARK + np.maximum(off, 0) / _DARK)
    return np.asarray(np.rint(np.clip(mild, 0, 255)), np.uint8)


def _evened(off: Floats, level: Floats, skin: Floats) -> Floats:
    """Return differences from a light, (t, t, 3), with less of another hue than its own where there is skin."""
    grey = level * ((off @ _LUMA) / np.maximum(level @ _LUMA, 1))[..., None]
    return np.asarray(off + (1 - _HUES) * skin * (grey - off), np.float32)


def _featured(image: Image, cover: Floats) -> Image:
    """Return a picture whose eyes and lips are prepared for being drawn on a face with usual skin."""
    skin = (image * cover[..., 1:]).sum(axis=(0, 1))
    if not (luma := float(skin @ _LUMA)) > 0:
        return image
    color = (np.maximum(skin / luma, 0.1) / _USUAL_SKIN) ** _OWN_COLOR
    features = cv2.GaussianBlur(np.clip(cover[..., 0] - cover[..., 1], 0, 1), (0, 0), _FEATURE_BLUR)
    made = image * (1 + features[..., None] * (color / (color @ _LUMA) - 1))
    return np.asarray(np.rint(np.clip(made, 0, 255)), np.uint8)


def _fine_gain(image: Image, smooth: Image, inside: NDArray[np.bool_], vivid: float) -> float:
    """Return by how much detail is raised, so that no face has more of it than others: the finest flicker most."""
    luma, soft = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float32)[inside] for one in (image, smooth))
    own = float(np.abs(luma - soft).mean()) / max(float(luma.mean()), 1.0)
    return min(max(vivid * _FINE / max(own, 1e-6), _LEAST_GAIN), _MOST_GAIN)


def _level(image: Image, skin: Floats) -> Floats:
    """Return the light on the skin of a picture, (t, t, 3): what remains of it when it is blurred."""
    cells = (_LEVEL_CELLS, _LEVEL_CELLS)
    lit, amount = (
        cv2.GaussianBlur(cv2.resize(part, cells, interpolation=cv2.INTER_AREA), (0, 0), _LEVEL_BLUR)
        for part in (image * skin, skin)
    )
    level = np.asarray(lit / (amount[..., None] + 1e-3), np.float32)
    return np.asarray(cv2.resize(level, image.shape[:2], interpolation=cv2.INTER_LINEAR))


def harshness(image: Image, inside: NDArray[np.bool_]) -> float:
    """Return the mean slope of a picture's luma, per pixel, over its mean, where ``inside``."""
    luma = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Sobel(luma, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return float(np.hypot(across, down)[inside].mean() / max(float(luma[inside].mean()), 1.0))
