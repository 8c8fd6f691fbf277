"""Mouths and lids of portraits that move, on the device: see :mod:`deepprivacy_rt.portraits.gestures` and
:mod:`deepprivacy_rt.portraits.lids`, whose geometry and numbers these are, for a batch of faces at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.portraits import gestures as host
from deepprivacy_rt.portraits import lids
from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF, Floats
from deepprivacy_rt.types import Expression


class DeviceGestures:
    """Finds which texels of portraits at rest are to be seen where, when they do something.

    :param gestures: of the bank.
    """

    def __init__(self, gestures: host.Gestures, device: torch.device) -> None:
        self._device = device
        lips = gestures.lips
        self._lips = _Line(lips, device)
        self._dents = torch.from_numpy(gestures.dents).to(device)[None, None, None]
        self._corners = [(float(x), float(y)) for x, y in (lips[0], lips[-1])]
        self._middle, self._half = float(lips[:, 0].mean()), float(np.ptp(lips[:, 0])) / 2
        self._chin, self._nose = gestures.chin, gestures.nose
        self._eyes = [(eye, _Line(eye.upper, device), _Line(eye.lower, device)) for eye in gestures.eyes]

    def texels(self, places: Tensor, doings: Sequence[Expression]) -> Tensor:
        """Return the canonical places of the texels to show, (n, g, g, 2).

        :param places: (n, g, g, 2) canonical places of faces that do something.
        """
        gap, smile = self._told(doings)
        x, y = self._unsmiled(places[..., 0], places[..., 1], smile)
        return torch.stack([x, self._parted(x, y, gap)], dim=-1)

    def insides(self, places: Tensor, doings: Sequence[Expression]) -> tuple[Tensor, Tensor]:
        """Return how much of places is the inside of mouths, and how much teeth, (n, h, w) 0 to 1.

        :param places: (n, h, w, 2), as for ``texels``.
        """
        gap, smile = self._told(doings)
        x, y = self._unsmiled(places[..., 0], places[..., 1], smile)
        line, off, lips = self._lips_at(x)
        lower_edge, upper_edge = line + (1 - host.UPPER_SHARE) * gap * lips, line - host.UPPER_SHARE * gap * lips
        inside = ((y - upper_edge) / host.SOFT).clamp(0, 1) * ((lower_edge - y) / host.SOFT).clamp(0, 1) * (off < 1)
        most, part = host.TEETH * (1 + host.SMILE_TEETH * smile), host.BITE + host.SMILE_BITE * smile
        fade = host.TEETH_FADE * (1 - host.SMILE_FADE * smile)
        bite = upper_edge + torch.minimum(most, part * gap * lips)
        teeth = ((bite - y) / host.SOFT).clamp(0, 1) * ((host.TEETH_REACH - off) / fade).clamp(0, 1)
        teeth = teeth * (1 - host.LIP_SHADOW * (1 - (y - upper_edge) / host.LIP_SHADOW_REACH).clamp(0, 1))
        return inside, inside * teeth

    def lower_lids(self, images: Tensor, textures: Tensor, where: Tensor, doings: Sequence[Expression]) -> Tensor:
        """Return drawn portraits with their lids lowered, (n, 3, h, w): see :mod:`deepprivacy_rt.portraits.lids`.

        :param textures: (n, 3, t, t) that they were drawn from. :param where: (n, 2, h, w) places in these, -1 to 1.
        """
        x, y = where[:, 0] * HALF, where[:, 1] * HALF + CENTER_Y
        amounts = zip(*(lids.closings(doing) for doing in doings), strict=True)
        for (eye, upper, lower), closing in zip(self._eyes, amounts, strict=True):
            if not any(closing):
                continue
            length = eye.length
            above, below = upper.at(x) - lids.ABOVE * length, lower.at(x) + lids.BELOW * length
            inside = (torch.minimum(x - eye.begin, eye.begin + length - x) / (lids.BESIDE * length) + 1).clamp(0, 1)
            edge = above + self._given(closing) * (below - above)
            soft = ((y - above) / (lids.SOFT * length) + 1).clamp(0, 1)
            share = inside * soft * ((edge - y) / (lids.LASHES / 2 * length) + 1).clamp(0, 1)
            dark = lids.DARK * torch.exp(-0.5 * ((y - edge) / (lids.LASHES * length)) ** 2) * inside
            source = (below + (edge - y).clamp(min=0) - CENTER_Y) / HALF
            grid = torch.stack([where[:, 0], source], dim=-1)
            skin = F.grid_sample(textures, grid, mode="bilinear", padding_mode="border", align_corners=False)
            share = (share * (self._given(closing) > 0))[:, None]
            images = images + share * (skin * (1 - dark[:, None]) - images)
        return images

    def dents(self, where: Tensor) -> Tensor:
        """Return how bright teeth are, (n, 1, h, w) 0 to 1. :param where: (n, 2, h, w) places in a map, -1 to 1."""
        grid = torch.stack([where[:, 0], torch.zeros_like(where[:, 0])], dim=-1)
        line = self._dents.expand(len(where), -1, -1, -1)
        return F.grid_sample(line, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _given(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)[:, None, None]

    def _unsmiled(self, x: Tensor, y: Tensor, smile: Tensor) -> tuple[Tensor, Tensor]:
        right, down = torch.zeros_like(x), torch.zeros_like(y)
        out, up = (smile * one for one in host.SMILE)
        for (at_x, at_y), side in zip(self._corners, (-out, out), strict=True):
            off_x, off_y = (x - (at_x + side)) / host.SMILE_REACH[0], (y - (at_y + up)) / host.SMILE_REACH[1]
            share = torch.exp(-0.5 * (off_x * off_x + off_y * off_y))
            right, down = right + side * share, down + up * share
        return x - right, y - down

    def _told(self, doings: Sequence[Expression]) -> tuple[Tensor, Tensor]:
        """Return gaps and smiles, (n, 1, 1) each."""
        return self._given([host.gap_of(doing) for doing in doings]), self._given([doing.smile for doing in doings])

    def _lips_at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        off = (x - self._middle).abs() / self._half
        return self._lips.at(x), off, (1 - off**2).clamp(0, 1).sqrt()

    def _parted(self, x: Tensor, y: Tensor, gap: Tensor) -> Tensor:
        line, off, lips = self._lips_at(x)
        jaw = (1 - (off / host.JAW_REACH) ** 2).clamp(0, 1)
        parted = (1 - host.UPPER_SHARE) * gap * lips
        low = ((y - line) / (self._chin - line)).clamp(0, 1.5)
        near = (1 - low / host.LIP_REACH).clamp(0, 1)
        down = (1 - host.UPPER_SHARE) * gap * (near * lips + (1 - near) * jaw * (1 - host.JAW_LAG * low.clamp(max=1)))
        down = torch.minimum(down, parted + host.STRETCH * (y - line - parted).clamp(min=0))
        up = host.UPPER_SHARE * gap * lips * ((y - self._nose) / (line - self._nose)).clamp(0, 1)
        below = y > line + (0.5 - host.UPPER_SHARE) * gap * lips
        source = torch.where(below, torch.maximum(y - down, line), torch.minimum(y + up, line))
        return torch.where(gap > 0, source, y)


class _Line:
    """Straight pieces between points, level beyond the ends: ``numpy.interp``."""

    def __init__(self, points: Floats, device: torch.device) -> None:
        x, y = points[np.argsort(points[:, 0], kind="stable")].T
        self.begin, self.end = float(x[0]), float(x[-1])
        slopes = np.diff(y) / np.maximum(np.diff(x), 1e-9)
        self._x, self._y, self._slopes = (
            torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device) for part in (x, y, slopes)
        )

    def at(self, x: Tensor) -> Tensor:
        """Return the heights above places of any shape."""
        x = x.clamp(self.begin, self.end).contiguous()
        piece = (torch.bucketize(x, self._x) - 1).clamp(0, len(self._slopes) - 1)
        return self._y[piece] + (x - self._x[piece]) * self._slopes[piece]
