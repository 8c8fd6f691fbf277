"""The appearance encoder: training face → posterior over the latent. Used in training only.

It gives the latent a meaning (VAE-GAN, Larsen et al. 2016; BicycleGAN, Zhu et al. 2017). At inference latents are
drawn from the prior; no face is ever encoded.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.networks.blocks import ResidualBlock, act, conv


class Encoder(nn.Module):
    """(n, 3, s, s) RGB and its cover → mean and log-variance, each (n, latent)."""

    def __init__(self, latent: int = 64, width: int = 48) -> None:
        super().__init__()
        channels = [width, 2 * width, 4 * width, 4 * width]
        self.stem = conv(4 * 16, width)
        self.levels = nn.ModuleList([ResidualBlock(c) for c in channels[:3]])
        self.downs = nn.ModuleList([conv(a, b, kernel=4, stride=2) for a, b in pairwise(channels)])
        self.head = nn.Linear(channels[-1], 2 * latent)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
        """Encode only what lies under the cover: the surroundings reach the generator by another way."""
        x = self.stem(F.pixel_unshuffle(torch.cat([image * cover, cover], dim=1), 4))
        for level, down in zip(self.levels, self.downs, strict=True):
            x = down(act(level(x)))
        mean, logvar = self.head(act(x).mean(dim=(2, 3))).float().chunk(2, dim=1)
        return mean, logvar.clamp(-8.0, 4.0)
