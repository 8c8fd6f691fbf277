"""A plain wall behind a head goes on under the cover.

Between a drawn head and the edge of its cover, a network has to paint what is behind. After little training it smears
there: before a wall, a head gets a pale halo and a ragged jaw. Where what is to be seen nearest of all is plain and no
skin, and the network painted about that colour, it is continued instead. docs/adr/0027-backdrop.md.

As blind as the network: all of it follows from its answers and from erased patches.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.complexion import likeness, surroundings, to_ycc
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import FacePatch, Image

REACH = 1.0
"""Standard deviation, in cells of the surroundings, of the neighbourhood that has to be plain."""
ROUGH, CHROMA_COUNTS = 8.0, 4.0
"""Levels of deviation over which surroundings cease to be plain; how often the variance of chroma counts."""
EVENED, EDGED = 1.5, 0.7
"""Standard deviations, in cells, over which continued colours, and where they hold, are blurred."""
ANY = 1e-3
"""Weight of colours that are not plain at all: a wall that fades, for a hand hides it, has a colour still."""
SURE = 1.4, -0.2
"""Gain and offset of how plain surroundings are: what is half so counts half, the ends of the range are cut."""
GRID = 64
"""Side of the grid on which the network's colours are compared."""
BRIGHTER, DARKER = 60.0, 22.0
"""Levels of luma above and below the wall's up to which a colour is the wall's, and from there on less and less: smears
are pale, and what is darker is hair, or skin in shadow."""
CHROMA, APART = (3.0, 11.0), 0.35
"""Least and most levels of chroma (Cr and Cb) up to which it is, and the part of the skin's distance that they are."""
HAIR, CROWN = (0.45, 0.75), 0.8
"""Radii of a portrait away from it up to which there may be hair, and from which there is none; how much farther hair
may be above it."""
MOSTLY = 5.0, -2.5
"""Gain and offset of how much of what is seen above a chin is plain."""
_LEAST = 0.2
"""How plain any of the surroundings must be for a wall to be looked for."""
_FADED = 0.01
"""How much of a wall is worth taking along from the frame before."""


def with_backdrop(
    face: Image,
    patch: FacePatch,
    skin: NDArray[np.float64],
    earlier: Floats | None = None,
    part: float = 1.0,
    shown: Floats | None = None,
) -> tuple[Image, Floats, Floats]:
    """Return a network's face with plain surroundings continued behind it, (s, s, 3) uint8, where, (g, g) 0 to 1, and
    their colours, (g, g, 3) RGB levels.

    :param face: (s, s, 3) uint8. :param skin: (3,) RGB levels of the face: what has its colour is no wall.
    :param earlier: where, in the frame before; None: the face is new.
    :param part: how much of where it is now counts, against that, 0 to 1.
    :param shown: (g, g) how much of a portrait is to be seen, 0 to 1: far from it, and above its chin, all is wall.
    """
    around, known = surroundings(patch)
    color = np.asarray(skin, np.float32)
    plain = _plain(around, known) * (1 - likeness(around, color))
    grid = (min(GRID, len(face)),) * 2
    fades = earlier is not None and float(earlier.max()) >= _FADED
    if not known.any() or (float(plain.max()) < _LEAST and not fades):
        return face, np.zeros(grid, np.float32), np.zeros((*grid, 3), np.float32)
    seen = around, plain, known
    wall, plain = _continued(*seen)
    wall, plain = (cv2.resize(one, grid, interpolation=cv2.INTER_LINEAR) for one in (wall, plain))
    small = cv2.cvtColor(cv2.resize(face, grid, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
    share = _alike(small, wall, color) * np.clip(SURE[0] * plain + SURE[1], 0, 1)
    if shown is not None and (far := _beyond(shown, *seen)) is not None:
        behind, beyond = (cv2.resize(one, grid, interpolation=cv2.INTER_LINEAR) for one in far)
        wall = wall + beyond[..., None] * (behind - wall)
        share = np.maximum(share, beyond)
    if earlier is not None:
        share = earlier + np.float32(part) * (share - earlier)
    wall = cv2.cvtColor(wall / np.float32(255), cv2.COLOR_YCrCb2RGB) * np.float32(255)
    fine, large = (cv2.resize(one, face.shape[1::-1], interpolation=cv2.INTER_LINEAR) for one in (share, wall))
    change = cv2.multiply(cv2.subtract(large, face, dtype=cv2.CV_32F), cv2.merge((fine, fine, fine)))
    return np.asarray(cv2.add(face, change, dtype=cv2.CV_8U), np.uint8), share, np.asarray(wall, np.float32)


def _beyond(shown: Floats, around: Floats, plain: Floats, known: Floats) -> tuple[Floats, Floats] | None:
    """Return what is far beside and above a head, (c, c, 3) luma, Cr and Cb, and where that is, (c, c) 0 to 1.

    :param shown: see ``with_backdrop``. :return: None where hardly anything plain is to be seen above the chin.
    """
    cells = known.shape[1], known.shape[0]
    inside = (cv2.resize(shown, cells, interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    rows = np.flatnonzero(inside.any(axis=1))
    if not len(rows):
        return None
    above = known * (np.arange(len(known))[:, None] <= rows[-1])
    some = np.asarray(above * (plain > 0.5), np.float32)
    sure = min(max(MOSTLY[0] * float(some.sum()) / max(float(above.sum()), 1.0) + MOSTLY[1], 0.0), 1.0)
    if sure == 0:
        return None
    radius = math.sqrt(float(inside.sum()) / math.pi)
    head = cv2.dilate(inside, np.ones((round(CROWN * radius) + 1, 1), np.uint8), anchor=(0, 0))
    off = cv2.distanceTransform(1 - head, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / radius
    beyond = sure * np.clip((off - HAIR[0]) / (HAIR[1] - HAIR[0]), 0, 1)
    beyond[rows[-1] + 1 :] = 0
    wall, _ = _continued(around, plain, some)
    return wall, np.asarray(beyond, np.float32)


def _alike(drawn: Image, wall: Floats, skin: Floats) -> Floats:
    """Return how much colours are about those of a wall, (g, g) 0 to 1.

    :param drawn: (g, g, 3) luma, Cr and Cb. :param wall: (g, g, 3) of the same. :param skin: (3,) RGB levels.
    """
    luma, red, blue = cv2.split(cv2.subtract(drawn, wall, dtype=cv2.CV_32F))
    _, own_red, own_blue = to_ycc(skin)
    apart = (wall[..., 1] - own_red) ** 2 + (wall[..., 2] - own_blue) ** 2
    chroma = np.clip(APART**2 * apart, CHROMA[0] ** 2, CHROMA[1] ** 2)
    reach = np.where(luma > 0, np.float32(BRIGHTER), np.float32(DARKER))
    return np.asarray(np.clip(2 - (luma / reach) ** 2 - (red * red + blue * blue) / chroma, 0, 1), np.float32)


def _plain(around: Floats, known: Floats) -> Floats:
    """Return how plain the known surroundings of a cell are, (c, c) 0 to 1, 0 where it is not known itself."""
    weight = cv2.GaussianBlur(known, (0, 0), REACH) + np.float32(1e-6)
    first, second = (
        cv2.GaussianBlur(part * known[..., None], (0, 0), REACH) / weight[..., None] for part in (around, around**2)
    )
    luma, red, blue = np.moveaxis(np.maximum(second - first**2, 0), -1, 0)
    return np.asarray(np.exp(-0.5 * (luma + CHROMA_COUNTS * (red + blue)) / ROUGH**2) * known, np.float32)


def _continued(around: Floats, plain: Floats, known: Floats) -> tuple[Floats, Floats]:
    """Return colours of plain surroundings in all cells, (c, c, 3) luma, Cr and Cb, and how plain, (c, c).

    A cell has those of the nearest known one; across cells, colours are averaged by how plain they are.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (known < 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    seen = np.flatnonzero(known)
    place = np.zeros(int(labels.max()) + 1, np.intp)
    place[labels.ravel()[seen]] = seen
    nearest = place[labels]
    plain = plain.ravel()[nearest]
    some = plain + np.float32(ANY)
    colors = around.reshape(-1, 3)[nearest] * some[..., None]
    wall = cv2.GaussianBlur(colors, (0, 0), EVENED) / cv2.GaussianBlur(some, (0, 0), EVENED)[..., None]
    return np.asarray(wall, np.float32), cv2.GaussianBlur(plain, (0, 0), EDGED)
