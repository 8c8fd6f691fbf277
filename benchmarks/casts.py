"""Whether a generator's skin follows the light of a room: errors under lights that a camera did not balance.

    python benchmarks/casts.py PACK WEIGHTS.safetensors...

Held-out synthetic faces are lit anew, as pictures to learn from are, and their surroundings are given to the generator.
Where a portrait would lie, its mean colour is compared with the picture's: levels of luma, and of red less blue, mean
and standard deviation over faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.pool import read_pool
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.portrait_hints import HintPainter
from deepprivacy_rt.training.views import Look, ViewSampler
from deepprivacy_rt.weights import Weights

FACES, BATCH = 96, 32
LIGHTS = ((1.0, 0.0), (1.0, 0.5), (1.0, -0.4), (0.6, 0.5), (0.6, 0.0))
"""How bright, and the logarithm of red over blue."""
LUMA = (0.299, 0.587, 0.114)


def look(count: int, bright: float, warm: float) -> Look:
    """Return a light for so many pictures."""
    cast = torch.exp(warm * torch.tensor([0.5, 0.0, -0.5]))
    cast = bright * cast / (cast @ torch.tensor(LUMA))
    one = torch.ones(count, 1, 1, 1)
    return Look(gain=one * cast[:, None, None], offset=0 * one, gamma=one, saturation=one, blur=0 * one)


def errors(
    generator: Generator, data: FaceData, bank: PortraitBank, pool: Tensor, light: tuple[float, float]
) -> Tensor:
    """Return by how much the mean colours under portraits are off, (n, 3) levels."""
    size = generator.config.size
    sampler = ViewSampler(data, GEOMETRY[Region.FACE], size, torch.Generator().manual_seed(0))
    painter = HintPainter(bank, [], size)
    found = []
    for part in torch.split(torch.arange(0, len(data.units), max(len(data.units) // FACES, 1))[:FACES], BATCH):
        views = sampler.views(part, sampler.geometry(part, 0.0), look(len(part), *light), 0.0)
        hints = painter.hints(part, views, torch.zeros(len(part), dtype=torch.bool))
        latents = pool[torch.arange(len(part)) % len(pool)]
        with torch.no_grad():
            made = generator(views.image, views.mask, views.keypoints, latents, views.expression, hints)
        share = hints[:, 1:] * views.valid
        total = share.sum(dim=(2, 3)).clamp(min=1)
        found.append(((made - views.target) * 127.5 * share).sum(dim=(2, 3)) / total)
    return torch.cat(found)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("weights", type=Path, nargs="+")
    args = parser.parse_args()
    shipped = Weights()
    bank = read_portraits(shipped.path("portraits"))
    data = load(args.pack, torch.device("cpu"), held_out, GEOMETRY[Region.FACE].side)
    for path in args.weights:
        generator = load_generator(path)
        pool = torch.from_numpy(read_pool(shipped.path("face128-latents"), generator.config.latent))
        for light in LIGHTS:
            off = errors(generator, data, bank, pool, light).numpy()
            luma, warmth = off @ np.array(LUMA), off[:, 0] - off[:, 2]
            print(
                f"{path}: light {light[0]:.1f}, warmth {light[1]:+.1f}: luma {luma.mean():+.1f} ± {luma.std():.1f}, "
                f"red less blue {warmth.mean():+.1f} ± {warmth.std():.1f}"
            )


if __name__ == "__main__":
    main()
