"""Sample sheets: the same held-out faces with the same latents every time, so that sheets compare."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.geometry import RegionGeometry
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.training.dataset import FaceData
from deepprivacy_rt.training.views import Look, Views, ViewSampler


def to_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Return pictures as bytes: (n, 3, s, s) -1..1 → (n, s, s, 3) uint8."""
    array: NDArray[np.uint8] = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return array


def plain_views(data: FaceData, region: RegionGeometry, size: int, index: Tensor) -> Views:
    """Return undisturbed views of the given pictures."""
    device = data.images.device
    sampler = ViewSampler(data, region, size, torch.Generator(device).manual_seed(1))
    n, one, zero = len(index), torch.ones(1, device=device), torch.zeros(1, device=device)
    shape = (n, 1, 1, 1)
    look = Look(one.expand(shape), zero.expand(shape), one.expand(shape), one.expand(shape), zero.expand(shape))
    return sampler.views(index, sampler.geometry(index, jitter=0.0), look, jitter=0.0)


def _row(generator: Generator, views: Views, latent: Tensor, expression: Tensor) -> NDArray[np.uint8]:
    out = generator(views.image, views.mask, views.keypoints, latent, expression).float()
    return to_bytes(views.mask * out + (1 - views.mask) * views.target)


@torch.no_grad()
def write_sheet(
    path: Path,
    generator: Generator,
    data: FaceData,
    region: RegionGeometry,
    size: int,
    count: int = 20,
    latents: int = 5,
) -> None:
    """Write a PNG; per column one held-out face: what the generator sees, one row per latent, the original.

    The latents are drawn once and shared by all columns, so that a row shows one identity on many people. The last of
    them is shown in two rows more, with the mouth open, and with shut eyes.
    """
    device = data.images.device
    index = torch.linspace(0, len(data.units) - 1, count, device=device).long()
    views = plain_views(data, region, size, index)
    random = torch.Generator("cpu").manual_seed(7)
    rows = [to_bytes(views.image)]
    for _ in range(latents):
        draw = torch.randn(generator.config.latent, generator=random).to(device)
        latent = (generator.prior_mean + generator.prior_factor @ draw).expand(count, -1)
        rows.append(_row(generator, views, latent, views.expression))
    for told in ([0.55, 0.7, 0.7], [0.05, 0.0, 0.0]):
        rows.append(_row(generator, views, latent, torch.tensor(told, device=device).expand(count, -1)))
    rows.append(to_bytes(views.target))
    sheet = np.vstack([np.hstack(list(row)) for row in rows])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
