"""Pasting generated patches over the fill, on the device; the soft edge lies outside of the cover."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.blending import COLOR_CELLS, FADE, FEATHER, LARGEST_COLOR_SHIFT
from deepprivacy_rt.diffusion import KERNEL
from deepprivacy_rt.generators.smooth import CELLS, STEPS, UNKNOWN
from deepprivacy_rt.on_device.cutting import Patches, sampling_grid
from deepprivacy_rt.on_device.shapes import FaceShape

_LEAST = 1e-12


class PatchPaster:
    """Does what :class:`deepprivacy_rt.blending.PatchBlender` does.

    Edges follow the cover's formula in place of a blurred polygon; enlarged patches are sampled bicubically at once.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        """:param size: side of the patches."""
        self._size, self._device = size, device
        self._cells, self._fill_cells = min(COLOR_CELLS, size), min(CELLS, size)
        self._blurs = {
            cells: [(share, torch.from_numpy(_blur(spread * cells, cells)).to(device)) for spread, share in KERNEL]
            for cells in {self._cells, self._fill_cells}
        }

    def color_matched(self, faces: Tensor, patches: Patches) -> Tensor:
        """Return the faces with the slow part of their difference to the surroundings added.

        :param faces: (n, 3, s, s) float32, whole levels, 0 to 255; or finer than the patches by a whole factor.
        """
        known, finer = (~patches.mask).float(), faces.shape[2] // self._size
        same = F.avg_pool2d(faces, finer) if finer > 1 else faces
        shift, _ = self._diffused((patches.image - same) * known, known, self._cells)
        shift = shift.clamp(-LARGEST_COLOR_SHIFT, LARGEST_COLOR_SHIFT)
        wide = F.interpolate(shift, faces.shape[2:], mode="bilinear", align_corners=False)
        return (faces + wide).round().clamp(0, 255)

    def spread(self, patches: Patches) -> Tensor:
        """Return patches with their surroundings spread over the mask, (n, 3, s, s), whole levels.

        What :class:`deepprivacy_rt.generators.smooth.SmoothGenerator` does.
        """
        known = (~patches.mask).float()
        own, count = self._diffused(patches.image * known, known, self._fill_cells)
        held, colors = F.adaptive_avg_pool2d(known, self._fill_cells) > 0, own
        for _ in range(STEPS):
            around = F.avg_pool2d(F.pad(colors, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            colors = torch.where(held, own, around)
        wide = F.interpolate(colors, patches.image.shape[2:], mode="bilinear", align_corners=False).round()
        return torch.where(patches.mask, torch.where(count > 0, wide, float(UNKNOWN)), patches.image)

    def _diffused(self, values: Tensor, known: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """See ``diffusion.diffused``; the second is how much is known at all, (n, 1, 1, 1)."""
        coarse = F.adaptive_avg_pool2d(torch.cat([values, known], dim=1), cells)
        total = sum((share * (blur @ coarse @ blur.T) for share, blur in self._blurs[cells]), torch.zeros_like(coarse))
        return total[:, :3] / total[:, 3:].clamp(min=_LEAST), known.sum(dim=(1, 2, 3), keepdim=True)

    def paste(self, image: Tensor, face: Tensor, shape: FaceShape, wanted: Tensor) -> Tensor:
        """Paste one face, in place.

        :param image: (h, w, 3) uint8. :param face: (3, s, s) float32, 0 to 255, or finer.
        :param wanted: () bool, False: change nothing.
        :return: () bool, whether any pixel is another one now.
        """
        feather = FEATHER * self._size / shape.scale
        area = shape.area(1.1 * feather + 3, image.shape[1], image.shape[0])
        if area is None:
            return torch.zeros((), dtype=torch.bool, device=self._device)
        x, y = area.pixels(self._device)
        small = self._reduced(face, shape.scale)
        to_patch = shape.to_patch[None]
        grid = sampling_grid(
            _resized(to_patch, small.shape[1] / self._size), x[0], y[:, 0], (small.shape[2], small.shape[1])
        )
        mode = "bicubic" if small is face else "bilinear"
        generated = F.grid_sample(small[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]
        strength = _slope(shape.distance(area, self._device), feather) * self._inside(shape, x, y)
        part = area.of(image)
        before = part.float()
        mixed = before + (generated.clamp(0, 255).permute(1, 2, 0) - before) * (strength * wanted)[..., None]
        new = mixed.round().clamp(0, 255).to(torch.uint8)
        changed = (new != part).any()
        part.copy_(new)
        return changed

    def _reduced(self, face: Tensor, scale: float) -> Tensor:
        """Return the patch at about the frame's resolution where that is lower than its own."""
        side = max(2, round(self._size / scale))
        if side >= face.shape[1]:
            return face
        return F.interpolate(face[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]

    def _inside(self, shape: FaceShape, x: Tensor, y: Tensor) -> Tensor:
        """Return (h, w): 1 in the patch, falling to 0 over its last pixels, 0 outside of it."""
        u, v = (float(row[0]) * x + float(row[1]) * y + float(row[2]) for row in shape.to_patch)
        last = self._size - 1
        border = torch.minimum(torch.minimum(u, last - u), torch.minimum(v, last - v))
        return (border / FADE).clamp(0, 1)


def is_flat(faces: Tensor) -> Tensor:
    """Return (n,) bool: which faces are one colour all over, as a failed network gives. :param faces: (n, 3, s, s)."""
    return (faces == faces[:, :, :1, :1]).flatten(1).all(dim=1)


def _slope(distance: Tensor, feather: float) -> Tensor:
    """Return 1 inside, falling to 0 over ``feather`` pixels outside: a step, blurred by two boxes of half of that."""
    rest = (1 - distance / max(feather, 1e-6)).clamp(0, 1)
    return torch.where(rest < 0.5, 2 * rest**2, 1 - 2 * (1 - rest) ** 2)


def _resized(maps: np.ndarray, ratio: float) -> np.ndarray:
    """Return maps into a patch resized by a ratio. Pixel centres: resized = (original + 0.5) * ratio - 0.5"""
    maps = maps * ratio
    maps[:, :, 2] += 0.5 * ratio - 0.5
    return maps


def _blur(sigma: float, cells: int) -> np.ndarray:
    """Return the (cells, cells) float32 matrix of OpenCV's Gaussian blur of that many values, zeros around them."""
    width = round(sigma * 8 + 1) | 1
    kernel = cv2.getGaussianKernel(width, sigma, cv2.CV_64F)[:, 0]
    offset = np.arange(cells)[:, None] - np.arange(cells)[None] + width // 2
    inside = (offset >= 0) & (offset < width)
    return np.where(inside, kernel[offset.clip(0, width - 1)], 0).astype(np.float32)
