"""Plain walls behind heads, on the device: see :mod:`deepprivacy_rt.generators.backdrop`, whose rules and numbers these
are. Nothing of it waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.backdrop import CHROMA_COUNTS, EDGED, EVENED, FAR, GRID, REACH, ROUGH, SURE
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

    def behind(self, faces: Tensor, patches: Patches, skins: Tensor) -> Tensor:
        """Return faces with plain surroundings continued behind them, (n, 3, s, s) whole levels.

        :param faces: (n, 3, s, s) whole levels, 0 to 255. :param skins: (n, 3) RGB levels of faces.
        """
        around, known = surroundings(patches)
        plain = self._plain(around, known) * (1 - likeness(around, skins))
        wall, plain = self._continued(around, plain, known)
        wall, plain = (_resized(part, self._grid) for part in (wall, plain))
        small = to_ycc(F.interpolate(faces, (self._grid,) * 2, mode="area").round())
        off = (small - wall) / wall.new_tensor([FAR[0], FAR[1], FAR[1]])[None, :, None, None]
        like = (2 - (off * off).sum(dim=1, keepdim=True)).clamp(0, 1)
        share = _resized(like * (SURE[0] * plain + SURE[1]).clamp(0, 1), faces.shape[2])
        return (faces + (_resized(to_rgb(wall), faces.shape[2]) - faces) * share).round().clamp(0, 255)

    def _plain(self, around: Tensor, known: Tensor) -> Tensor:
        weight = _blurred(known, self._near) + 1e-6
        first, second = (_blurred(part * known, self._near) / weight for part in (around, around**2))
        luma, red, blue = (second - first**2).clamp(min=0).chunk(3, dim=1)
        return torch.exp(-0.5 * (luma + CHROMA_COUNTS * (red + blue)) / ROUGH**2) * known

    def _continued(self, around: Tensor, plain: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        apart = self._distance + (1 - known.flatten(1))[:, None] * self._distance.numel()
        nearest = apart.argmin(dim=2)[:, None]
        plain = plain.flatten(2).gather(2, nearest).view_as(plain)
        colors = around.flatten(2).gather(2, nearest.expand(-1, 3, -1)).view_as(around) * plain
        wall = _blurred(colors, self._even) / (_blurred(plain, self._even) + 1e-4)
        return wall, _blurred(plain, self._edge)


def _blurred(maps: Tensor, matrix: Tensor) -> Tensor:
    return matrix @ maps @ matrix.T


def _resized(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
