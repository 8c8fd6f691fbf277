"""Drawing a portrait as a head in some pose sees it: relief mapping, one texel per pixel, without triangles.

A relief says where in space each canonical place of a face lies. A pixel shows the place that projects onto it, which
Newton's method finds from the pixel's place on a flat face. (After Oliveira, Bishop & McAllister, "Relief Texture
Mapping", 2000, and the position maps of Feng et al., "Joint 3D Face Reconstruction", 2018.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF, Floats, to_map
from deepprivacy_rt.portraits.gestures import DENTS, Gestures, gap_of
from deepprivacy_rt.portraits.lids import lower_lids
from deepprivacy_rt.portraits.texture import FINER, Texture
from deepprivacy_rt.types import Expression, Image

GRID = 56
"""Cells in which places are looked for: they change slowly over a face."""
STEPS = 4
FORE_CELL = 2
"""Cells, along a side, of which one place is known to be foremost before any is looked for."""
LARGEST_STEP = 0.25
FLAT_Z = -0.05
MISFIT = 0.05
"""Canonical units by which a pixel's place may miss it; beyond, the head is not there."""
MOUTH = 0.38, 0.33
"""Canonical units beside, and above and below, where lips meet, beyond which no mouth reaches."""
FACING = 0.05, 0.20
"""Area in the picture, over that in front view, of skin that is turned away, and of skin that is fully shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Where a face's canonical places lie in space, and how they go on from there.

    :ivar planes: (9, g, g) float32: canonical x, y, z; their change along x; the same along y.
    """

    planes: Floats

    @classmethod
    def of(cls, place: Floats) -> Relief:
        """Return the relief of (g, g, 3) places."""
        down, across = np.gradient(place, 2 * HALF / len(place), axis=(0, 1))
        planes = np.concatenate([place, across, down], axis=-1).transpose(2, 0, 1)
        return cls(np.ascontiguousarray(planes, np.float32))

    def projected(self, pose: NDArray[np.float64]) -> Floats:
        """Return where places lie in the picture, x and y, their change along x, and along y, (g, g, 6).

        What is linear comes out the same before and after interpolation, so this is done once.
        """
        cells = self.planes.shape[1]
        matrix, shift = pose[:, :3].astype(np.float32), pose[:, 3:].astype(np.float32)
        seen = matrix @ self.planes.reshape(3, 3, -1)
        seen[0] += shift
        return np.ascontiguousarray(seen.reshape(6, -1).T).reshape(cells, cells, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A portrait on a patch: fine in the window of it where it is to be seen, and coarse all over.

    :ivar side: of the whole picture. :ivar window: rows and columns of it, (h, w) pixels, of which the next four
        tell.
    :ivar image: (h, w, 3) uint8. :ivar share: (h, w) float32 0 to 1, how much of it is to be seen.
    :ivar mouth: (h, w) 0 to 1, how much is the inside of an open mouth, of which a portrait at rest shows nothing;
        None: nothing is. :ivar teeth: how much is teeth, which is part of that.
    :ivar coarse: (g, g, 3) uint8 over the whole patch. :ivar skin: (g, g) 0 to 1, where that is to be seen, and skin.
    """

    side: int
    window: tuple[slice, slice]
    image: Image
    share: Floats
    mouth: Floats | None
    teeth: Floats | None
    coarse: Image
    skin: Floats


def draw(
    texture: Texture,
    relief: Relief,
    pose: NDArray[np.float64],
    doing: Expression,
    gestures: Gestures,
    size: int,
    zoom: int = 1,
) -> Drawn:
    """Draw a portrait.

    :param pose: (2, 4), from canonical points to pixels of the patch, see ``fit_pose``.
    :param size: side of the patch. :param zoom: pixels of the picture per patch pixel, along a side.
    """
    grid = min(size // 2, GRID)
    places, seen = _solve(relief, pose, grid, size)
    where = to_map(gestures.texels(places, doing), len(texture.soft))
    x, y = cv2.split(where)
    coarse = cv2.remap(texture.soft, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.remap(texture.cover, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) * seen[..., None]
    side = size * zoom
    window = _window(covered[..., 0] > 0, side)
    x, y = (_enlarged(one, side, window) for one in (x, y))
    # Pixel centres: fine = (coarse + 0.5) · FINER - 0.5
    fine_x, fine_y = (one * np.float32(FINER) + np.float32((FINER - 1) / 2) for one in (x, y))
    image = cv2.remap(texture.image, fine_x, fine_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    image = np.asarray(image, np.uint8)
    lower_lids(image, texture.image, fine_x, fine_y, gestures.eyes, doing)
    share = cv2.remap(texture.cover[..., 0], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    share *= _enlarged(seen, side, window)
    mouth, bite = _mouth(gestures, places, doing, side, window)
    if bite is not None:
        bite *= _dents(gestures, x, len(texture.soft))
    return Drawn(side, window, image, share, mouth, bite, np.asarray(coarse, np.uint8), covered[..., 1])


def toward_viewer(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction from which a head in a pose, (2, 4), is seen, (3,) canonical and not of length 1."""
    (a, b, c), (d, e, f) = pose[:, :3]
    return np.array([c * e - b * f, a * f - c * d, b * d - a * e])  # second row x first: z goes away from the viewer


def _mouth(
    gestures: Gestures, places: Floats, doing: Expression, side: int, window: tuple[slice, slice]
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Return how much of a window is the inside of a mouth, and how much teeth; None: it is shut.

    :param places: (g, g, 2) canonical, over the whole patch.
    """
    if gap_of(doing) <= 0:
        return None, None
    x, y = (_enlarged(np.ascontiguousarray(one), side, window) for one in np.moveaxis(places, -1, 0))
    near = (np.abs(x - gestures.lips[:, 0].mean()) < MOUTH[0]) & (np.abs(y - gestures.lips[:, 1].mean()) < MOUTH[1])
    mouth, bite = np.zeros_like(x), np.zeros_like(x)
    if near.any():
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        mouth[box], bite[box] = gestures.insides(cv2.merge((x[box], y[box])), doing)
    return mouth, bite


def _dents(gestures: Gestures, x: Floats, size: int) -> Floats:
    """Return how bright teeth are, 0 to 1, by the columns of a map of ``size`` that pixels show."""
    fine = (x + np.float32(0.5)) * np.float32(DENTS / size) - np.float32(0.5)
    return np.asarray(cv2.remap(gestures.dents[None], fine, np.zeros_like(fine), cv2.INTER_LINEAR))


def _window(seen: NDArray[np.bool_], side: int) -> tuple[slice, slice]:
    """Return the rows and columns of a picture in which any cell of a grid, or one beside it, is seen."""
    cell = side / len(seen)
    ranges = []
    for axis in (1, 0):
        found = np.flatnonzero(seen.any(axis=axis))
        first, last = (int(found[0]), int(found[-1])) if len(found) else (0, 0)
        ranges.append(slice(max(math.floor((first - 1) * cell), 0), min(math.ceil((last + 2) * cell), side)))
    return ranges[0], ranges[1]


def _enlarged(cells: Floats, side: int, window: tuple[slice, slice]) -> Floats:
    return np.ascontiguousarray(cv2.resize(cells, (side, side), interpolation=cv2.INTER_LINEAR)[window])


def _solve(relief: Relief, pose: NDArray[np.float64], grid: int, size: int) -> tuple[Floats, Floats]:
    """Return the canonical place seen in each cell of a patch, (grid, grid, 2), and whether it is seen, 0 to 1.

    In pixels of the relief's map, a plane for each coordinate: arrays are small, and calls are what takes time.
    """
    field = relief.projected(pose)
    unit, middle = len(field) / (2 * HALF), len(field) / 2 - 0.5
    axis = (np.arange(grid, dtype=np.float32) + np.float32(0.5)) * np.float32(size / grid) - np.float32(0.5)
    scale = float(np.sqrt((pose[:, :3] ** 2).sum() / 2))
    least, longest = np.float32(0.05 * scale**2), np.float32(LARGEST_STEP * unit)
    x, y = (np.clip(one, -0.5, len(field) - 0.5) for one in _flat(pose, axis, unit, middle))
    depth = toward_viewer(pose).astype(np.float32) @ relief.planes[:3].reshape(3, -1)
    _start_in_front(x, y, field, depth, size)
    for _ in range(STEPS):
        right, low, (a, c, b, d), area = _miss(field, x, y, axis)
        per_area = np.float32(unit) / np.where(np.abs(area) < least, least, area)
        x += np.clip((d * right - b * low) * per_area, -longest, longest)
        y += np.clip((a * low - c * right) * per_area, -longest, longest)
        for one in (x, y):
            np.clip(one, -0.5, len(field) - 0.5, out=one)
    right, low, _, area = _miss(field, x, y, axis)
    misfit = np.maximum(np.abs(right), np.abs(low)) * np.float32(1 / scale)
    facing = np.clip((area * np.float32(scale**-2) - FACING[0]) / np.float32(FACING[1] - FACING[0]), 0.0, 1.0)
    seen = facing * np.clip(2 - misfit * np.float32(1 / MISFIT), 0.0, 1.0)
    places = cv2.merge((x - middle, y - middle)) * np.float32(1 / unit) + np.array([0.0, CENTER_Y], np.float32)
    return places, cv2.blur(cv2.medianBlur(seen.astype(np.float32), 3), (3, 3))


def _flat(pose: NDArray[np.float64], axis: Floats, unit: float, middle: float) -> tuple[Floats, Floats]:
    """Return where pixels lie in the map if the face is a plane, x and y, (g, g) each."""
    back = np.linalg.inv(pose[:, :2] + 1e-6 * np.eye(2)) * unit
    start = back @ (pose[:, 3] + pose[:, 2] * FLAT_Z) + (0.0, CENTER_Y * unit)
    (xx, xy), (yx, yy) = back.astype(np.float32)
    x, y = (middle - start).astype(np.float32)
    return axis * xx + x + (axis * xy)[:, None], axis * yx + y + (axis * yy)[:, None]


def _start_in_front(x: Floats, y: Floats, field: Floats, depth: Floats, size: int) -> None:
    """Set places to those that are foremost where they are seen, as far as a coarse look tells.

    :param x, y: places in the map, for the cells of a patch. :param depth: of the map's places, (g · g,).
    """
    cells = len(x)
    count = -(-cells // FORE_CELL)
    at_x, at_y, a, c, b, d = field.reshape(-1, 6).T
    column, row = ((one + np.float32(0.5)) * np.float32(cells / size / FORE_CELL) for one in (at_x, at_y))
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < count)
    known = np.flatnonzero(inside & (a * d > c * b))
    order = known[np.argsort(depth[known])]
    fore = np.full((count, count), -1, np.intp)
    fore[row[order].astype(np.intp), column[order].astype(np.intp)] = order  # of several the last one stays
    fore = fore.repeat(FORE_CELL, axis=0).repeat(FORE_CELL, axis=1)[:cells, :cells]
    rows, columns = np.divmod(fore, len(field))
    np.copyto(x, columns, where=fore >= 0, casting="unsafe")
    np.copyto(y, rows, where=fore >= 0, casting="unsafe")


def _miss(
    field: Floats, x: Floats, y: Floats, axis: Floats
) -> tuple[Floats, Floats, tuple[Floats, Floats, Floats, Floats], Floats]:
    """Return by how much places miss their pixels, right and down, how they move as the places do, and how much area
    that is.

    :param field: see ``Relief.projected``. :param x, y: places in its map. :param axis: pixels of columns, and of rows.
    """
    found = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    at_x, at_y, a, c, b, d = cv2.split(found)
    return axis - at_x, axis[:, None] - at_y, (a, c, b, d), np.asarray(a * d - c * b, np.float32)
