"""Foreheads that go with the faces below them, on the device: see :mod:`deepprivacy_rt.generators.forehead`, whose
rules and numbers these are. Nothing of it waits for the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.complexion import DARK, TINT_CELLS
from deepprivacy_rt.generators.forehead import BROW, CHEEKS, DIM, EDGE, HEIGHT, HUED, KEPT
from deepprivacy_rt.on_device.complexion import to_ycc
from deepprivacy_rt.on_device.portrait_drawing import blur_matrix


class Foreheads:
    """Evens foreheads. :param size: side of the patches."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._cells = min(TINT_CELLS, size)
        self._edge = blur_matrix(self._cells, EDGE, 8).to(device)
        self._row = torch.arange(self._cells, device=device)[:, None]

    def evened(self, faces: Tensor, masks: Tensor, hints: Tensor, skins: Tensor, where: Tensor) -> Tensor:
        """Return faces whose foreheads are about as light as their skin, (n, 3, s, s) whole levels.

        :param faces: (n, 3, s, s) whole levels, 0 to 255. :param masks: (n, 1, s, s) bool. :param hints: (n, 2, s, s).
        :param skins: (n, 3) RGB levels; black: not known. :param where: (n, 1, g, g) where there is a wall.
        """
        light, shown = F.adaptive_avg_pool2d(hints, (self._cells,) * 2).chunk(2, dim=1)
        wanted = (skins[:, :, None, None] * CHEEKS * self._brow_light(light, shown)).clamp(max=255)
        small = F.adaptive_avg_pool2d(faces, (self._cells,) * 2).round()
        known = wanted.amax(dim=1, keepdim=True) >= DARK
        hidden = F.interpolate(where, small.shape[2:], mode="bilinear", align_corners=False)
        skin, light = _skin(to_ycc(small), to_ycc(wanted))
        share = self.over(shown) * (1 - hidden) * skin * known
        change = (1 - KEPT) * share * (wanted * light.clamp(max=1) / small.clamp(min=1) - 1)
        fine = F.interpolate(change, faces.shape[2:], mode="bilinear", align_corners=False) * masks
        return (faces + faces * fine).round().clamp(0, 255)

    def over(self, shown: Tensor) -> Tensor:
        """Return where foreheads are, (n, 1, g, g). :param shown: (n, 1, h, h) how much of portraits is to be seen."""
        shown = F.adaptive_avg_pool2d(shown, (self._cells,) * 2)
        inside = (shown > 0.5).float()
        reaches = (self._row >= self._row.mT - (HEIGHT * _radius(inside)).round()) & (self._row <= self._row.mT)
        head = (reaches.float() @ inside > 0).float()
        return self._edge @ head @ self._edge.T * (1 - shown**4)

    def _brow_light(self, light: Tensor, shown: Tensor) -> Tensor:
        """Return how light portraits are where they end below foreheads, over their skin, (n, 1, 1, 1)."""
        inside = (shown > 0.5).float()
        above = self._row - ((BROW * _radius(inside)).round() + 1)
        upper = inside * (1 - (self._row.mT == above).float() @ inside)
        light, shown = ((part * upper).sum(dim=(2, 3), keepdim=True) for part in (light, shown))
        return 1 + light / shown.clamp(min=1)


def _radius(inside: Tensor) -> Tensor:
    return (inside.sum(dim=(2, 3), keepdim=True) / math.pi).sqrt()


def _skin(ycc: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much colours may be a skin's, and how light they are, in parts of it, (n, 1, g, g) each."""
    own, seen = (part[:, 1:] / part[:, :1].clamp(min=DARK) for part in (wanted, ycc))
    signs = ycc.new_tensor([1.0, -1.0])[None, :, None, None]
    hue = (signs * seen / (signs * own).clamp(min=1e-2)).amin(dim=1, keepdim=True)
    light = ycc[:, :1] / wanted[:, :1].clamp(min=DARK)
    dim = ((light - DIM[0]) / (DIM[1] - DIM[0])).clamp(0, 1)
    return dim * ((hue - HUED[0]) / (HUED[1] - HUED[0])).clamp(0, 1), light
