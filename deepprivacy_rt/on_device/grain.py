"""Grain of the skin on foreheads, on the device: see :mod:`deepprivacy_rt.generators.grain`, whose rules and numbers
these are. Nothing of it waits for the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators import grain
from deepprivacy_rt.generators.complexion import TINT_CELLS
from deepprivacy_rt.on_device.complexion import likeness, skin_of, to_ycc
from deepprivacy_rt.on_device.forehead import Foreheads


class Grainer:
    """Gives foreheads grain. :param size: side of the patches. :param side: of the pictures."""

    def __init__(self, size: int, side: int, foreheads: Foreheads, device: torch.device) -> None:
        self._cells, self._zoom, self._foreheads = min(TINT_CELLS, size), side // size, foreheads
        # One texel more, for it repeats.
        self._map = torch.from_numpy(np.pad(grain.made(), (0, 1), mode="wrap"))[None, None].to(device)
        ticks = torch.arange(side, device=device, dtype=torch.float32)
        x, y = torch.meshgrid(ticks, ticks, indexing="xy")
        self._pixels = torch.stack([x, y, torch.ones_like(x)])

    def grained(
        self, pictures: Tensor, faces: Tensor, shown: Tensor, skin: Tensor, poses: list[NDArray[np.float64]]
    ) -> Tensor:
        """Return pictures with grain on the skin above their portraits, (n, 3, S, S) whole levels.

        :param pictures: (n, 3, S, S) whole levels, 0 to 255, with portraits. :param faces: (n, 3, s, s), as the network
            painted them. :param shown: (n, 1, S, S). :param skin: (n, 1, g, g) where portraits show skin.
        """
        found, is_seen = skin_of(faces, skin)
        small = F.adaptive_avg_pool2d(faces, (self._cells,) * 2).round()
        share = self._foreheads.over(shown) * likeness(to_ycc(small), found) * is_seen[:, None, None, None]
        share = share * self._upper(shown)
        matrices = np.stack([grain.in_map(pose, self._zoom) for pose in poses]).astype(np.float32)
        places = torch.einsum("nij,jhw->nhwi", torch.from_numpy(matrices).to(faces.device), self._pixels)
        places = places.remainder(grain.SIZE) * (2 / grain.SIZE) - 1
        fine = F.grid_sample(self._map.expand(len(places), -1, -1, -1), places, mode="bilinear", align_corners=True)
        fine = fine * F.interpolate(share, pictures.shape[2:], mode="bilinear", align_corners=False)
        return (pictures + pictures * fine).round().clamp(0, 255)

    def _upper(self, shown: Tensor) -> Tensor:
        """Return 1 where rows are above the middle of portraits, (n, 1, g, 1)."""
        rows = F.adaptive_avg_pool2d(shown, (self._cells,) * 2).sum(dim=3, keepdim=True)
        ticks = torch.arange(self._cells, device=shown.device)[:, None]
        middle = (rows * ticks).sum(dim=2, keepdim=True) / rows.sum(dim=2, keepdim=True).clamp(min=1e-6)
        return (ticks < middle.round()).float()
