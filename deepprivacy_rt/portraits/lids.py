"""Lowering the lids of portraits, whose eyes are open: skin comes down over the eye, with lashes at its edge.

The skin between brow and lid, stretched, is dark and full of brow where these are near each other. What lies below an
eye is smooth, and of the same light: a lid shows that, mirrored at its own edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF, Floats
from deepprivacy_rt.types import REST, Expression, Image

EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
)
"""Of the right and the left eye: upper lid, lower lid, both from the outer corner to the inner one, by Face Mesh's
numbers."""
_STILL, _SHUT = 0.2, 0.5
"""Parts by which what is read of an eye falls that are no blink, for open eyes tremble and narrow; and at which it is
shut: Face Mesh hardly knows shut lids, and says so much of them (0.47 to 0.53 of their rest in two clips, 0.6 of a
wink)."""
BESIDE, BELOW, ABOVE = 0.15, 0.06, 0.10
"""Lengths of an eye: beside its corners a lid ends; shut, it reaches below the lower one; so thick is the upper lid's
dark edge, which it covers."""
SOFT, LASHES, DARK = 0.06, 0.045, 0.5
"""The same over which a lid's upper edge is soft, and how thick lashes are; how dark they are."""
_ROWS = 0.5
"""Lengths of an eye, above and below its lids, that are looked at."""


class Eye(NamedTuple):
    """:ivar upper, lower: (9, 2) lids, by rising x."""

    upper: Floats
    lower: Floats

    @property
    def begin(self) -> float:
        """Where it begins, x."""
        return float(self.upper[0, 0])

    @property
    def length(self) -> float:
        """From corner to corner."""
        return float(self.upper[-1, 0] - self.upper[0, 0])


def eyes_of(mean: Floats) -> list[Eye]:
    """Return the right and the left eye. :param mean: (468, 3) the canonical places of Face Mesh's points."""
    return [Eye(*(_rising(mean[list(points), :2]) for points in pair)) for pair in EYES]


def _rising(points: Floats) -> Floats:
    return np.ascontiguousarray(points[np.argsort(points[:, 0], kind="stable")])


def closings(doing: Expression) -> tuple[float, float]:
    """Return how far the right and the left lid are lowered, 0 to 1."""
    right, left = (
        min(max((1.0 - open_ / rest - _STILL) / (_SHUT - _STILL), 0.0), 1.0)
        for open_, rest in zip(doing.openings[1:], REST.openings[1:], strict=True)
    )
    return right, left


def lower_lids(
    image: NDArray[np.uint8], texture: Image, x: Floats, y: Floats, eyes: Sequence[Eye], doing: Expression
) -> None:
    """Lower the lids of a drawn portrait, in place.

    :param image: (h, w, 3) uint8. :param texture: (t, t, 3) that it was drawn from. :param x, y: (h, w) the places in
        the texture that its pixels show, in pixels.
    """
    for eye, closing in zip(eyes, closings(doing), strict=True):
        if closing > 0:
            _lower(image, texture, x, y, eye, closing)


def _lower(image: NDArray[np.uint8], texture: Image, x: Floats, y: Floats, eye: Eye, closing: float) -> None:
    unit = 2 * HALF / len(texture)
    near = _near(x * unit, eye.begin + HALF, eye.begin + eye.length + HALF, BESIDE * eye.length)
    top, bottom = eye.upper[:, 1].min() - CENTER_Y + HALF, eye.lower[:, 1].max() - CENTER_Y + HALF
    near &= _near(y * unit, top, bottom, _ROWS * eye.length)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    across = (x[box] + np.float32(0.5)) * np.float32(unit) - np.float32(HALF)
    down = (y[box] + np.float32(0.5)) * np.float32(unit) - np.float32(HALF - CENTER_Y)
    source, share, dark = _lid(across, down, eye, closing)
    place = (source + np.float32(HALF - CENTER_Y)) * np.float32(1 / unit) - np.float32(0.5)
    skin = cv2.remap(texture, x[box], place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    part = image[box]
    mixed = part + share[..., None] * (skin * (1 - dark[..., None]) - part)
    part[:] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def _near(values: Floats, begin: float, end: float, reach: float) -> NDArray[np.bool_]:
    return np.asarray((values > begin - reach) & (values < end + reach))


def _lid(x: Floats, y: Floats, eye: Eye, closing: float) -> tuple[Floats, Floats, Floats]:
    """Return the rows of the skin that a lid shows, how much of it is there, and how dark its lashes are, 0 to 1."""
    length = np.float32(eye.length)
    above, below = (np.interp(x, *line.T).astype(np.float32) for line in eye)
    inside = np.clip(np.minimum(x - eye.begin, eye.begin + length - x) / (BESIDE * length) + 1, 0.0, 1.0)
    above = above - ABOVE * length
    below = below + BELOW * length
    edge = above + closing * (below - above)
    soft = np.clip((y - above) / (SOFT * length) + 1, 0.0, 1.0)
    share = inside * soft * np.clip((edge - y) / (LASHES / 2 * length) + 1, 0.0, 1.0)
    dark = DARK * np.exp(-0.5 * ((y - edge) / (LASHES * length)) ** 2) * inside
    source = below + np.maximum(edge - y, 0.0)
    return np.asarray(source, np.float32), np.asarray(share, np.float32), np.asarray(dark, np.float32)
