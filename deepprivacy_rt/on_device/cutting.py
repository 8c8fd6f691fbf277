"""Aligned patches of all faces of a frame, cut from the erased frame in one sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.cropping import PatchEdge, reach, unit_cover
from deepprivacy_rt.geometry import RegionGeometry, transform_points
from deepprivacy_rt.on_device.shapes import Area, FaceShape
from deepprivacy_rt.types import Affine

_MOST_SAMPLES = 8
"""Per patch pixel and axis; a face for which more were needed fills twice the height of a 1080p frame."""
_WHOLLY_KNOWN = 0.999
"""Weights of known pixels do not quite add up to 1. What is lost here is a thousandth of the fill's colour."""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """The patches of n faces.

    :ivar image: (n, 3, s, s) float32 RGB in whole levels, 0 to 255; 0 where ``mask`` is True.
    :ivar mask: (n, 1, s, s) bool, True where pixels are unknown.
    """

    image: Tensor
    mask: Tensor


class PatchCutter:
    """Does what :class:`deepprivacy_rt.cropping.AlignedCropper` does when it cuts."""

    def __init__(self, geometry: RegionGeometry, size: int, device: torch.device) -> None:
        self._size, self._device = size, device
        self._core_mask = unit_cover(geometry, size)
        self._core = torch.from_numpy(self._core_mask).to(device)
        self._edges: dict[int, tuple[Tensor, Tensor]] = {}

    def cut(self, image: Tensor, cover: Tensor, shapes: Sequence[FaceShape]) -> Patches:
        """Return the patches of at least one face.

        :param image: (h, w, 3) uint8, erased. :param cover: (h, w) bool.
        """
        area = self._around(shapes, cover.shape[1], cover.shape[0])
        colors = area.of(image).permute(2, 0, 1).float()
        picture = torch.cat([colors, (~area.of(cover))[None].float()])[None]
        samples = [min(max(1, int(1 / shape.scale)), _MOST_SAMPLES) for shape in shapes]
        parts: list[Tensor | None] = [None] * len(shapes)
        for count in sorted(set(samples)):  # usually one: faces of a frame are of like size
            rows = [row for row, own in enumerate(samples) if own == count]
            for row, patch in zip(rows, self._sampled(picture, area, [shapes[r] for r in rows], count), strict=True):
                parts[row] = patch
        both = torch.stack([part for part in parts if part is not None])
        colors, mask = both[:, :3].round(), both[:, 3:] < _WHOLLY_KNOWN
        self._mend(colors, mask, shapes)
        return Patches(colors.masked_fill_(mask, 0), mask)

    def _around(self, shapes: Sequence[FaceShape], width: int, height: int) -> Area:
        """Return the part of the frame that all patches lie in, as far as they lie in it."""
        last = float(self._size)
        square = np.array([[-1, -1], [last, -1], [last, last], [-1, last]])
        corners = np.concatenate([transform_points(inverse(shape.to_patch), square) for shape in shapes])
        x0, y0 = np.clip(np.floor(corners.min(axis=0)) - 1, 0, [width - 1, height - 1]).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(corners.max(axis=0)) + 2, [x0 + 1, y0 + 1], [width, height]).astype(int).tolist()
        return Area(x0, y0, x1, y1)

    def _sampled(self, picture: Tensor, area: Area, shapes: Sequence[FaceShape], count: int) -> Tensor:
        """Return (n, 4, s, s): colours and how much of each pixel is known, the mean of count² samples."""
        maps = np.stack([inverse(shape.to_patch) for shape in shapes])
        maps[:, :, 2] -= (area.x0, area.y0)
        ticks = (torch.arange(self._size * count, device=self._device, dtype=torch.float32) + 0.5) / count - 0.5
        grid = sampling_grid(maps, ticks, ticks, (area.x1 - area.x0, area.y1 - area.y0))
        many = picture.expand(len(shapes), -1, -1, -1)
        sampled = F.grid_sample(many, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return F.avg_pool2d(sampled, count) if count > 1 else sampled

    def _mend(self, colors: Tensor, mask: Tensor, shapes: Sequence[FaceShape]) -> None:
        """Show every face with the same edge, in place; not one whose centre is not covered. See docs/adr/0008."""
        middle = self._size // 2
        is_covered = mask[:, :, middle, middle, None]
        reaches = [reach(shape.to_patch) for shape in shapes]
        for margin in sorted(set(reaches)):
            rows = torch.tensor([own == margin for own in reaches], device=self._device)[:, None, None] & is_covered
            band, source = self._edge(margin)
            flat, unknown = colors.flatten(2), mask.flatten(2)
            mends = rows & ~unknown[:, :, source]
            flat[:, :, band] = torch.where(mends, flat[:, :, source], flat[:, :, band])
            unknown[:, :, band] &= ~mends
        mask |= self._core & is_covered[..., None]

    def _edge(self, margin: int) -> tuple[Tensor, Tensor]:
        if margin not in self._edges:
            edge = PatchEdge.around(self._core_mask, margin)
            band, source = (torch.from_numpy(places).to(self._device) for places in (edge.band, edge.source))
            self._edges[margin] = band, source
        return self._edges[margin]


def inverse(affine: Affine) -> Affine:
    """Return the inverse of a (2, 3) map."""
    return np.asarray(np.linalg.inv(np.vstack([affine, [0.0, 0.0, 1.0]]))[:2])


def sampling_grid(maps: Affine, across: Tensor, down: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where to sample pictures of ``size`` (width, height), (n, h, w, 2), as ``grid_sample`` wants it.

    :param maps: (n, 2, 3) from places in the output to pixels of the picture.
    :param across: (w,) x of the output's columns. :param down: (h,) y of its rows.
    """
    # -1..1 are the outer edges of the picture, half a pixel beyond the centres of its last pixels.
    ends = np.array(size, np.float64)[None, :, None]
    scaled = maps * (2 / ends)
    scaled[:, :, 2] += 1 / ends[:, :, 0] - 1
    factors = torch.from_numpy(scaled.astype(np.float32)).to(across.device)[:, :, :, None, None]
    return (
        factors[:, :, 0] * across[None, None, None, :] + factors[:, :, 1] * down[None, None, :, None] + factors[:, :, 2]
    ).permute(0, 2, 3, 1)
