"""Building blocks shared by the networks. No normalisation anywhere: it breaks in int8 and suffers in bf16."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, gain: float = 1.0, *, bias: bool = True
) -> nn.Conv2d:
    """Return a convolution with He initialisation scaled by ``gain`` (0 makes it start as nothing)."""
    padding = (kernel - stride + 1) // 2 if stride > 1 else kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    with torch.no_grad():
        layer.weight.mul_(gain)
        nn.init.zeros_(layer.bias) if layer.bias is not None else None
    return layer


def act(x: Tensor) -> Tensor:
    """Leaky ReLU, slope 0.2."""
    return F.leaky_relu(x, 0.2)


class ResidualBlock(nn.Module):
    """x + conv(act(film(conv(act(x))))): pre-activation, the branch starts at zero (Fixup, Zhang et al. 2019).

    :param style: width of the style vector; 0 for none. FiLM (Perez et al. 2018) scales and shifts per channel.
    """

    def __init__(self, channels: int, style: int = 0) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels, gain=0.1)
        self.film = nn.Linear(style, 2 * channels) if style else None
        if self.film is not None:
            nn.init.normal_(self.film.weight, std=0.5 / style**0.5)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        h = self.first(act(x))
        if self.film is not None and style is not None:
            scale, shift = self.film(style)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.second(act(h))  # type: ignore[no-any-return]


def keypoint_maps(keypoints: Tensor, size: int, sigma: float) -> Tensor:
    """Draw one Gaussian per keypoint.

    :param keypoints: (n, k, 2) x, y in -1..1 over the patch (its outer edges).
    :param sigma: in map pixels.
    :return: (n, k, size, size), peak 1.
    """
    centers = (torch.arange(size, device=keypoints.device, dtype=torch.float32) + 0.5) * (2.0 / size) - 1.0
    inverse = 0.5 * (size / (2.0 * sigma)) ** 2
    across, down = torch.exp(-inverse * (centers - keypoints.float()[..., None]) ** 2).unbind(dim=2)  # (n, k, size)
    return across[:, :, None, :] * down[:, :, :, None]
