"""Crisp outlines before plain walls, on the device: see :mod:`deepprivacy_rt.generators.outline`, whose rules and
numbers these are. Nothing of it waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.backdrop import GRID
from deepprivacy_rt.generators.outline import (
    CONTRAST,
    HEADWARDS,
    LEAST_SLOPE,
    LIFT,
    NEAR,
    NEAR_BLUR,
    NEAR_SURE,
    SMOOTH,
    STEEP,
    reach,
)
from deepprivacy_rt.on_device.portrait_drawing import blur_matrix, luma

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Outliner:
    """Makes outlines crisp. :param size: side of the patches."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._grid, self._reach = min(GRID, size), reach(size)
        self._near, self._smooth = (
            blur_matrix(self._grid, one, 8).to(device) for one in (NEAR_BLUR, SMOOTH * self._grid)
        )
        across = torch.tensor(_SOBEL, device=device) / 8
        self._slopes = torch.stack([across, across.T])[:, None]

    def outlined(self, faces: Tensor, where: Tensor, walls: Tensor, masks: Tensor) -> Tensor:
        """Return faces with crisp edges where a wall is near, (n, 3, s, s) whole levels.

        :param faces: (n, 3, s, s) whole levels, 0 to 255. :param where: (n, 1, g, g).
        :param walls: (n, 3, g, g) levels. :param masks: (n, 1, s, s) bool.
        """
        near = _blurred(F.max_pool2d(where, 2 * NEAR + 1, stride=1, padding=NEAR), self._near)
        near = (NEAR_SURE[0] * near + NEAR_SURE[1]).clamp(0, 1)
        rising, wallwards = self._moves(faces, walls)
        size = faces.shape[2:]
        rising, wallwards, behind = (
            F.interpolate(one, size, mode="bilinear", align_corners=False) for one in (rising * near, wallwards, walls)
        )
        darker, brighter = (
            s * F.max_pool2d(s * faces, self._reach, stride=1, padding=self._reach // 2) for s in (-1, 1)
        )
        beside = torch.where(rising > 0, darker, brighter)
        behind = behind.round().clamp(0, 255)
        bounded = beside.clamp(torch.minimum(faces, behind), torch.maximum(faces, behind))
        target = beside + (bounded - beside) * wallwards
        return (faces + (target - faces) * (rising.abs() * masks)).round().clamp(0, 255)

    def _moves(self, faces: Tensor, walls: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much to darken, above 0, or to brighten, below it, and how surely towards walls, (n, 1, g, g)."""
        small = luma(F.interpolate(faces, (self._grid,) * 2, mode="area").round())
        blurred = _blurred(small, self._smooth)
        across, slope = self._across(blurred)
        rising = LIFT * (STEEP * SMOOTH * self._grid * across / (slope + LEAST_SLOPE)).clamp(-1, 1)
        headwards = ((luma(walls) - blurred) / CONTRAST).clamp(-1, 1) * rising.sign()
        return rising * (1 - (1 - HEADWARDS) * headwards.clamp(min=0)), (-headwards).clamp(min=0)

    def _across(self, luma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the second derivative in the direction in which most changes, and the slope, (n, 1, g, g)."""
        dx, dy = self._sloped(luma)
        (dxx, dxy), (_, dyy) = self._sloped(dx), self._sloped(dy)
        xx, xy, yy = (_blurred(one, self._smooth) for one in (dx * dx, dx * dy, dy * dy))
        cosine, sine = xx - yy, 2 * xy
        length = (cosine * cosine + sine * sine).sqrt() + 1e-6
        return 0.5 * (dxx + dyy + (cosine * (dxx - dyy) + 2 * sine * dxy) / length), (xx + yy).sqrt()

    def _sloped(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        dx, dy = F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), self._slopes).chunk(2, dim=1)
        return dx, dy


def _blurred(maps: Tensor, matrix: Tensor) -> Tensor:
    return matrix @ maps @ matrix.T
