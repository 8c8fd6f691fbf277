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
    DARK,
    FACE_OVER_NECK,
    FLASH,
    JOINED,
    LARGEST_GAIN,
    LEAST_SEEN,
    NECK,
    NECK_COLORED,
    NECK_LIKE,
    NECK_OFF,
    NECK_SPREAD,
    NECK_STEPS,
    NECK_SURE,
    NECK_TRUST,
    NECK_WIDER,
    SPREAD,
    TINT_CELLS,
    memory,
)
from deepprivacy_rt.on_device.cutting import Patches
from deepprivacy_rt.on_device.portrait_drawing import blur_matrix

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

    def __init__(self, size: int, device: torch.device, frame_rate: float) -> None:
        """:param size: side of the patches. :param frame_rate: frames per second, above 0."""
        cells = min(CELLS, size)
        self._joined = blur_matrix(cells, JOINED * cells, 8).to(device)
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
        found, is_seen = skin_of(faces, coarse_skin)
        is_seen &= sound
        around, known = surroundings(patches)
        light = around[:, :1] * known
        wanted = beside_neck(around, known, found)
        alike = likeness(around, wanted) * known
        seen = alike.mean(dim=(1, 2, 3)) + LEAST_SEEN
        gains = []
        for row, track in enumerate(tracks):
            color, weight = (torch.where(is_seen[row], one, 0) for one in (wanted[row] * seen[row], seen[row]))
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
        beside = (2 * (self._joined @ alike @ self._joined.T)).clamp(0, 1)
        share = share * (1 - F.interpolate(beside, cells, mode="bilinear", align_corners=False))
        share = F.interpolate(share, faces.shape[2:], mode="bilinear", align_corners=False) * patches.mask
        return (faces + faces * (torch.stack(gains)[:, :, None, None] - 1) * share).round().clamp(0, 255)

    def skins(self, tracks: Sequence[int]) -> Tensor:
        """Return the average colours of tracks of the last frame, (n, 3) RGB levels; black: no skin was seen."""
        known = [self._tracks[track] for track in tracks]
        return torch.stack([one.color / one.weight.clamp(min=1e-9) for one in known])


def skin_of(faces: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean colours where skin is, (n, 3), and whether there is any, (n,)."""
    coarse = F.interpolate(faces, skin.shape[2:], mode="area")
    weight = skin.sum(dim=(1, 2, 3))
    return (coarse * skin).sum(dim=(2, 3)) / weight.clamp(min=1)[:, None], weight >= 1


def beside_neck(around: Tensor, known: Tensor, found: Tensor) -> Tensor:
    """Return the colours that faces are to have, (n, 3) RGB levels, by what is seen of their necks: see the host's."""
    cells = known.shape[2]
    ticks = torch.arange(cells, device=known.device)
    hidden = (known[:, 0, :, cells * 3 // 8 : cells * 5 // 8] < 0.5).all(dim=2)
    lowest = torch.where(hidden.any(dim=1), torch.where(hidden, ticks, -1).amax(dim=1), cells // 2)
    off = (ticks - (cells - 1) / 2).abs() < NECK[0] * cells
    low = ticks[None, :] > lowest[:, None] - NECK[1] * cells
    place = known * (low[:, None, :, None] & off)
    drawn = to_ycc(found[:, :, None, None])

    def levels(values: tuple[float, float, float]) -> Tensor:
        return around.new_tensor(values)[None, :, None, None]

    seen, own = (one / one[:, :1].clamp(min=DARK) for one in (around, drawn))
    colored = (seen[:, 1:2] > NECK_COLORED * own[:, 1:2]) & (seen[:, 2:] < NECK_COLORED * own[:, 2:])
    far = (((around - (drawn + levels(NECK_OFF))) / levels(NECK_SPREAD)) ** 2).sum(dim=1, keepdim=True)
    share, color = torch.exp(-0.5 * far) * place * colored, drawn
    for _ in range(NECK_STEPS):
        total = share.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        color = (around * share).sum(dim=(2, 3), keepdim=True) / total
        alike = (((around - color) / levels(NECK_LIKE)) ** 2).sum(dim=1, keepdim=True)
        share = torch.exp(-0.5 * (alike + far / NECK_WIDER)) * place * colored
    part = share.sum(dim=(1, 2, 3)) / place.sum(dim=(1, 2, 3)).clamp(min=1)
    trust = NECK_TRUST * ((part - NECK_SURE[0]) / (NECK_SURE[1] - NECK_SURE[0])).clamp(0, 1)
    wanted = drawn + trust[:, None, None, None] * (color * levels(FACE_OVER_NECK) - drawn)
    return to_rgb(wanted)[:, :, 0, 0].clamp(0, 255)


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
