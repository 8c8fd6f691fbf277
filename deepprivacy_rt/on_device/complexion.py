"""The colour of faces' skin, steady over their tracks, on the device: see :mod:`deepprivacy_rt.generators.complexion`,
whose rules and numbers these are. Nothing of it waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.complexion import (
    AGREEING,
    CELLS,
    FLASH,
    LARGEST_GAIN,
    LEAST_SEEN,
    SPREAD,
    TINT_CELLS,
    memory,
)
from deepprivacy_rt.on_device.cutting import Patches

_TO_YCC = (
    (0.299, 0.587, 0.114),
    (0.713 * 0.701, 0.713 * -0.587, 0.713 * -0.114),
    (0.564 * -0.299, 0.564 * -0.587, 0.564 * 0.886),
)
"""Rows of luma, Cr and Cb (ITU-R BT.601), without offsets: only differences count."""


@dataclass(frozen=True, slots=True, eq=False)
class Complexion:
    """See the host's: (3,) sum of colours, () sum of weights, (c, c) luma and what is known of it."""

    color: Tensor
    weight: Tensor
    light: Tensor
    known: Tensor


class Complexions:
    """Keeps the skin of one stream's tracks, whose frames come in order."""

    def __init__(self, frame_rate: float) -> None:
        """:param frame_rate: frames per second, above 0."""
        self._kept = memory(frame_rate)
        self._tracks: dict[int, Complexion] = {}

    def steadied(
        self,
        faces: Tensor,
        sound: Tensor,
        patches: Patches,
        coarse_skin: Tensor,
        tracks: Sequence[int],
        goes_on: Sequence[bool],
    ) -> Tensor:
        """Return faces with the skin of their tracks, (n, 3, s, s) whole levels.

        :param faces: (n, 3, s, s), 0 to 255. :param sound: (n,) bool, False: its colour is not remembered.
        :param coarse_skin: (n, 1, g, g) where portraits show skin.
        :param goes_on: whether a track was there in the frame before.
        """
        before, self._tracks = self._tracks, {}
        found, is_seen = _skin(faces, coarse_skin)
        is_seen &= sound
        around, known = surroundings(patches)
        light = around[:, :1] * known
        seen = (likeness(around, found) * known).mean(dim=(1, 2, 3)) + LEAST_SEEN
        gains = []
        for row, track in enumerate(tracks):
            color, weight = (torch.where(is_seen[row], one, 0) for one in (found[row] * seen[row], seen[row]))
            earlier = before.get(track) if goes_on[row] else None
            if earlier is not None:
                change = _flash(earlier, light[row], known[row])
                color = color + self._kept * change * earlier.color
                weight = weight + self._kept * earlier.weight
            gain = (color / weight.clamp(min=1e-9) / found[row].clamp(min=1)).clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
            gains.append(torch.where(is_seen[row], gain, 1.0))
            self._tracks[track] = Complexion(color, weight, light[row], known[row])
        cells = (min(TINT_CELLS, faces.shape[2]),) * 2
        share = likeness(to_ycc(F.adaptive_avg_pool2d(faces, cells).round()), found)
        share = F.interpolate(share, faces.shape[2:], mode="bilinear", align_corners=False) * patches.mask
        return (faces + faces * (torch.stack(gains)[:, :, None, None] - 1) * share).round().clamp(0, 255)

    def skins(self, tracks: Sequence[int]) -> Tensor:
        """Return the average colours of tracks of the last frame, (n, 3) RGB levels; black: no skin was seen."""
        known = [self._tracks[track] for track in tracks]
        return torch.stack([one.color / one.weight.clamp(min=1e-9) for one in known])


def _skin(faces: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean colours where skin is, (n, 3), and whether there is any, (n,)."""
    coarse = F.interpolate(faces, skin.shape[2:], mode="area")
    weight = skin.sum(dim=(1, 2, 3))
    return (coarse * skin).sum(dim=(2, 3)) / weight.clamp(min=1)[:, None], weight >= 1


def surroundings(patches: Patches) -> tuple[Tensor, Tensor]:
    """Return pictures around faces as luma, Cr and Cb, (n, 3, c, c), and 1 where most of a cell is known."""
    cells = (min(CELLS, patches.image.shape[2]),) * 2
    known = F.adaptive_avg_pool2d((~patches.mask).float(), cells)
    mean = F.adaptive_avg_pool2d(patches.image, cells).round() / known.clamp(min=1e-3)
    return to_ycc(mean), (known > 0.5).float()


def to_ycc(image: Tensor) -> Tensor:
    """Return luma, Cr and Cb of RGB, (n, 3, h, w), without offsets."""
    return torch.einsum("ij,njhw->nihw", image.new_tensor(_TO_YCC), image)


def to_rgb(ycc: Tensor) -> Tensor:
    """Return RGB of what ``to_ycc`` made."""
    luma, red, blue = ycc.chunk(3, dim=1)
    red, blue = luma + red / 0.713, luma + blue / 0.564
    return torch.cat([red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue], dim=1)


def likeness(ycc: Tensor, colors: Tensor) -> Tensor:
    """Return how much pixels have a colour, (n, 1, h, w) 0 to 1. :param colors: (n, 3) RGB levels."""
    spread = ycc.new_tensor([SPREAD[0], SPREAD[1], SPREAD[1]])[None, :, None, None]
    off = (ycc - to_ycc(colors[:, :, None, None])) / spread
    return torch.exp(-0.5 * (off * off).sum(dim=1, keepdim=True))


def _flash(earlier: Complexion, light: Tensor, known: Tensor) -> Tensor:
    both = earlier.known * known
    before, now = earlier.light * both, light * both
    change = ((now.sum() + 1) / (before.sum() + 1)).log()
    alike = change.sign() * ((now + 1) / (before + 1)).log() > FLASH
    agreeing = ((now + before) * alike).sum() >= AGREEING * (now + before).sum()
    return torch.where(agreeing & (change.abs() > FLASH), change, 0.0).exp()
