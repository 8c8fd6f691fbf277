"""Faces with the features of a portrait: a network draws what fits the surroundings, a relief gives it its detail.

The network knows what light and skin belong to a neck and a room, but at 128 pixels and after little training its faces
are soft, and each keypoint's tremble moves them. A portrait of nobody, turned as the keypoints say, is as sharp and as
steady as a picture. So the network's face is kept where it meets the surroundings, and for tone and light everywhere;
within the oval of the face, features are the portrait's. The network is told of the portrait before, so that it paints
what goes around it. docs/adr/0017-portraits.md, 0021-surroundings.md.

As blind as the network: what a portrait does follows from keypoints, expression, identity and the network's answer.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.steady import is_continued, is_sound
from deepprivacy_rt.portraits.bank import PortraitBank
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.gestures import UPPER_SHARE, gap_of
from deepprivacy_rt.portraits.hint import hint
from deepprivacy_rt.portraits.pose import Pose, fit_pose
from deepprivacy_rt.portraits.relief import Drawn, Relief, draw
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.stages import Generator, TakesTurns
from deepprivacy_rt.types import FacePatch, FaceTrack, Image, Replacement

_OWN_SHAPE = 0.5, 0.8
"""How much of a face's shape is its picture's own; the rest is another's: a session's faces are no known list."""
_TONE_CELLS = 28
_TONE_BLUR = 0.12
"""Parts of the patch side over which tone and light are the network's."""
_LEAST_GAIN, _MOST_GAIN = 0.4, 2.2
_SIMILAR_TONE = 0.25
"""Difference of brightness, as a logarithm, up to which a portrait goes with the skin around."""
_LEAST_CHOICE, _CHOICE = 6, 0.3
"""Least number, and share, of those that go with the skin among which one is drawn: those that go with hair and neck,
too. The fewer, the better they go, and the more a face tells of the one that it replaces."""
_SMOOTHING_SECONDS = 0.05
"""Time constant for poses and tones of a face that is nearly at rest within its patch."""
_TREMBLE, _MOVE = 0.012, 0.05
"""Parts of the patch side: a pose that differs by no more is smoothed, one that differs by more is taken at once."""
_ZOOM, _LEAST_ENLARGED, _FINE = 2, 1.2, 256
"""How much finer a portrait is drawn, where a patch pixel is at least so many pixels of the frame, in patches below
that size."""
_REMEMBERED = 1024
"""Identities whose portrait is remembered."""
_INSIDE, _TEETH = np.array([[70, 28, 28], [205, 192, 178]], np.float32)
"""Colours of a mouth's inside and of teeth, in the light of portraits."""
_DARKER_DEEP = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    """What an identity looks like. :ivar head: (6, 3) keypoints."""

    texture: Texture
    relief: Relief
    head: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A patch with its portrait. :ivar given: as the pipeline gave it, without the hint."""

    given: FacePatch
    drawn: Drawn
    pose: Pose
    matrix: NDArray[np.float64]
    earlier: _Motion | None


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """How a track's portrait was drawn last.

    :ivar pose: as it was fitted. :ivar matrix: (2, 4) as it was drawn, calmed. :ivar tones: see ``tones``.
    """

    track: FaceTrack
    pose: Pose
    matrix: NDArray[np.float64]
    tones: Floats


class PortraitGenerator:
    """Gives another generator's faces the features of portraits (a :class:`deepprivacy_rt.stages.Generator`).

    For one stream, whose frames are given in order. Poses and tones are smoothed: keypoints tremble, and what is sharp
    shows it. Large movements are followed at once.

    Which portrait an identity gets is drawn from the session's salt, among those whose skin is about as light as what
    the network drew when the identity was first seen, and which go with its surroundings.

    :param frame_rate: frames per second, above 0.
    :param portrait: all faces get this one, by its number; None: drawn.
    :param first: draws a new identity's face once without a portrait, to choose one by; None: ``generator``.
    """

    def __init__(
        self,
        generator: Generator,
        bank: PortraitBank,
        salt: bytes,
        frame_rate: float,
        portrait: int | None = None,
        *,
        first: Generator | None = None,
    ) -> None:
        self._generator, self._bank, self._salt, self._portrait = generator, bank, salt, portrait
        self._first = first or generator
        self._faces: OrderedDict[int, _Face] = OrderedDict()
        self._wearing: dict[int, int] = {}
        self._share = 1.0 - math.exp(-1.0 / (_SMOOTHING_SECONDS * frame_rate))
        self._motions: dict[int, _Motion] = {}

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def take_turns(self, faces: int) -> None:
        """See :class:`deepprivacy_rt.stages.TakesTurns`."""
        if isinstance(self._generator, TakesTurns):
            self._generator.take_turns(faces)

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return the generator's replacements with a portrait each. What breaks the contract is passed on as it is."""
        before, self._motions = self._motions, {}
        self._meet(patches)
        shown, told = {}, []
        for patch in patches:
            if patch.track.identity in self._faces:
                one = self._drawn(patch, before)
                patch = replace(patch, hint=hint(one.drawn, len(patch.image)))
                shown[id(patch)] = one
            told.append(patch)
        return [self._portrayed(answer, shown) for answer in self._generator.generate(told)]

    def _meet(self, patches: Sequence[FacePatch]) -> None:
        """Give identities that are new a face, by what the network draws for them on its own."""
        new = {one.track.identity: one for one in patches if one.track.identity not in self._faces}
        if not new:
            return
        for answer in self._first.generate(list(new.values())):
            if isinstance(answer, Replacement) and is_sound(answer):
                self._faces[answer.patch.track.identity] = self._chosen(answer)
        # Never those of this frame: they are the newest.
        while len(self._faces) > max(_REMEMBERED, len(patches)):
            forgotten, _ = self._faces.popitem(last=False)
            self._wearing.pop(forgotten, None)

    def _drawn(self, patch: FacePatch, motions: dict[int, _Motion]) -> _Shown:
        track = patch.track
        self._faces.move_to_end(track.identity)
        face = self._faces[track.identity]
        head = face.head.copy()
        # An open mouth's middle lies lower than where shut lips meet.
        head[3, 1] += (0.5 - UPPER_SHARE) * gap_of(track.expression)
        size = len(patch.image)
        earlier = motions.get(track.track_id)
        if earlier is not None and not is_continued(earlier.track, track):
            earlier = None
        pose = fit_pose(patch.keypoints, head, None if earlier is None else earlier.pose)
        matrix = pose.matrix
        if earlier is not None:
            before = earlier.matrix
            matrix = before + self._new_share(before, matrix, head, size) * (matrix - before)
        drawn = draw(face.texture, face.relief, matrix, track.expression, self._bank.gestures, size, _zoom(patch))
        return _Shown(patch, drawn, pose, matrix, earlier)

    def _portrayed(self, answer: Replacement, shown: dict[int, _Shown]) -> Replacement:
        if not (isinstance(answer, Replacement) and id(answer.patch) in shown and is_sound(answer)):
            return answer
        one = shown[id(answer.patch)]
        tone = tones(answer.image, one.drawn)
        if one.earlier is not None:
            tone = np.asarray(one.earlier.tones + self._share * (tone - one.earlier.tones), np.float32)
        track = one.given.track
        self._motions[track.track_id] = _Motion(track, one.pose, one.matrix, tone)
        return Replacement(one.given, blended(answer.image, one.drawn, tone))

    def _new_share(
        self, earlier: NDArray[np.float64], pose: NDArray[np.float64], head: NDArray[np.float64], size: int
    ) -> float:
        """Return how much of a new pose counts: more, the farther it moves the face within its patch."""
        moved = head @ (pose - earlier)[:, :3].T + (pose - earlier)[:, 3]
        part = float(np.hypot(*moved.T).max()) / size
        return self._share + (1 - self._share) * min(max((part - _TREMBLE) / (_MOVE - _TREMBLE), 0.0), 1.0)

    def _chosen(self, answer: Replacement) -> _Face:
        chosen, other, own = self._choice(answer.patch.track.identity, answer)
        portrait, partner = self._bank.portraits[chosen], self._bank.portraits[other]
        relief = Relief.of(np.asarray(own * portrait.place + (1 - own) * partner.place, np.float32))
        head = own * portrait.head + (1 - own) * partner.head
        return _Face(Texture.of(portrait.texture, self._bank.cover), relief, head)

    def _choice(self, identity: int, answer: Replacement) -> tuple[int, int, float]:
        """Return texture, second shape, and how much of the shape is the texture's own."""
        number = len(self._bank.portraits)
        name = b"portrait" + identity.to_bytes(8, "big", signed=True)
        random = np.random.default_rng(list(hashlib.sha256(self._salt + name).digest()))
        order = [int(one) for one in random.permutation(number)]
        other, own = order[-1], float(random.uniform(*_OWN_SHAPE))
        if self._portrait is not None:
            return self._portrait % number, self._portrait % number, 1.0
        wanted = _brightness(_skin(answer))
        off = [abs(_brightness(self._bank.portraits[one].color) - wanted) for one in order]
        similar = [one for one, by in zip(order, off, strict=True) if by <= _SIMILAR_TONE]
        similar = self._fitting(similar, answer.patch)
        taken = set(self._wearing.values())
        free = [one for one in similar if one not in taken] or similar or [order[int(np.argmin(off))]]
        self._wearing[identity] = free[0]
        return free[0], other, own

    def _fitting(self, portraits: list[int], patch: FacePatch) -> list[int]:
        """Return those that go with the surroundings, in the same order."""
        count = max(_LEAST_CHOICE, round(_CHOICE * len(portraits)))
        if self._bank.matcher is None or count >= len(portraits):
            return portraits
        scores = self._bank.matcher.scores(patch)
        least = sorted((float(scores[one]) for one in portraits), reverse=True)[count - 1]
        return [one for one in portraits if scores[one] >= least]


def blended(face: Image, drawn: Drawn, tone: Floats) -> Image:
    """Return a network's face with a portrait's features, in the tone and light of the network's.

    :param face: (s, s, 3) uint8. :param tone: see ``tones``.
    :return: in the resolution that the portrait was drawn for.
    """
    side, window = drawn.side, drawn.window
    whole = face if len(face) == side else cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    gain = cv2.resize(tone, (side, side), interpolation=cv2.INTER_LINEAR)[window]
    base = whole[window]
    picture = cv2.multiply(_with_mouth(drawn), gain, dtype=cv2.CV_32F)
    difference = cv2.subtract(picture, base, dtype=cv2.CV_32F)
    share = cv2.merge((drawn.share, drawn.share, drawn.share))
    result = whole.copy()
    result[window] = cv2.add(base, cv2.multiply(difference, share), dtype=cv2.CV_8U)
    return np.asarray(result, np.uint8)


def _with_mouth(drawn: Drawn) -> Image | Floats:
    """Return the portrait with the inside of its open mouth."""
    if drawn.mouth is None or drawn.teeth is None:
        return drawn.image
    bite = drawn.teeth[..., None]
    inside = _INSIDE * (1 - bite) + _TEETH * bite * (1 - _DARKER_DEEP * (1 - bite))
    picture = drawn.image.astype(np.float32)
    picture += drawn.mouth[..., None] * (inside - picture)
    return picture


def tones(face: Image, drawn: Drawn) -> Floats:
    """Return what a portrait is multiplied by, so that the tones of its skin are the face's, (c, c, 3)."""
    cells = (_TONE_CELLS, _TONE_CELLS)
    coarse = cv2.resize(face, drawn.skin.shape, interpolation=cv2.INTER_AREA)
    weight, deviation = drawn.skin[..., None], _TONE_BLUR * _TONE_CELLS
    own, portrait = (
        cv2.GaussianBlur(cv2.resize(part * weight, cells, interpolation=cv2.INTER_AREA), (0, 0), deviation)
        for part in (coarse, drawn.coarse)
    )
    return np.asarray(np.clip((own + 0.1) / (portrait + 0.1), _LEAST_GAIN, _MOST_GAIN), np.float32)


def _zoom(patch: FacePatch) -> int:
    """Return how much finer than its patch a portrait is drawn: no patch of 128 shows what a picture has."""
    enlarged = 1.0 / math.hypot(patch.transform[0, 0], patch.transform[1, 0])
    return _ZOOM if enlarged > _LEAST_ENLARGED and len(patch.image) < _FINE else 1


def _skin(answer: Replacement) -> Floats:
    """Return the mean colour about the nose of a generated face, (3,)."""
    size = len(answer.image)
    middle = slice(int(size * 0.4), int(size * 0.65))
    return np.asarray(answer.image[middle, middle].reshape(-1, 3).mean(axis=0), np.float32)


def _brightness(color: Floats) -> float:
    return float(np.log(max(float(color @ np.array([0.3, 0.59, 0.11], np.float32)), 1.0)))
