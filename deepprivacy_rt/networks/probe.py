"""The expression probe: generated face → how far mouth and eyes are open. Used in training only.

Face Mesh (:mod:`deepprivacy_rt.expressions.face_mesh`) has no gradient here. The probe learns from it, on photographs
and on the generator's own faces as they come, and hands the generator a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.networks.blocks import ResidualBlock, act, conv, keypoint_maps

_PLACES = [3, 0, 1]
"""Keypoints at which mouth, right eye and left eye lie."""


class ExpressionProbe(nn.Module):
    """(n, 3, s, s) RGB in -1..1 and (n, 6, 2) keypoints → (n, 3) openings, about 0..1.

    It is blind to colour: with it, generators say "open" by violet teeth, which no eye takes for an open mouth.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = conv(16, width)
        self.blocks = nn.ModuleList([ResidualBlock(width) for _ in range(2)])
        self.mouth, self.eye = (
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)) for _ in range(2)
        )

    def forward(self, image: Tensor, keypoints: Tensor) -> Tensor:
        """Read the expression where the keypoints say that mouth and eyes are."""
        x = self.stem(F.pixel_unshuffle(image.mean(dim=1, keepdim=True), 4))  # (n, w, s/4, s/4)
        for block in self.blocks:
            x = block(x)
        size = x.shape[-1]
        near = keypoint_maps(keypoints[:, _PLACES], size, sigma=size / 16).flatten(2).to(x.dtype)  # (n, 3, (s/4)²)
        near = near / (near.sum(dim=2, keepdim=True) + 1e-6)
        mouth, right, left = (act(x).flatten(2) @ near.transpose(1, 2)).unbind(dim=2)
        return torch.cat([self.mouth(mouth), self.eye(right), self.eye(left)], dim=1).float()
