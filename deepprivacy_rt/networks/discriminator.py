"""The discriminators: is this composite of surroundings and face a photograph? Used in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from deepprivacy_rt.networks.blocks import ResidualBlock, act, conv, keypoint_maps


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Append one channel with the mean standard deviation over groups of the batch (Karras et al. 2018)."""
    n, _, h, w = x.shape
    group = group if n % group == 0 else n
    grouped = x.float().reshape(group, n // group, -1)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    return torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(n, 1, h, w).to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """RGB + mask + keypoint maps → one logit, and the features of each level for feature matching.

    A space-to-depth stem, then residual levels at s/2, s/4, s/8, s/16, without normalisation, for the regularised
    relativistic loss of R3GAN (Huang et al. 2024).
    """

    def __init__(self, size: int = 128, width: int = 64, keypoints: int = 6) -> None:
        super().__init__()
        self.size = size
        channels = [width, 2 * width, 4 * width, 6 * width]
        self.stem = conv((4 + keypoints) * 4, width)
        self.levels = nn.ModuleList([ResidualBlock(c) for c in channels])
        self.downs = nn.ModuleList(
            [conv(a, b, kernel=4, stride=2) for a, b in zip(channels, [*channels[1:], channels[-1]], strict=True)]
        )
        self.last = conv(channels[-1] + 1, channels[-1])
        self.head = nn.Linear(channels[-1] * (size // 32) ** 2, 1)

    def maps(self, keypoints: Tensor) -> Tensor:
        """Return the keypoint maps it wants beside the picture, (n, 6, s, s)."""
        return keypoint_maps(keypoints, self.size, sigma=3.0)

    def forward(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (n,) logits and the level features.

        :param inputs: (n, 3 + 1 + 6, s, s): RGB in -1..1, mask, keypoint maps.
        """
        x = self.stem(F.pixel_unshuffle(inputs, 2))
        features = []
        for level, down in zip(self.levels, self.downs, strict=True):
            x = level(x)
            features.append(x)
            x = down(act(x))
        x = act(self.last(minibatch_deviation(act(x))))
        return self.head(x.flatten(1)).squeeze(1), features


class TextureDiscriminator(nn.Module):
    """Crop of a composite → a map of logits: does each part of it look photographed?

    A patch discriminator (Isola et al. 2017) with spectral normalisation (Miyato et al. 2018), for the detail head. It
    sees what is finer than 16 pixels only: colour and layout are the generator's business.
    """

    _COARSE, _GAIN = 16, 8.0  # layers that cannot amplify need inputs of some size

    def __init__(self, width: int = 32, keypoints: int = 6) -> None:
        super().__init__()
        self.stem = spectral_norm(conv((4 + keypoints) * 4, width))
        self.down_4 = spectral_norm(conv(width, 2 * width, kernel=4, stride=2))
        self.same_4 = spectral_norm(conv(2 * width, 2 * width))
        self.down_8 = spectral_norm(conv(2 * width, 4 * width, kernel=4, stride=2))
        self.same_8 = spectral_norm(conv(4 * width, 4 * width))
        self.head = spectral_norm(conv(4 * width, 1))

    def forward(self, image: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (n, 1, s/8, s/8) logits, and the features of each level.

        :param image: (n, 3, s, s) RGB in -1..1, s a multiple of 16.
        :param mask: (n, 1, s, s), 1 where erased.
        :param maps: (n, 6, s, s), of the keypoints.
        """
        coarse = F.interpolate(F.avg_pool2d(image, self._COARSE), image.shape[-2:], mode="bilinear")
        x = F.pixel_unshuffle(torch.cat([self._GAIN * (image - coarse), mask, maps], dim=1), 2)
        features = []
        for layer in (self.stem, self.down_4, self.same_4, self.down_8, self.same_8):
            x = act(layer(x))
            features.append(x)
        return self.head(x), features
