"""The losses, one function each, with their papers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """Relativistic pairing loss (Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024): softplus(worse − better).

    The pairs share their surroundings, so the discriminator compares faces, not scenes.
    """
    return F.softplus(worse.float() - better.float()).mean()


def gradient_penalty(logits: Tensor, inputs: Tensor) -> Tensor:
    """Half the mean squared gradient norm of the logits (R1/R2, Mescheder et al. 2018); inputs need gradients."""
    (gradient,) = torch.autograd.grad(logits.float().sum(), inputs, create_graph=True)
    return 0.5 * gradient.float().square().sum(dim=(1, 2, 3)).mean()


def masked_l1(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference where the (n, 1, s, s) mask is 1."""
    weight = mask.sum() * a.shape[1] + 1e-6
    return ((a - b).abs() * mask).sum() / weight


def pyramid_l1(a: Tensor, b: Tensor, mask: Tensor, factors: Sequence[int] = (1, 4)) -> Tensor:
    """Sum of masked L1 over averaged scales; the coarse ones carry colour and layout."""
    total = masked_l1(a, b, mask)
    for factor in factors[1:]:
        small = F.avg_pool2d(mask, factor)
        total = total + masked_l1(F.avg_pool2d(a * mask, factor), F.avg_pool2d(b * mask, factor), (small > 0).float())
    return total


def feature_matching(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Mean L1 of discriminator features, each level normalised by its own scale (Wang et al. 2018; Larsen 2016)."""
    losses = []
    for a, b in zip(ours, theirs, strict=True):
        b = b.detach()
        losses.append((a - b).abs().float().mean() / (b.abs().float().mean() + 1e-4))
    return torch.stack(losses).mean()


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL of the posterior from the standard normal, in nats per picture (Kingma and Welling 2014)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1).mean()
