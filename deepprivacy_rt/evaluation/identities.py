"""Choosing the bank of identities of a trained generator.

    python -m deepprivacy_rt.evaluation.identities weights/face128.safetensors PACK weights/ \\
        --recogniser mobileface_v3_112.onnx --nearest docs/images/identities_nearest.png

The latents of the generator's pool (:mod:`deepprivacy_rt.evaluation.pool`) are shown on held-out (synthetic) people.
Those whose faces the detector finds least surely are dropped; of the rest those are taken, one after the other, that
the recogniser finds farthest from all taken before (farthest point sampling). The nearest training pictures are shown
beside them: an identity that looks like one of these has been copied, not invented.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.pool import read_pool
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.sheets import plain_views, to_bytes
from deepprivacy_rt.training.views import Views
from deepprivacy_rt.types import Frame, Image
from deepprivacy_rt.weights import Weights

NAMES = (
    *("heron", "finch", "wren", "robin", "lark", "swift", "plover", "dunnock"),
    *("linnet", "siskin", "avocet", "curlew", "osprey", "merlin", "kestrel", "hobby"),
    *("egret", "godwit", "dipper", "tern", "petrel", "fulmar", "gannet", "puffin"),
)
_CONTEXTS = 8
_KEPT = 0.5
"""Share of the candidates that the detector finds surest."""


@dataclass(frozen=True)
class Shown:
    """One candidate on all contexts. :ivar score: the detector's, mean. :ivar embedding: (d,) float32, unit length."""

    score: float
    embedding: NDArray[np.float32]


def _images(batch: Tensor) -> list[Image]:
    return [np.ascontiguousarray(one) for one in to_bytes(batch)]


def five_points(keypoints: Tensor, size: int) -> NDArray[np.float32]:
    """Return eyes, nose and the corners of the mouth as the recogniser wants them; corners are guessed."""
    points = ((keypoints.numpy() + 1) * (size / 2) - 0.5).astype(np.float32)
    half = 0.4 * (points[1] - points[0])
    return np.stack([points[0], points[1], points[2], points[3] - half, points[3] + half])


def composites(out: Tensor, views: Views) -> list[Image]:
    """Return generated patches, (n, 3, s, s) in -1..1, in their surroundings."""
    return _images(views.mask * out + (1 - views.mask) * views.target)


@torch.no_grad()
def _worn(generator: Generator, views: Views, latent: Tensor) -> list[Image]:
    """Return one identity on all contexts."""
    told = latent.expand(len(views.image), -1), views.expression
    return composites(generator(views.image, views.mask, views.keypoints, *told), views)


def _show(generator: Generator, views: Views, latent: Tensor, detector: Detector, recogniser: Recogniser) -> Shown:
    scores, vectors = [], []
    for row, picture in enumerate(_worn(generator, views, latent)):
        found = detector.detect(Frame(picture, 0, Fraction(0)))
        scores.append(max((one.score for one in found), default=0.0))
        vectors.append(recogniser.embed(picture, five_points(views.keypoints[row], len(picture))))
    mean = np.mean(vectors, axis=0)
    return Shown(float(np.mean(scores)), np.asarray(mean / np.linalg.norm(mean), np.float32))


def farthest_points(vectors: NDArray[np.float32], count: int) -> list[int]:
    """Return so many rows of unit vectors, each the least similar to all before it; the first is nearest the mean."""
    chosen = [int(np.argmax(vectors @ vectors.mean(axis=0)))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(count, len(vectors)):
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def choose(
    generator: Generator, latents: Tensor, held: FaceData, detector: Detector, recogniser: Recogniser, count: int
) -> tuple[list[Tensor], Views]:
    """Return the latents of the bank, (latent,) each, and the contexts that they were judged in.

    :param latents: the pool, (n, latent).
    """
    size = generator.config.size
    index = torch.linspace(0, len(held.units) - 1, _CONTEXTS).long()
    views = plain_views(held, GEOMETRY[Region.FACE], size, index)
    shown = [_show(generator, views, latent, detector, recogniser) for latent in latents]
    order = np.argsort([-one.score for one in shown])[: round(_KEPT * len(shown))]
    chosen = farthest_points(np.stack([shown[i].embedding for i in order]), count)
    return [latents[order[i]] for i in chosen], views


def write_bank(path: Path, weights: Path, latents: list[Tensor]) -> None:
    """Write names and latents, and which weights they belong to."""
    lines = ["# Identities for --identity. Made by python -m deepprivacy_rt.evaluation.identities."]
    lines.append(f'weights = "{hashlib.sha256(weights.read_bytes()).hexdigest()}"')
    for name, latent in zip(NAMES, latents, strict=False):
        numbers = ", ".join(f"{value:.4f}" for value in latent.tolist())
        lines += ["", "[[identity]]", f'name = "{name}"', f"latent = [{numbers}]"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_nearest(
    path: Path, generator: Generator, latents: list[Tensor], views: Views, train: FaceData, recogniser: Recogniser
) -> list[float]:
    """Write a PNG, one column per identity: three contexts, then the nearest training picture to the first of them.

    :return: the similarity to it, by identity.
    """
    everyone = [
        plain_views(train, GEOMETRY[Region.FACE], generator.config.size, part)
        for part in torch.split(torch.arange(len(train.units)), 64)
    ]
    pictures = [image for views_ in everyone for image in _images(views_.target)]
    points = torch.cat([views_.keypoints for views_ in everyone])
    known = np.stack([recogniser.embed(p, five_points(k, len(p))) for p, k in zip(pictures, points, strict=True)])
    columns, similarities = [], []
    for latent in latents:
        ours = _worn(generator, views, latent)
        vectors = [recogniser.embed(p, five_points(views.keypoints[i], len(p))) for i, p in enumerate(ours)]
        similarity = known @ np.mean(vectors, axis=0)
        best = int(np.argmax(similarity))
        columns.append(np.vstack([*ours[:3], pictures[best]]))
        similarities.append(float(max(vector @ known[best] for vector in vectors)))
    cv2.imwrite(str(path), cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR))
    return similarities


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.evaluation.identities", description=__doc__)
    parser.add_argument("weights", type=Path, help="a generator, such as weights/face128.safetensors")
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument(
        "folder", type=Path, help="where NAME-latents.safetensors is, and where NAME-identities.toml goes"
    )
    parser.add_argument("--recogniser", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--nearest", type=Path, metavar="PNG", help="show the nearest training picture of each")
    args = parser.parse_args()
    torch.set_num_threads(1)  # more of them spin where anything else runs
    generator, recogniser = load_generator(args.weights), Recogniser(args.recogniser)
    side, cpu = GEOMETRY[Region.FACE].side, torch.device("cpu")
    models = Weights()
    networks = models.path("blazeface-full-range"), models.path("blazeface-short-range")
    detector = BlazeFaceDetector(*networks, effort="fast")
    pool = torch.from_numpy(
        read_pool(args.folder / f"{args.weights.stem}-latents.safetensors", generator.config.latent)
    )
    held = load(args.pack, cpu, held_out, side)
    latents, views = choose(generator, pool, held, detector, recogniser, args.count)
    target = args.folder / f"{args.weights.stem}-identities.toml"
    write_bank(target, args.weights, latents)
    print(f"{target}: {len(latents)} identities, sha256 = {hashlib.sha256(target.read_bytes()).hexdigest()}")
    if args.nearest is not None:
        train = load(args.pack, cpu, lambda name: not held_out(name), side)
        for name, value in zip(
            NAMES, write_nearest(args.nearest, generator, latents, views, train, recogniser), strict=False
        ):
            print(f"{name}: similarity to the nearest training picture {value:.2f}")


if __name__ == "__main__":
    main()
