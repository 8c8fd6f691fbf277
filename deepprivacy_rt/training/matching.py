"""Teaching which portraits go with which surroundings (:mod:`deepprivacy_rt.portraits.matching`).

    python -m deepprivacy_rt.training.matching PACK ALL.safetensors weights/portraits.safetensors

Learned from training faces that have a portrait of their own in the second file: given its surroundings, the looks of
the face, which are its picture's principal components (Turk and Pentland, 1991), less its light. Looks that cannot be
told from surroundings count little: each is weighted by how much of it is told on pictures that are held out.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.portraits.bank import PortraitBank, add_matcher, read_portraits
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.matching import SIDE, STRIDES, Matcher
from deepprivacy_rt.training.dataset import held_out, load
from deepprivacy_rt.training.views import ViewSampler

_LOOKS, _LOOK_SIDE = 30, 32
_CHANNELS = (4, 32, 64, 96)
_HIDDEN = 64
_VIEWS, _ROUNDS, _BATCH = 10, 8, 64
_LEAST = 2
_CUT = 4
"""Views are cut so many times finer than they are seen."""


@dataclass(frozen=True, eq=False)
class Looks:
    """Coordinates among the looks of faces. :ivar mean: (d,). :ivar axes: (q, d). :ivar size: (q,) deviations."""

    mean: Floats
    axes: Floats
    size: Floats

    @classmethod
    def of(cls, faces: Floats) -> Looks:
        """Return those of (n, d) faces."""
        mean = faces.mean(axis=0)
        _, _, axes = np.linalg.svd(faces - mean, full_matrices=False)
        axes = axes[:_LOOKS]
        return cls(mean, axes, ((faces - mean) @ axes.T).std(axis=0))

    def __call__(self, faces: Floats) -> Floats:
        return np.asarray((faces - self.mean) @ self.axes.T / self.size, np.float32)


def faces_of(bank: PortraitBank) -> Floats:
    """Return all portraits as vectors: in mean brightness, and the mean of both sides, for light comes from one."""
    cover = cv2.resize(bank.cover[..., 0], (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA)[..., None]
    rows = []
    for portrait in bank.portraits:
        small = cv2.resize(portrait.texture, (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        brightness = float((small.mean(axis=2, keepdims=True) * cover).sum() / cover.sum())
        face = (small / max(brightness, 1.0) - 1) * cover
        rows.append(((face + face[:, ::-1]) / 2).ravel())
    return np.asarray(rows, np.float32)


def network(looks: int) -> nn.Sequential:
    """Return a new network, whose layers ``Matcher`` repeats. :param looks: coordinates that it tells."""
    parts: list[nn.Module] = []
    for (inputs, outputs), stride in zip(pairwise(_CHANNELS), STRIDES, strict=True):
        parts += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]
    side = SIDE // int(np.prod(STRIDES))
    parts += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(_CHANNELS[-1] * side**2, _HIDDEN), nn.ReLU()]
    return nn.Sequential(*parts, nn.Dropout(0.3), nn.Linear(_HIDDEN, looks))


def teach(pack: Path, everybody: PortraitBank, bank: PortraitBank, report: Callable[[str], None] = print) -> Matcher:
    """Return what tells which of a bank's portraits go with surroundings. Raises TrainingError.

    :param everybody: portraits of as many of the pack's faces as possible.
    """
    torch.manual_seed(0)
    numbers = {source["file"]: number for number, source in enumerate(everybody.sources)}
    names = [str(name) for name in np.load(pack)["names"]]
    index = torch.tensor([i for i, name in enumerate(names) if name in numbers])
    test = np.array([held_out(names[i]) for i in index], np.bool_)
    if test.sum() < _LEAST or (~test).sum() < _LEAST:
        raise TrainingError(f"{pack}: too few faces have a portrait of their own, or are held out")
    faces = faces_of(everybody)[[numbers[names[i]] for i in index]]
    looks = Looks.of(faces[~test])
    goal = torch.from_numpy(looks(faces))
    views = _views(pack, index)
    made = _fitted(views[:, ~test], goal[~test])
    with torch.no_grad():
        guess = made(views[:, test].flatten(0, 1)).reshape(_VIEWS, -1, goal.shape[1])
    told = (1 - (guess - goal[test]).square().mean(dim=(0, 1)) / goal[test].var(dim=0)).clamp(0.0, 0.9)
    weight = (told / (1 - told)).numpy()
    rank = _rank(guess[0].numpy(), goal[test].numpy() * weight)
    report(
        f"{len(index)} faces; of {int(test.sum())} held out, {100 * rank:.0f} % of the others go better (chance: 50 %)"
    )
    parts = [parameter.detach().numpy() for parameter in made.parameters()]
    layers = list(zip(parts[::2], parts[1::2], strict=True))
    return Matcher(tuple(layers[:3]), tuple(layers[3:]), looks(faces_of(bank)) * weight)


def _views(pack: Path, index: Tensor) -> Tensor:
    """Return what the network sees of pictures, disturbed as in training, (views, n, 4, SIDE, SIDE)."""
    geometry = GEOMETRY[Region.FACE]
    data = load(pack, torch.device("cpu"), lambda name: True, geometry.side)
    sampler = ViewSampler(data, geometry, _CUT * SIDE, torch.Generator().manual_seed(0))
    rows = []
    for _ in range(_VIEWS):
        for part in torch.split(index, _BATCH):
            views = sampler.views(part, sampler.geometry(part), sampler.look(len(part)))
            rows.append(F.avg_pool2d(torch.cat([views.image, views.mask], dim=1), _CUT))
    return torch.cat(rows).reshape(_VIEWS, len(index), 4, SIDE, SIDE)


def _fitted(views: Tensor, goal: Tensor) -> nn.Sequential:
    made = network(goal.shape[1]).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, weight_decay=0.05)
    flat, goals = views.flatten(0, 1), goal.repeat(len(views), 1)
    for _ in range(_ROUNDS):
        for part in torch.split(torch.randperm(len(flat)), _BATCH):
            # Looks have no sides.
            picture = flat[part].flip(-1) if torch.rand(()) < 0.5 else flat[part]
            error = (made(picture) - goals[part]).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
    return made.eval()


def _rank(guess: NDArray[np.float32], looks: NDArray[np.float32]) -> float:
    """Return which share of the others go better with surroundings than the face that belongs there, in the mean."""
    scores = guess @ looks.T
    return float((scores > np.diag(scores)[:, None]).mean())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.matching", description=__doc__)
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("everybody", type=Path, help="portraits of all of them: training.portraits FACES all FILE")
    parser.add_argument("portraits", type=Path, help="file of portraits to complete")
    args = parser.parse_args()
    bank = read_portraits(args.portraits)
    add_matcher(args.portraits, teach(args.pack, read_portraits(args.everybody), bank))
    content = args.portraits.read_bytes()
    print(f"{len(content)} bytes, sha256 = {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
