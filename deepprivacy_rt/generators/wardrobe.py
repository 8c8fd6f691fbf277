"""Which portrait an identity wears.

Drawn from the session's salt, among those whose skin is about as light as what the network painted around a trial face
when the identity was first seen, or as that will be beside its neck, and which go with its surroundings.
docs/adr/0017-portraits.md, 0021-surroundings.md, 0024-trial-face.md, 0036-choice.md.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.complexion import beside_neck, surroundings
from deepprivacy_rt.portraits.bank import Portrait, PortraitBank
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.relief import Relief
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.types import FacePatch, Replacement

_OWN_SHAPE = 0.5, 0.8
"""How much of a face's shape is its picture's own; the rest is another's: a session's faces are no known list."""
_DARKER, _LIGHTER = 0.25, 0.42
"""By how much a portrait may be darker, and lighter, than the skin that it goes on, as logarithms. What shines on dark
skin becomes white on pale skin; that brows and lips are dark on pale skin is not seen on dark skin."""
_LEAST_CHOICE, _CHOICE = 6, 0.75
"""Least number, and share, of those that go with the skin among which one is drawn: those that go with hair and neck,
too. The fewer, the better they go, and the more a face tells of the one that it replaces."""
_REMEMBERED = 512
"""Identities whose portrait is remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """What an identity looks like. :ivar head: (6, 3) keypoints, canonical."""

    texture: Texture
    relief: Relief
    head: NDArray[np.float64]


class Wardrobe:
    """The faces of one stream's identities.

    :param portrait: all identities get this one, by its number; None: drawn.
    :param group: of which portraits one is drawn, as in ``Portrait.group``; None: of all.
    :param still: for a single picture, in which nothing can flicker: faces have more contrast.
    :param detail: how much more fine detail faces have than is usual, a factor.
    :ivar trial: the face that whoever is new tries on: of mean shape, and the same for all, so it tells nothing.
    """

    def __init__(
        self,
        bank: PortraitBank,
        salt: bytes,
        portrait: int | None = None,
        *,
        group: str | None = None,
        still: bool = False,
        detail: float = 1.0,
    ) -> None:
        self.bank, self._still, self._detail = bank, still, detail
        self._group = {one for one, drawn in enumerate(bank.portraits) if group in (None, drawn.group)}
        self._salt, self._portrait = salt, portrait
        self._mean_place = np.mean([one.place for one in bank.portraits], axis=0)
        self._mean_head = np.mean([one.head for one in bank.portraits], axis=0)
        self.trial = self._made(bank.portraits[0], np.asarray(self._mean_place, np.float32), self._mean_head)
        self._faces: OrderedDict[int, Face] = OrderedDict()
        self._wearing: dict[int, int] = {}

    def __contains__(self, identity: int) -> bool:
        return identity in self._faces

    def face(self, identity: int) -> Face:
        """Return the face of an identity that was met. Raises KeyError."""
        self._faces.move_to_end(identity)
        return self._faces[identity]

    def meet(self, answer: Replacement) -> None:
        """Give an identity its face, by what the network painted around the trial face."""
        identity = answer.patch.track.identity
        chosen, other, own = self._choice(identity, answer)
        portrait, partner = self.bank.portraits[chosen], self.bank.portraits[other]
        # Two mixed are nearer to the mean than either, and all such faces near each other: as far off as one is.
        spread = 1.0 / math.hypot(own, 1 - own)
        place, head = (
            mean + spread * (own * mine + (1 - own) * theirs - mean)
            for mean, mine, theirs in (
                (self._mean_place, portrait.place, partner.place),
                (self._mean_head, portrait.head, partner.head),
            )
        )
        self._faces[identity] = self._made(portrait, np.asarray(place, np.float32), head)

    def _made(self, portrait: Portrait, place: Floats, head: NDArray[np.float64]) -> Face:
        texture = Texture.of(portrait.texture, self.bank.cover, still=self._still, detail=self._detail)
        return Face(texture, Relief.of(place), head)

    def forget(self, shown: int) -> None:
        """Forget those who were not seen for longest, where there are too many; never the last ``shown``."""
        while len(self._faces) > max(_REMEMBERED, shown):
            forgotten, _ = self._faces.popitem(last=False)
            self._wearing.pop(forgotten, None)

    def _choice(self, identity: int, answer: Replacement) -> tuple[int, int, float]:
        """Return texture, second shape, and how much of the shape is the texture's own."""
        number = len(self.bank.portraits)
        name = b"portrait" + identity.to_bytes(8, "big", signed=True)
        random = np.random.default_rng(list(hashlib.sha256(self._salt + name).digest()))
        order = [int(one) for one in random.permutation(number) if one in self._group]
        other, own = order[-1], float(random.uniform(*_OWN_SHAPE))
        if self._portrait is not None:
            return self._portrait % number, self._portrait % number, 1.0
        skin = _lightness(answer)
        off = [self._off(one, skin) for one in order]
        similar = self._fitting([one for one, by in zip(order, off, strict=True) if by <= 0], answer.patch)
        taken = set(self._wearing.values())
        free = [one for one in similar if one not in taken] or similar or [order[int(np.argmin(off))]]
        self._wearing[identity] = free[0]
        return free[0], other, own

    def _off(self, portrait: int, skin: tuple[float, float]) -> float:
        """Return by how much a portrait is too light or too dark for skin between two lightnesses, 0 or more."""
        own = _brightness(self.bank.portraits[portrait].color)
        return max(min(skin) - _DARKER - own, own - max(skin) - _LIGHTER, 0.0)

    def _fitting(self, portraits: list[int], patch: FacePatch) -> list[int]:
        """Return those that go with the surroundings, in the same order."""
        count = max(_LEAST_CHOICE, round(_CHOICE * len(portraits)))
        if self.bank.matcher is None or count >= len(portraits):
            return portraits
        scores = self.bank.matcher.scores(patch)
        least = sorted((float(scores[one]) for one in portraits), reverse=True)[count - 1]
        return [one for one in portraits if scores[one] >= least]


def _lightness(answer: Replacement) -> tuple[float, float]:
    """Return how light the skin is that a network painted, and how light that will be beside its neck."""
    painted = _skin(answer)
    return _brightness(painted), _brightness(beside_neck(*surroundings(answer.patch), painted))


def _skin(answer: Replacement) -> Floats:
    """Return the mean colour about the nose of a generated face, (3,)."""
    size = len(answer.image)
    middle = slice(int(size * 0.4), int(size * 0.65))
    return np.asarray(answer.image[middle, middle].reshape(-1, 3).mean(axis=0), np.float32)


def _brightness(color: Floats) -> float:
    return float(np.log(max(float(color @ np.array([0.3, 0.59, 0.11], np.float32)), 1.0)))
