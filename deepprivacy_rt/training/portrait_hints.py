"""Portraits on training views: what a generator will be told of them at run time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.portraits.bank import Portrait, PortraitBank
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.hint import hint
from deepprivacy_rt.portraits.pose import fit_pose
from deepprivacy_rt.portraits.relief import Relief, draw
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.training.views import Views
from deepprivacy_rt.types import REST, Expression

_OWN = 0.6
"""How often a picture that has a portrait of its own is shown with it."""
_OWN_SHAPE = 0.5, 1.0
_MIRRORED = [1, 0, 2, 3, 5, 4]
_REMEMBERED = 600


@dataclass(frozen=True, eq=False)
class _Shown:
    texture: Texture
    place: Floats
    head: NDArray[np.float64]


class HintPainter:
    """Draws portraits on views.

    :param bank: portraits, of the same pictures where possible. :param names: the pictures' files, in their order.
    :param size: of the views, in pixels.
    """

    def __init__(self, bank: PortraitBank, names: Sequence[str], size: int) -> None:
        self._bank, self._size = bank, size
        numbers = {source["file"]: number for number, source in enumerate(bank.sources)}
        self._own = [numbers.get(name) for name in names]
        self._random = np.random.default_rng(0)
        self._shown: OrderedDict[tuple[int, bool], _Shown] = OrderedDict()

    def hints(self, index: Tensor, views: Views, mirror: Tensor) -> Tensor:
        """Return the hints of portraits on views, (n, 2, s, s)."""
        drawn = [
            self._drawn(int(number), bool(mirrored), keypoints, expression)
            for number, mirrored, keypoints, expression in zip(
                index, mirror, views.keypoints.numpy(), views.expression.tolist(), strict=True
            )
        ]
        return torch.from_numpy(np.stack(drawn))

    def _drawn(self, number: int, mirrored: bool, keypoints: NDArray[np.float32], expression: list[float]) -> Floats:
        own = self._own[number] if number < len(self._own) else None
        doing: Expression = REST
        if own is None or self._random.random() > _OWN:
            # Of another, who does what the face does; a picture's own portrait does so already.
            own, mirrored = self._one(), self._random.random() < 0.5
            doing = Expression(*expression)
        face, partner = self._get(own, mirrored), self._get(self._one(), mirrored)
        share = float(self._random.uniform(*_OWN_SHAPE))
        relief = Relief.of(np.asarray(share * face.place + (1 - share) * partner.place, np.float32))
        head = share * face.head + (1 - share) * partner.head
        places = (keypoints + 1) * np.float32(self._size / 2) - np.float32(0.5)
        pose = fit_pose(places, head)
        drawn = draw(face.texture, relief, pose.matrix, doing, self._bank.gestures, self._size)
        return hint(drawn, self._size)

    def _one(self) -> int:
        return int(self._random.integers(len(self._bank.portraits)))

    def _get(self, number: int, mirrored: bool) -> _Shown:
        key = number, mirrored
        if key not in self._shown:
            if len(self._shown) >= _REMEMBERED:
                self._shown.popitem(last=False)
            self._shown[key] = self._made(self._bank.portraits[number], mirrored)
        return self._shown[key]

    def _made(self, portrait: Portrait, mirrored: bool) -> _Shown:
        texture = Texture.of(portrait.texture, self._bank.cover)
        if not mirrored:
            return _Shown(texture, portrait.place, portrait.head)
        flipped = Texture(
            np.ascontiguousarray(texture.image[:, ::-1]),
            np.ascontiguousarray(texture.soft[:, ::-1]),
            np.ascontiguousarray(texture.cover[:, ::-1]),
        )
        over = np.array([-1.0, 1.0, 1.0])
        place = np.ascontiguousarray(portrait.place[:, ::-1] * over.astype(np.float32))
        return _Shown(flipped, place, portrait.head[_MIRRORED] * over)
