"""The detail head: a face of half the resolution becomes one of the full resolution, with skin, lashes and lips.

It sees what the generator made, the surroundings at full resolution (erased where the generator was blind, too) and
the keypoints. All its layers but the last work at half of the resolution or less (sub-pixel convolution, Shi et al.
2016), and it adds to an enlarged face (as in SRGAN, Ledig et al. 2017). It adds brightness alone: with colours of its
own it drew specks of violet into eyes and teeth, and video has colours at half of its resolution anyway.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.networks.blocks import ResidualBlock, act, conv, keypoint_maps


class DetailHead(nn.Module):
    """(n, 3, s/2, s/2) faces and (n, 3, s, s) surroundings → (n, 3, s, s) faces. Works on any crop of them, too."""

    def __init__(self, width: int, keypoints: int = 6) -> None:
        super().__init__()
        self.stem = conv(3 + 4 * 4 + keypoints, width)
        self.encode = ResidualBlock(width)
        self.down = conv(width, 2 * width, kernel=4, stride=2)
        self.middle = nn.ModuleList([ResidualBlock(2 * width) for _ in range(3)])
        self.up = conv(2 * width, width, kernel=1)
        self.decode = ResidualBlock(width)
        self.to_luma = conv(width, 4, gain=0.1)
        self.binomial: Tensor
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("binomial", torch.outer(row, row)[None, None], persistent=False)

    @staticmethod
    def maps(keypoints: Tensor, size: int) -> Tensor:
        """Return the keypoint maps it wants, (n, 6, size, size), for faces of ``size``; see ``keypoint_maps``."""
        return keypoint_maps(keypoints, size, sigma=2.0)

    def forward(self, face: Tensor, image: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return the face at twice its resolution, RGB, about -1..1.

        :param face: (n, 3, s/2, s/2), surroundings included.
        :param image: (n, 3, s, s), 0 where erased.
        :param mask: (n, 1, s, s), 1 where erased or unknown.
        :param maps: (n, 6, s/2, s/2), of the keypoints.
        """
        seen = F.pixel_unshuffle(torch.cat([image, mask], dim=1), 2)
        x = self.encode(self.stem(torch.cat([face, seen, maps.to(face.dtype)], dim=1)))
        low = self.down(act(x))
        for block in self.middle:
            low = block(low)
        x = x + F.interpolate(self.up(act(low)), scale_factor=2.0)
        x = self.to_luma(act(self.decode(x)))
        large = F.interpolate(face, scale_factor=2.0, mode="bilinear", align_corners=False)
        # Where a discriminator asks for more than it can draw, it would scatter single bright pixels otherwise.
        return large + F.conv2d(F.pixel_shuffle(x, 2), self.binomial, padding=1)


def halve(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return an erased patch and its mask at half the size: erased wherever one pixel in four is."""
    small = F.max_pool2d(mask, 2)
    return F.avg_pool2d(image, 2) * (1 - small), small
