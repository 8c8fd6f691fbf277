"""Plain walls behind heads, on the device: see :mod:`deepprivacy_rt.generators.backdrop`, whose rules and numbers these
are. Nothing of it waits for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.backdrop import (
    ANY,
    APART,
    BRIGHTER,
    CHROMA,
    CHROMA_COUNTS,
    CROWN,
    DARKER,
    EDGED,
    EVENED,
    GRID,
    HAIR,
    MOSTLY,
    REACH,
    ROUGH,
    SURE,
)
from deepprivacy_rt.generators.complexion import CELLS
from deepprivacy_rt.on_device.complexion import likeness, surroundings, to_rgb, to_ycc
from deepprivacy_rt.on_device.cutting import Patches
from deepprivacy_rt.on_device.portrait_drawing import blur_matrix


class Backdrop:
    """Continues plain surroundings under covers. :param size: side of the patches."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._cells, self._grid = min(CELLS, size), min(GRID, size)
        near, even, edge = (blur_matrix(self._cells, one, 8).to(device) for one in (REACH, EVENED, EDGED))
        self._near, self._even, self._edge = near, even, edge
        axis = torch.arange(float(self._cells), device=device)
        place = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
        self._distance = torch.cdist(place, place)

    def behind(
        self,
        faces: Tensor,
        patches: Patches,
        skins: Tensor,
        earlier: Sequence[Tensor | None],
        part: float,
        shown: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return faces with plain surroundings continued behind them, (n, 3, s, s) whole levels, where, and colours.

        :param faces: (n, 3, s, s) whole levels, 0 to 255. :param skins: (n, 3) RGB levels of faces.
        :param earlier: where, (1, g, g) in the frame before, by face; None: it is new. :param part: see the host's.
        :param shown: (n, 1, g, g), see the host's.
        """
        around, known = surroundings(patches)
        plain = self._plain(around, known) * (1 - likeness(around, skins))
        far = None if shown is None else self._beyond(shown, around, plain, known)
        wall, plain = self._continued(around, plain, known)
        wall, plain = (_resized(one, self._grid) for one in (wall, plain))
        small = to_ycc(F.interpolate(faces, (self._grid,) * 2, mode="area").round())
        share = _alike(small, wall, skins) * (SURE[0] * plain + SURE[1]).clamp(0, 1)
        if far is not None:
            beyond_wall, beyond = (_resized(one, self._grid) for one in far)
            wall = wall + beyond * (beyond_wall - wall)
            share = torch.maximum(share, beyond)
        pairs = zip(share, earlier, strict=True)
        share = torch.stack([now if before is None else before + part * (now - before) for now, before in pairs])
        share = share * known.amax(dim=(1, 2, 3), keepdim=True)
        colors = to_rgb(wall)
        fine, behind = (_resized(one, faces.shape[2]) for one in (share, colors))
        return (faces + (behind - faces) * fine).round().clamp(0, 255), share, colors

    def _beyond(self, shown: Tensor, around: Tensor, plain: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is far beside and above heads, (n, 3, c, c), and where, (n, 1, c, c); nowhere: 0."""
        cells = self._cells
        inside = (F.interpolate(shown, (cells, cells), mode="area") > 0.5).float()
        row = torch.arange(cells, device=shown.device)[:, None]
        chin = torch.where(inside.amax(dim=3, keepdim=True) > 0, row, -1).amax(dim=2, keepdim=True)
        above = known * (row <= chin)
        some = above * (plain > 0.5)
        count = above.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        sure = (MOSTLY[0] * some.sum(dim=(2, 3), keepdim=True) / count + MOSTLY[1]).clamp(0, 1)
        radius = (inside.sum(dim=(2, 3), keepdim=True) / math.pi).sqrt().clamp(min=1e-3)
        top = (row >= row.mT - (CROWN * radius).round()) & (row <= row.mT)  # (n, 1, c, c): which rows reach up to which
        head = (top.float() @ inside > 0).flatten(1)
        apart = self._distance + (~head).float()[:, None] * self._distance.numel()
        off = apart.amin(dim=2).view_as(inside) / radius
        beyond = sure * ((off - HAIR[0]) / (HAIR[1] - HAIR[0])).clamp(0, 1) * (row <= chin)
        return self._continued(around, plain, some)[0], beyond

    def _plain(self, around: Tensor, known: Tensor) -> Tensor:
        weight = _blurred(known, self._near) + 1e-6
        first, second = (_blurred(part * known, self._near) / weight for part in (around, around**2))
        luma, red, blue = (second - first**2).clamp(min=0).chunk(3, dim=1)
        return torch.exp(-0.5 * (luma + CHROMA_COUNTS * (red + blue)) / ROUGH**2) * known

    def _continued(self, around: Tensor, plain: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        apart = self._distance + (1 - known.flatten(1))[:, None] * self._distance.numel()
        nearest = apart.argmin(dim=2)[:, None]
        plain = plain.flatten(2).gather(2, nearest).view_as(plain)
        some = plain + ANY
        colors = around.flatten(2).gather(2, nearest.expand(-1, 3, -1)).view_as(around) * some
        wall = _blurred(colors, self._even) / _blurred(some, self._even)
        return wall, _blurred(plain, self._edge)


def _alike(drawn: Tensor, wall: Tensor, skins: Tensor) -> Tensor:
    luma, red, blue = (drawn - wall).chunk(3, dim=1)
    own = to_ycc(skins[:, :, None, None])
    chroma = (APART**2 * ((wall - own)[:, 1:] ** 2).sum(dim=1, keepdim=True)).clamp(CHROMA[0] ** 2, CHROMA[1] ** 2)
    reach = torch.where(luma > 0, BRIGHTER, DARKER)
    return (2 - (luma / reach) ** 2 - (red * red + blue * blue) / chroma).clamp(0, 1)


def _blurred(maps: Tensor, matrix: Tensor) -> Tensor:
    return matrix @ maps @ matrix.T


def _resized(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
