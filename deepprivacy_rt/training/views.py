"""Random training views: aligned patches cut from still pictures on the device that trains.

A view goes through the same geometry as :mod:`deepprivacy_rt.cropping` does at run time, with the errors that a
detector makes: shifted, scaled and rolled boxes, noisy keypoints, faces at the border of the frame, other faces'
covers in the surroundings, exposure, colour cast, blur and sensor noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.geometry import RegionGeometry
from deepprivacy_rt.training.dataset import FaceData

_MIRROR = [1, 0, 2, 3, 5, 4]
_MIRROR_EXPRESSION = [0, 2, 1]
_EXPOSURE = -0.1, 0.3
"""Mean and deviation of the logarithm of exposure: pictures made to please are lighter than rooms are."""
_WARMTH, _TINT = (0.08, 0.30), 0.04
"""Mean and deviation of the logarithm of red over blue in light that was not balanced, lamps being warmer than days;
deviation of what else there is of each."""


@dataclass(frozen=True)
class Geometry:
    """Where patches lie on their pictures: centre (n, 2) and unit (n,) in picture pixels, roll (n,), mirror (n,)."""

    center: Tensor
    unit: Tensor
    roll: Tensor
    mirror: Tensor

    def matrix(self) -> Tensor:
        """Return (n, 2, 2): face units → picture pixels."""
        c, s = torch.cos(self.roll) * self.unit, torch.sin(self.roll) * self.unit
        flip = torch.where(self.mirror, -1.0, 1.0)
        return torch.stack([torch.stack([c * flip, -s], dim=-1), torch.stack([s * flip, c], dim=-1)], dim=1)

    def part(self, count: int) -> Geometry:
        """Return the first ``count`` of the batch."""
        return Geometry(self.center[:count], self.unit[:count], self.roll[:count], self.mirror[:count])


@dataclass(frozen=True)
class Views:
    """A batch of patches.

    :ivar target: (n, 3, s, s) RGB -1..1, the picture itself, 0 where there is none.
    :ivar image: (n, 3, s, s) what the generator sees: noise added, erased under ``mask``.
    :ivar mask: (n, 1, s, s) 1 where erased or unknown.
    :ivar cover: (n, 1, s, s) 1 under the face's own cover.
    :ivar valid: (n, 1, s, s) 1 where the picture has pixels.
    :ivar keypoints: (n, 6, 2) -1..1 over the patch.
    :ivar expression: (n, 3) opening of mouth, right and left eye, 0..1.
    """

    target: Tensor
    image: Tensor
    mask: Tensor
    cover: Tensor
    valid: Tensor
    keypoints: Tensor
    expression: Tensor

    def part(self, count: int) -> Views:
        """Return the first ``count`` views."""
        return Views(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))

    def after(self, count: int) -> Views:
        """Return all views but the first ``count``."""
        return Views(*(getattr(self, name)[count:] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Look:
    """Photometric state of a batch, so that two views of one picture can share it."""

    gain: Tensor
    offset: Tensor
    gamma: Tensor
    saturation: Tensor
    blur: Tensor

    def part(self, count: int) -> Look:
        """Return the first ``count`` of the batch."""
        return Look(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


class ViewSampler:
    """Cuts random views of one region from a :class:`FaceData` on its device.

    :param size: patch side in pixels.
    :param random: the generator behind every random number, on the data's device; its state is checkpointed.
    """

    def __init__(self, data: FaceData, region: RegionGeometry, size: int, random: torch.Generator) -> None:
        self.data, self.region, self.size, self.random = data, region, size, random
        self.device = data.images.device
        axis = (torch.arange(size, device=self.device) + 0.5) / size - 0.5
        self._y, self._x = torch.meshgrid(axis * region.side, axis * region.side, indexing="ij")
        # Half a pixel more than the outline: at run time every touched pixel counts as covered.
        grow = 0.5 * region.side / size
        inside = (self._x.abs() / (region.half_width + grow)) ** region.exponent
        inside = inside + (self._y.abs() / (region.half_height + grow)) ** region.exponent
        self.cover = (inside <= 1).float()[None, None]

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return uniform random numbers."""
        return torch.rand(*shape, device=self.device, generator=self.random) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal random numbers."""
        return torch.randn(*shape, device=self.device, generator=self.random)

    def choose(self, count: int) -> Tensor:
        """Return random picture indices, those with weight 0 excluded."""
        return torch.multinomial(self.data.weights, count, replacement=True, generator=self.random)

    def geometry(self, index: Tensor, jitter: float = 1.0) -> Geometry:
        """Return the detected geometry with a detector's errors."""
        n = len(index)
        unit = self.data.units[index] * torch.exp(0.07 * jitter * self.normal(n))
        return Geometry(
            center=self.data.centers[index] + 0.035 * jitter * unit[:, None] * self.normal(n, 2),
            unit=unit,
            roll=self.data.rolls[index] + 0.06 * jitter * self.normal(n),
            mirror=(self.uniform(n) < 0.5 if jitter else torch.zeros(n, device=self.device, dtype=torch.bool)),
        )

    def nudge(self, geometry: Geometry) -> Geometry:
        """Return the geometry of the same face a few frames later."""
        n = len(geometry.unit)
        return Geometry(
            center=geometry.center + 0.05 * geometry.unit[:, None] * self.normal(n, 2),
            unit=geometry.unit * torch.exp(0.05 * self.normal(n)),
            roll=geometry.roll + 0.06 * self.normal(n),
            mirror=geometry.mirror,
        )

    def look(self, count: int, strength: float = 1.0, *, rooms: bool = False) -> Look:
        """Return random exposure, colour cast, gamma, saturation and blur.

        :param rooms: in light as warm, as cold and as dim as in rooms, in place of what pictures made to please have.
        """
        on = (self.uniform(count, 1, 1, 1) < 0.7).float() * strength
        light = self._room(count, on) if rooms else self._studio(count, on)
        return Look(
            gain=light,
            offset=on * 0.08 * self.normal(count, 1, 1, 1),
            gamma=torch.exp(on * 0.25 * self.normal(count, 1, 1, 1)),
            saturation=1 + on * self.uniform(count, 1, 1, 1, low=-0.5, high=0.3),
            blur=strength * (self.uniform(count, 1, 1, 1) < 0.25).float() * self.uniform(count, 1, 1, 1),
        )

    def _studio(self, count: int, on: Tensor) -> Tensor:
        """Return a light of about one colour, (n, 3, 1, 1)."""
        return 1 + on * (0.18 * self.normal(count, 1, 1, 1) + 0.04 * self.normal(count, 3, 1, 1)).clamp(-0.5, 0.4)

    def _room(self, count: int, on: Tensor) -> Tensor:
        """Return a light that a camera did not balance, (n, 3, 1, 1)."""
        exposure = torch.exp(on * (_EXPOSURE[0] + _EXPOSURE[1] * self.normal(count, 1, 1, 1)).clamp(-1.0, 0.35))
        warmth = _WARMTH[0] + _WARMTH[1] * self.normal(count, 1, 1, 1)
        ends = torch.tensor([0.5, 0.0, -0.5], device=self.device)[:, None, None]
        cast = torch.exp(on * (ends * warmth + _TINT * self.normal(count, 3, 1, 1)).clamp(-0.5, 0.5))
        luma = torch.tensor([0.299, 0.587, 0.114], device=self.device)[:, None, None]
        return exposure * cast / (cast * luma).sum(dim=1, keepdim=True)

    def views(self, index: Tensor, geometry: Geometry, look: Look, jitter: float = 1.0) -> Views:
        """Cut patches. ``jitter`` scales keypoint noise and sensor noise; 0 switches random erasing off too."""
        picture, valid = self._cut(index, geometry)
        target = self._photograph(picture, look) * valid
        cover = self.cover.expand(len(index), -1, -1, -1)
        mask = torch.maximum(cover, 1 - valid)
        if jitter:
            mask = torch.maximum(mask, self._other_covers(len(index)))
        noise = jitter * 0.05 * (self.uniform(len(index), 1, 1, 1) - 0.5).clamp(min=0) * 2
        image = (target + noise * self.normal(*target.shape)).clamp(-1, 1) * (1 - mask)
        doing = self.data.expressions[index]
        doing = torch.where(geometry.mirror[:, None], doing[:, _MIRROR_EXPRESSION], doing)
        return Views(target, image, mask, cover, valid, self._keypoints(index, geometry, jitter), doing)

    def _cut(self, index: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Sample at twice the patch's resolution and average: bilinear taps alone would alias."""
        fine = 2 * self.size
        axis = ((torch.arange(fine, device=self.device) + 0.5) / fine - 0.5) * self.region.side
        y, x = torch.meshgrid(axis + self.region.center_y, axis, indexing="ij")
        points = torch.stack([x, y], dim=-1).reshape(1, -1, 2)
        pixels = points @ geometry.matrix().transpose(1, 2) + geometry.center[:, None]
        sizes = self.data.sizes[index][:, None]  # (n, 1, 2): w, h
        inside = ((pixels > 0) & (pixels < sizes - 1)).all(dim=-1).float().reshape(-1, 1, fine, fine)
        canvas = self.data.images.shape[-1]
        grid = ((pixels + 0.5) * (2.0 / canvas) - 1).reshape(-1, fine, fine, 2)
        source = self.data.images[index].float() / 127.5 - 1
        picture = F.avg_pool2d(F.grid_sample(source, grid, align_corners=False, padding_mode="border"), 2)
        return picture, (F.avg_pool2d(inside, 2) > 0.99).float()

    def _photograph(self, picture: Tensor, look: Look) -> Tensor:
        light = ((picture + 1) / 2).clamp(1e-4, 1) ** look.gamma * look.gain + look.offset
        grey = light.mean(dim=1, keepdim=True)
        light = grey + (light - grey) * look.saturation
        soft = F.interpolate(
            F.avg_pool2d(light, 3, stride=2, padding=1, count_include_pad=False), scale_factor=2.0, mode="bilinear"
        )
        return (torch.lerp(light, soft, look.blur) * 2 - 1).clamp(-1, 1)

    def _keypoints(self, index: Tensor, geometry: Geometry, jitter: float) -> Tensor:
        points = self.data.keypoints[index] - geometry.center[:, None]
        units = points @ torch.linalg.inv(geometry.matrix()).transpose(1, 2)
        units = units + jitter * 0.012 * self.normal(*units.shape)
        units = torch.where(geometry.mirror[:, None, None], units[:, _MIRROR], units)
        shift = torch.tensor([0.0, self.region.center_y], device=self.device)
        return (units - shift) * (2 / self.region.side)

    def _other_covers(self, count: int) -> Tensor:
        """Return (n, 1, s, s): now and then another face's cover or the frame's border takes away surroundings."""
        angle = self.uniform(count, 1, 1, 1, high=2 * math.pi)
        distance = self.uniform(count, 1, 1, 1, low=1.0, high=1.7)
        dx = self._x - distance * torch.cos(angle)
        dy = self._y - distance * torch.sin(angle)
        blob = (dx.abs() / 0.6) ** 2.7 + (dy.abs() / 0.68) ** 2.7 <= 1
        blob = blob & (self.uniform(count, 1, 1, 1) < 0.12)
        side = torch.cos(angle) * self._x + torch.sin(angle) * self._y
        edge = (side > 0.5 * distance * self.region.side / 1.8) & (self.uniform(count, 1, 1, 1) < 0.1)
        return (blob | edge).float()


def warp_between(image: Tensor, source: Geometry, target: Geometry, region: RegionGeometry) -> tuple[Tensor, Tensor]:
    """Resample patches cut at ``source`` as if cut at ``target``; also return where they are known, (n, 1, s, s)."""
    size = image.shape[-1]
    axis = ((torch.arange(size, device=image.device) + 0.5) / size - 0.5) * region.side
    y, x = torch.meshgrid(axis + region.center_y, axis, indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(1, -1, 2)

    pixels = points @ target.matrix().transpose(1, 2) + target.center[:, None]
    units = (pixels - source.center[:, None]) @ torch.linalg.inv(source.matrix()).transpose(1, 2)
    units = units - torch.tensor([0.0, region.center_y], device=image.device)
    grid = (units * (2 / region.side)).reshape(-1, size, size, 2)
    known = (grid.abs() < 1).all(dim=-1)[:, None].float()
    return F.grid_sample(image, grid, align_corners=False, padding_mode="border"), known
