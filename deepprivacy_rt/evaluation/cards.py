"""The sheets of the model cards: 64 held-out contexts, not chosen, each beside what is made of it.

What the program makes of them, and what a network alone does:

    python -m deepprivacy_rt.evaluation.cards PACK docs/images/portraits_64.jpg
    python -m deepprivacy_rt.evaluation.cards PACK docs/images/face256_64.jpg \\
        --weights weights/face256.safetensors --pool weights/face128-latents.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.evaluation.copies import GENERATED, CopyMaker
from deepprivacy_rt.evaluation.identities import composites
from deepprivacy_rt.networks.pool import read_pool
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.training.dataset import decode, held_out, load
from deepprivacy_rt.training.sheets import plain_views, to_bytes
from deepprivacy_rt.types import Image
from deepprivacy_rt.weights import Weights

COUNT = 64
_ROW, _SIDE, _QUALITY, _SEED = 8, 160, 84, 8


@torch.no_grad()
def of_network(weights: Path, pack: Path, pool: Path, count: int = COUNT) -> Iterator[tuple[Image, Image]]:
    """Yield contexts and faces, (s, s, 3) RGB, each with a latent of its own. Raises WeightsError, TrainingError."""
    generator, region = load_generator(weights), GEOMETRY[Region.FACE]
    held = load(pack, torch.device("cpu"), held_out, region.side)
    latents = torch.from_numpy(read_pool(pool, generator.config.latent))
    for number, index in enumerate(torch.linspace(0, len(held.units) - 1, count).long()):
        views = plain_views(held, region, generator.config.size, index[None])
        latent = latents[number % len(latents)][None]
        out = generator(views.image, views.mask, views.keypoints, latent, views.expression)
        yield to_bytes(views.image)[0], composites(out, views)[0]


def of_program(pack: Path, count: int = COUNT) -> Iterator[tuple[Image, Image]]:
    """Yield pictures with filled faces, and anonymized by default, (h, w, 3) RGB, each with an identity of its own.

    Raises DeviceError, WeightsError, EnvironmentProblem, OSError, ValueError.
    """
    with np.load(pack) as file:
        jpegs, offsets = file["jpegs"], file["offsets"]
        held = [number for number, name in enumerate(file["names"]) if held_out(str(name))]
    maker = CopyMaker(FaceConfig(seed=_SEED), Weights())
    for identity, place in enumerate(np.linspace(0, len(held) - 1, count).astype(int)):
        picture = decode(jpegs[offsets[held[place]] : offsets[held[place] + 1]].tobytes())
        (erased,), (made,) = (maker.variants(name, picture, [identity]) for name in ("solid", GENERATED))
        yield erased, made


def sheet(pairs: Iterator[tuple[Image, Image]]) -> Image:
    """Return all pairs in rows, (rows, columns, 3) RGB."""
    side = (_SIDE, _SIDE)
    tiles = [np.hstack([cv2.resize(one, side, interpolation=cv2.INTER_AREA) for one in pair]) for pair in pairs]
    return np.asarray(np.vstack([np.hstack(tiles[at : at + _ROW]) for at in range(0, len(tiles), _ROW)]), np.uint8)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.evaluation.cards", description=__doc__)
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("picture", type=Path, help="a PNG or JPEG")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a network, which is shown alone")
    parser.add_argument("--pool", type=Path, metavar="FILE", help="NAME-latents.safetensors, with --weights")
    args = parser.parse_args()
    if (args.weights is None) != (args.pool is None):
        parser.error("--weights and --pool go together")
    pairs = of_program(args.pack) if args.weights is None else of_network(args.weights, args.pack, args.pool)
    made = cv2.cvtColor(sheet(pairs), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(args.picture), made, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        parser.error(f"{args.picture} cannot be written")


if __name__ == "__main__":
    main()
