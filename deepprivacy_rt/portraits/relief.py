"""Drawing a portrait as a head in some pose sees it: relief mapping, one texel per pixel, without triangles.

A relief says where in space each canonical place of a face lies. A pixel shows the place that projects onto it, which
Newton's method finds from the pixel's place on a flat face. (After Oliveira, Bishop & McAllister, "Relief Texture
Mapping", 2000, and the position maps of Feng et al., "Joint 3D Face Reconstruction", 2018.)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF, Floats, to_map
from deepprivacy_rt.portraits.gestures import Gestures
from deepprivacy_rt.types import Expression, Image

_GRID = 56
"""Cells in which places are looked for: they change slowly over a face."""
_STEPS = 4
_LARGEST_STEP = 0.25
_FLAT_Z = -0.05
_MISFIT = 0.05
"""Canonical units by which a pixel's place may miss it; beyond, the head is not there."""
_FACING = 0.10, 0.40
"""Area in the picture, over that in front view, of skin that is turned away, and of skin that is fully shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Where a face's canonical places lie in space, and how they go on from there.

    :ivar place: (g, g, 3) canonical x, y, z. :ivar across: (g, g, 3) its change along x. :ivar down: along y.
    """

    place: Floats
    across: Floats
    down: Floats

    @classmethod
    def of(cls, place: Floats) -> Relief:
        """Return the relief of (g, g, 3) places."""
        spacing = 2 * HALF / len(place)
        down, across = np.gradient(place, spacing, axis=(0, 1))
        return cls(np.ascontiguousarray(place), np.ascontiguousarray(across), np.ascontiguousarray(down))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A portrait on a patch.

    :ivar image: (s, s, 3) uint8. :ivar share: (s, s) 0 to 1, where it is to be seen.
    :ivar skin: (s, s) 0 to 1, where it is skin without eyes, brows and lips.
    :ivar mouth: (s, s) 0 to 1, how much is the inside of an open mouth, of which a portrait at rest shows nothing.
    :ivar teeth: (s, s) 0 to 1, how much of that is teeth.
    """

    image: Image
    share: Floats
    skin: Floats
    mouth: Floats
    teeth: Floats


def draw(
    texture: Image,
    cover: Floats,
    relief: Relief,
    pose: NDArray[np.float64],
    doing: Expression,
    gestures: Gestures,
    size: int,
) -> Drawn:
    """Draw a portrait.

    :param texture: (t, t, 3) canonical picture.
    :param cover: (t, t, 2) how much of it is face, and how much skin, 0 to 1.
    :param pose: (2, 4), from canonical points to pixels of the patch, see ``fit_pose``.
    :param size: side of the patch.
    """
    grid = min(size // 2, _GRID)
    places, seen = _solve(relief, pose, grid, size)
    texels, inside, teeth = gestures.texels(places, doing)
    where = to_map(texels, len(texture))
    whole = cv2.resize(where, (size, size), interpolation=cv2.INTER_LINEAR)
    x, y = cv2.split(whole)
    border = cv2.BORDER_REPLICATE
    image = cv2.remap(texture, x, y, cv2.INTER_CUBIC, borderMode=border)
    shares = cv2.remap(cover, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    shares *= cv2.resize(seen, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    mouth, bite = (np.asarray(cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR)) for one in (inside, teeth))
    return Drawn(np.asarray(image, np.uint8), shares[..., 0], shares[..., 1], mouth, bite)


def _solve(relief: Relief, pose: NDArray[np.float64], grid: int, size: int) -> tuple[Floats, Floats]:
    """Return the canonical place seen in each cell of a patch, (grid, grid, 2), and whether it is seen, 0 to 1."""
    axis = (np.arange(grid, dtype=np.float32) + 0.5) * (size / grid) - 0.5
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1)
    matrix, shift = pose[:, :3].astype(np.float32), pose[:, 3].astype(np.float32)
    scale = float(np.sqrt((matrix**2).sum() / 2))
    flat = np.linalg.inv(matrix[:, :2] + 1e-6 * np.eye(2, dtype=np.float32))
    places = (pixels - shift - matrix[:, 2] * _FLAT_Z) @ flat.T.astype(np.float32)
    low = np.array([-HALF, CENTER_Y - HALF], np.float32)
    places = np.clip(places, low, low + 2 * HALF)
    # Projected once: what is linear comes out the same before and after interpolation.
    at = relief.place @ matrix.T + shift
    along = np.concatenate([relief.across @ matrix.T, relief.down @ matrix.T], axis=-1)
    for _ in range(_STEPS):
        error, jacobian, area = _miss(at, along, places, pixels)
        safe = np.where(np.abs(area) < 0.05 * scale**2, 0.05 * scale**2, area)
        (a, b), (c, d) = jacobian
        step_x = (d * error[..., 0] - b * error[..., 1]) / safe
        step_y = (a * error[..., 1] - c * error[..., 0]) / safe
        step = np.clip(np.stack([step_x, step_y], axis=-1), -_LARGEST_STEP, _LARGEST_STEP)
        places = np.clip(places + step, low, low + 2 * HALF)
    error, _, area = _miss(at, along, places, pixels)
    misfit = np.abs(error).max(axis=-1) / scale
    facing = np.clip((area / scale**2 - _FACING[0]) / (_FACING[1] - _FACING[0]), 0.0, 1.0)
    seen = facing * np.clip(2 - misfit / _MISFIT, 0.0, 1.0)
    return places, cv2.blur(seen.astype(np.float32), (3, 3))


def _miss(
    at: Floats, along: Floats, places: Floats, pixels: Floats
) -> tuple[Floats, tuple[tuple[Floats, Floats], tuple[Floats, Floats]], Floats]:
    """Return by how much places miss their pixels, how they move as the places do, and how much area that is.

    :param at: (g, g, 2) where the relief lies in the picture. :param along: (g, g, 4) its change along x, and along y.
    """
    x, y = cv2.split(to_map(places, len(at)))
    shown, change = (cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in (at, along))
    a, c, b, d = cv2.split(change)
    return pixels - shown, ((a, b), (c, d)), np.asarray(a * d - c * b, np.float32)
