"""The distribution that latents are drawn from at run time, fitted after training.

The encoder's posteriors over the training faces do not fill the standard normal that they were pulled to; latents from
its empty parts give broken faces. A normal fitted to the posterior means does not have such parts (ex-post density
estimation, Ghosh et al. 2020, "From Variational to Deterministic Autoencoders"). Two directions are taken out of it:
the one that makes faces lighter or darker, since skin and light have to follow the surroundings; and the one that makes
them blurred or sharp, since some training pictures are blurred: all faces get to be somewhat sharper than the average.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.training.dataset import FaceData
from deepprivacy_rt.training.sheets import plain_views

_BATCH = 64
_HALF_LIFE = 5000.0
"""Pictures after which a posterior counts half in the running prior."""
_CONTEXTS = 16
_PROBES = 96
_SHARPER = 1.0
"""Deviations by which faces are sharper than the average. From 2 on, skin looks etched."""


class RunningPrior(nn.Module):
    """A normal fitted to the posterior means of the last pictures: what latents are drawn from while training.

    Drawn from N(0, 1) instead, the adversarial half of a batch would teach latents that are never used at run time.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.covariance: Tensor
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("covariance", torch.eye(latent))

    @torch.no_grad()
    def update(self, means: Tensor) -> None:
        """Take in the posterior means of a batch, (n, latent)."""
        share = 1 - 0.5 ** (len(means) / _HALF_LIFE)
        with torch.autocast(means.device.type, enabled=False):
            away = means.float() - self.mean
            self.mean.lerp_(means.float().mean(dim=0), share)
            self.covariance.lerp_(away.T @ away / len(means), share)

    @torch.no_grad()
    def draw(self, normal: Tensor) -> Tensor:
        """Turn standard normal draws, (n, latent), into latents."""
        with torch.autocast(normal.device.type, enabled=False):
            return self.mean + normal @ _factor(self.covariance).T


@torch.no_grad()
def fit_prior(generator: Generator, encoder: Encoder, data: FaceData) -> tuple[Tensor, Tensor]:
    """Return the mean (latent,) and a factor (latent, latent) with factor · factorᵀ the covariance."""
    means = _posterior_means(encoder, data, generator.config.drawn_size)
    mean, covariance = means.mean(dim=0), torch.cov(means.T)
    factor = _factor(covariance)
    draws, light, detail = _probe(generator, data, mean, factor)
    # A little ridge: there are hardly more probes than dimensions. More of it where more than one direction counts.
    mean, covariance = _given(mean, covariance, _direction(draws, light, factor, ridge=0.05), 0.0)
    mean, covariance = _given(mean, covariance, _direction(draws, detail, factor, ridge=1.0), _SHARPER)
    return mean, _factor(covariance)


def _given(mean: Tensor, covariance: Tensor, direction: Tensor, deviations: float) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of latents given that they lie so many deviations along a direction."""
    along = covariance @ direction
    variance = (direction @ along).clamp(min=1e-6)
    return mean + along * (deviations / variance.sqrt()), covariance - torch.outer(along, along) / variance


def _factor(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    factor: Tensor = vectors * values.clamp(min=0).sqrt()
    return factor


def _posterior_means(encoder: Encoder, data: FaceData, size: int) -> Tensor:
    found = []
    for start in range(0, len(data.units), _BATCH):
        index = torch.arange(start, min(start + _BATCH, len(data.units)), device=data.images.device)
        views = plain_views(data, GEOMETRY[Region.FACE], size, index)
        found.append(encoder(views.target, views.cover)[0])
    return torch.cat(found)


def _probe(generator: Generator, data: FaceData, mean: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return random draws, (n, latent), and lightness and logarithm of detail, (n,) each, of the faces they give."""
    device = mean.device
    index = torch.linspace(0, len(data.units) - 1, _CONTEXTS, device=device).long()
    views = plain_views(data, GEOMETRY[Region.FACE], generator.config.size, index)
    random = torch.Generator().manual_seed(0)
    draws = torch.randn(_PROBES, len(mean), generator=random).to(device)
    inner = -F.max_pool2d(-views.cover, 9, stride=1, padding=4)
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=device)[None, None]
    light, detail = [], []
    for draw in draws:
        latent = (mean + factor @ draw).expand(_CONTEXTS, -1)
        out = generator(views.image, views.mask, views.keypoints, latent, views.expression).float()
        light.append((out * views.cover).sum(dim=(1, 2, 3)).mean() / views.cover[0].sum())
        edges = F.conv2d(out.mean(dim=1, keepdim=True), kernel, padding=1).square()
        detail.append(((edges * inner).sum(dim=(1, 2, 3)) / inner.sum(dim=(1, 2, 3))).log().mean())
    return draws, torch.stack(light), torch.stack(detail)


def _direction(draws: Tensor, measured: Tensor, factor: Tensor, ridge: float) -> Tensor:
    """Return the gradient by the latent of what was measured of draws: least squares, with a ridge per probe."""
    gram = draws.T @ draws + ridge * len(draws) * torch.eye(draws.shape[1], device=draws.device)
    slope = torch.linalg.solve(gram, draws.T @ (measured - measured.mean()))
    direction: Tensor = torch.linalg.lstsq(factor.T, slope[:, None], driver="gelsd").solution[:, 0]
    return direction
