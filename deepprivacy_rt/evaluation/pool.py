"""Choosing the latents that random identities are drawn from.

    python -m deepprivacy_rt.evaluation.pool weights/face128.safetensors PACK weights/ \\
        --finder yunet_n_dynamic.onnx --recogniser mobileface_v3_112.onnx --sheet pool.png

Latents far from the prior's mean give faces that differ, good ones and bad ones. Candidates are drawn far out, and
shown on held-out (synthetic) people. Out go those that YuNet finds unsurely on any of them, those with dark glasses or
smears for eyes, blurred ones, those that do not go with the surroundings, and those much lighter or darker than others
there. Of the rest, those most like all others go, by the recogniser, until a pool is left. The networks that judge are
the evaluation's; none of them is shipped, and none was shown a person.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.evaluation.identities import composites, five_points
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.pool import write_pool
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.settle import acting
from deepprivacy_rt.training.sheets import plain_views
from deepprivacy_rt.training.views import Views
from deepprivacy_rt.types import Image

_CANDIDATES, _CONTEXTS, _COUNT = 420, 8, 64
_SPREADS = (1.2, 1.6, 2.0)
"""Deviations of the prior."""
_LEAST_SCORE = 0.88
"""YuNet's, on the context where it is least sure."""
_LEAST_LIGHT = 0.7
"""Of the eyes over the whole cover's: below are dark glasses."""
_DULL, _STRANGE, _PALE = 0.5, 0.15, 0.25
"""Shares of the candidates that go because their faces have the least detail, because they fit the surroundings worst,
and because they are lighter or darker than most faces there: skin has to follow what is seen of it."""
_PADDING = 0.25
"""Added around a patch before YuNet looks, as a part of its side."""
_RING = 9
"""Pixels around the cover in which a face has to agree with what is there."""


@dataclass(frozen=True)
class Judged:
    """One candidate. :ivar score: YuNet's least. :ivar light: of the eyes over the face's. :ivar detail: of the face,
    logarithm. :ivar misfit: mean error beside the cover, 0..2. :ivar tone: (contexts,) mean brightness, -1..1.
    :ivar vectors: (contexts, d), of length 1.
    """

    latent: NDArray[np.float32]
    score: float
    light: float
    detail: float
    misfit: float
    tone: NDArray[np.float32]
    vectors: NDArray[np.float32]


class Judge:
    """Shows latents on people who do not exist. :param held: faces that were not trained on."""

    def __init__(self, generator: Generator, held: FaceData, finder: FaceFinder, recogniser: Recogniser) -> None:
        self._generator, self._finder, self._recogniser = generator, finder, recogniser
        self.views = _contexts(held, generator.config.size)
        views, size = self.views, generator.config.size
        mouth, self._eyes = acting(views.keypoints, size, GEOMETRY[Region.FACE])
        self._inner = torch.maximum(mouth, self._eyes)
        # Between eyes and mouth: hair and background have tones of their own.
        self._face = (F.max_pool2d(mouth, 2 * _RING + 1, stride=1, padding=_RING) - mouth).clamp(min=0)
        around = F.max_pool2d(views.cover, 2 * _RING + 1, stride=1, padding=_RING)
        self._ring = around * (1 - views.mask)
        self._points = [five_points(one, size) for one in views.keypoints]

    @torch.no_grad()
    def judge(self, latent: Tensor) -> Judged:
        """Return what is found of one latent, (latent,)."""
        views, count = self.views, len(self.views.image)
        rest = self._generator.rest.expand(count, -1)
        out = self._generator(views.image, views.mask, views.keypoints, latent.expand(count, -1), rest)
        pictures = composites(out, views)
        luma = out.mean(dim=1, keepdim=True)
        kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
        edges = F.conv2d(luma, kernel, padding=1).square()
        return Judged(
            latent=latent.numpy().astype(np.float32),
            score=min(self._score(picture) for picture in pictures),
            light=float((_mean(luma + 1, self._eyes) / _mean(luma + 1, views.cover).clamp(min=1e-3)).mean()),
            detail=float(_mean(edges, self._inner).clamp(min=1e-9).log().mean()),
            misfit=float(_mean((out - views.target).abs().mean(dim=1, keepdim=True), self._ring).mean()),
            tone=_mean(luma, self._face).numpy(),
            vectors=np.stack([self._recogniser.embed(p, q) for p, q in zip(pictures, self._points, strict=True)]),
        )

    def _score(self, picture: Image) -> float:
        border = round(_PADDING * len(picture))
        padded = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
        return max((face.score for face in self._finder.find(np.asarray(padded, np.uint8))), default=0.0)


def _contexts(held: FaceData, size: int) -> Views:
    """Return people whose whole patch lies in their picture."""
    whole = plain_views(held, GEOMETRY[Region.FACE], size, torch.arange(len(held.units))).valid.mean(dim=(1, 2, 3))
    index = torch.nonzero(whole >= min(0.97, float(whole.sort().values[-_CONTEXTS:].min())))[:, 0]
    index = index[torch.linspace(0, len(index) - 1, _CONTEXTS).long()]
    return plain_views(held, GEOMETRY[Region.FACE], size, index)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp(min=1e-6)


def good(candidates: list[Judged]) -> list[Judged]:
    """Return those that are faces, with eyes, in their surroundings."""
    least = np.quantile([one.detail for one in candidates], _DULL)
    most = np.quantile([one.misfit for one in candidates], 1 - _STRANGE)
    tones = np.stack([one.tone for one in candidates])
    pale = np.abs(tones - np.median(tones, axis=0)).mean(axis=1)
    farthest = np.quantile(pale, 1 - _PALE)
    return [
        one
        for one, away in zip(candidates, pale, strict=True)
        if away <= farthest
        and one.score >= _LEAST_SCORE
        and one.light >= _LEAST_LIGHT
        and one.detail >= least
        and one.misfit <= most
    ]


def thinned(vectors: NDArray[np.float32], count: int) -> list[int]:
    """Return the rows that are left when the one most like all others left goes, again and again.

    :param vectors: (n, contexts, d), of length 1.
    """
    similar = np.einsum("ick,jck->ij", vectors, vectors) / vectors.shape[1]
    left = list(range(len(vectors)))
    total = similar.sum(axis=1)
    while len(left) > count:
        worst = max(left, key=lambda row: total[row])
        left.remove(worst)
        total -= similar[:, worst]
    return left


def mean_similarity_of(vectors: NDArray[np.float32]) -> float:
    """Return the mean similarity of two rows in the same context. :param vectors: (n, contexts, d)."""
    upper = np.triu_indices(len(vectors), 1)
    return float(np.mean([(rows @ rows.T)[upper] for rows in vectors.transpose(1, 0, 2)]))


def draw(generator: Generator, count: int) -> Tensor:
    """Return candidates, (count, latent), the same every time."""
    random = torch.Generator().manual_seed(13)
    normal = torch.randn(count, generator.config.latent, generator=random)
    spread = torch.tensor(_SPREADS)[torch.arange(count) % len(_SPREADS)][:, None]
    return generator.prior_mean + spread * normal @ generator.prior_factor.T


def write_sheet(path: Path, judge: Judge, generator: Generator, chosen: list[Judged]) -> None:
    """Write a PNG of the first 64 on two people, eight identities a row."""
    views, rows = judge.views, []
    for first in range(0, min(64, len(chosen)), 8):
        columns = []
        for one in chosen[first : first + 8]:
            latent = torch.from_numpy(one.latent).expand(len(views.image), -1)
            with torch.no_grad():
                rest = generator.rest.expand(len(views.image), -1)
                out = generator(views.image, views.mask, views.keypoints, latent, rest)
            columns.append(np.hstack(composites(out, views)[:2]))
        rows.append(np.hstack(columns))
    cv2.imwrite(
        str(path), cv2.cvtColor(np.vstack([row for row in rows if row.shape == rows[0].shape]), cv2.COLOR_RGB2BGR)
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.evaluation.pool", description=__doc__)
    parser.add_argument("weights", type=Path, help="a generator, such as weights/face128.safetensors")
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("folder", type=Path, help="where NAME-latents.safetensors goes")
    parser.add_argument("--finder", type=Path, required=True, metavar="FILE.onnx", help="YuNet")
    parser.add_argument("--recogniser", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--candidates", type=int, default=_CANDIDATES)
    parser.add_argument("--count", type=int, default=_COUNT)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="show the first 64")
    args = parser.parse_args()
    torch.set_num_threads(1)  # more of them spin where anything else runs
    generator = load_generator(args.weights)
    held = load(args.pack, torch.device("cpu"), held_out, GEOMETRY[Region.FACE].side)
    judge = Judge(generator, held, FaceFinder(args.finder, score=0.1), Recogniser(args.recogniser))
    candidates = [judge.judge(latent) for latent in draw(generator, args.candidates)]
    kept = good(candidates)
    chosen = [kept[row] for row in thinned(np.stack([one.vectors for one in kept]), args.count)]
    target = args.folder / f"{args.weights.stem}-latents.safetensors"
    write_pool(target, np.stack([one.latent for one in chosen]))
    for name, group in (("candidates", candidates), ("good", kept), ("pool", chosen)):
        print(f"{name}: {len(group)}, two of them {mean_similarity_of(np.stack([one.vectors for one in group])):.3f}")
    print(f"{target}: {target.stat().st_size} bytes, sha256 = {hashlib.sha256(target.read_bytes()).hexdigest()}")
    if args.sheet is not None:
        write_sheet(args.sheet, judge, generator, chosen)


if __name__ == "__main__":
    main()
