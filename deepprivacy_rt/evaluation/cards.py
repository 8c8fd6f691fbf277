"""The sheet of a model card: 64 held-out contexts, not chosen, each beside what is made of it.

python -m deepprivacy_rt.evaluation.cards weights/face256.safetensors PACK docs/images/face256_64.jpg --pool POOL
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.evaluation.identities import composites
from deepprivacy_rt.networks.pool import read_pool
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.training.dataset import held_out, load
from deepprivacy_rt.training.sheets import plain_views, to_bytes

_COUNT, _ROW, _SIDE, _QUALITY = 64, 8, 160, 84


@torch.no_grad()
def sheet(weights: Path, pack: Path, pool: Path) -> NDArray[np.uint8]:
    """Return the picture, (rows, columns, 3) RGB. Raises WeightsError, TrainingError."""
    generator, region = load_generator(weights), GEOMETRY[Region.FACE]
    held = load(pack, torch.device("cpu"), held_out, region.side)
    latents = torch.from_numpy(read_pool(pool, generator.config.latent))
    pairs = []
    for number, index in enumerate(torch.linspace(0, len(held.units) - 1, _COUNT).long()):
        views = plain_views(held, region, generator.config.size, index[None])
        latent = latents[number % len(latents)][None]
        out = generator(views.image, views.mask, views.keypoints, latent, views.expression)
        two = to_bytes(views.image)[0], composites(out, views)[0]
        pairs.append(np.hstack([cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for one in two]))
    rows = [np.hstack(pairs[first : first + _ROW]) for first in range(0, _COUNT, _ROW)]
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.evaluation.cards", description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("picture", type=Path, help="a PNG or JPEG")
    parser.add_argument("--pool", type=Path, required=True, metavar="FILE", help="NAME-latents.safetensors")
    args = parser.parse_args()
    picture = cv2.cvtColor(sheet(args.weights, args.pack, args.pool), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(args.picture), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


if __name__ == "__main__":
    main()
