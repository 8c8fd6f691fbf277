"""Differentiable augmentation of what the discriminator sees (Zhao et al. 2020; Karras et al. 2020).

With 2,000 pictures a discriminator soon knows them by heart. Real and generated composites go through the same random
transforms, gradients included, so that the generator learns the clean distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class Augmenter:
    """Random geometry, colour and cut-outs, each with probability ``p`` per picture.

    :param random: source of all random numbers, on the device of the pictures.
    """

    def __init__(self, p: float, random: torch.Generator) -> None:
        self.p, self._random = p, random

    def _uniform(self, like: Tensor, *shape: int) -> Tensor:
        return torch.rand(*shape, device=like.device, generator=self._random)

    def _on(self, like: Tensor, *shape: int) -> Tensor:
        return (self._uniform(like, *shape) < self.p).float()

    def draw(self, like: Tensor, count: int) -> dict[str, Tensor]:
        """Draw parameters for ``count`` pictures, to be applied to the real and the generated one alike."""
        angle = self._on(like, count) * (self._uniform(like, count) - 0.5) * math.radians(30)
        scale = torch.exp(self._on(like, count) * (self._uniform(like, count) - 0.5) * 0.4)
        shift = self._on(like, count, 1) * (self._uniform(like, count, 2) - 0.5) * 0.4
        c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
        theta = torch.stack([torch.stack([c, -s, shift[:, 0]], 1), torch.stack([s, c, shift[:, 1]], 1)], 1)
        one = (count, 1, 1, 1)
        return {
            "theta": theta,
            "brightness": self._on(like, *one) * (self._uniform(like, *one) - 0.5) * 0.5,
            "saturation": 1 + self._on(like, *one) * (self._uniform(like, *one) - 0.5) * 1.2,
            "contrast": 1 + self._on(like, *one) * (self._uniform(like, *one) - 0.5) * 0.6,
            "hole": self._uniform(like, count, 2) * 2 - 1,
            "hole_on": self._on(like, *one) * (self._uniform(like, *one) < 0.7).float(),
        }

    @staticmethod
    def apply(inputs: Tensor, draw: dict[str, Tensor]) -> Tensor:
        """Transform (n, c ≥ 3, s, s); geometry moves all channels together, colour only the first three."""
        rgb, rest = inputs[:, :3], inputs[:, 3:]
        rgb = rgb + draw["brightness"]
        grey = rgb.mean(dim=1, keepdim=True)
        rgb = grey + (rgb - grey) * draw["saturation"]
        mean = rgb.mean(dim=(1, 2, 3), keepdim=True)
        rgb = mean + (rgb - mean) * draw["contrast"]
        grid = F.affine_grid(draw["theta"], list(inputs.shape), align_corners=False)
        moved = F.grid_sample(torch.cat([rgb, rest], dim=1), grid, align_corners=False, padding_mode="zeros")
        size = inputs.shape[-1]
        axis = (torch.arange(size, device=inputs.device) + 0.5) * (2.0 / size) - 1
        far_x = (axis[None, None, None, :] - draw["hole"][:, 0, None, None, None]).abs() > 0.25
        far_y = (axis[None, None, :, None] - draw["hole"][:, 1, None, None, None]).abs() > 0.25
        return moved * torch.maximum((far_x | far_y).float(), 1 - draw["hole_on"])
