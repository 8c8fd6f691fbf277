"""Faces with the features of a portrait: a network draws what fits the surroundings, a relief gives it its detail.

The network knows what light and skin belong to a neck and a room, but at 128 pixels and after little training its faces
are soft, and each keypoint's tremble moves them. A portrait of nobody, turned as the keypoints say, is as sharp and as
steady as a picture. So the network's face is kept where it meets the surroundings, and for tone and light everywhere;
within the oval of the face, features are the portrait's. The network is told of the portrait before, so that it paints
what goes around it. docs/adr/0017-portraits.md, 0021-surroundings.md.

As blind as the network: what a portrait does follows from keypoints, expression, identity and the network's answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepprivacy_rt.generators.grain import grained
from deepprivacy_rt.generators.grain import made as made_grain
from deepprivacy_rt.generators.posing import Posed, new_part, posed
from deepprivacy_rt.generators.steady import is_sound
from deepprivacy_rt.generators.wardrobe import Face, Wardrobe
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.hint import hint
from deepprivacy_rt.portraits.relief import Drawn, draw
from deepprivacy_rt.stages import Generator, TakesTurns
from deepprivacy_rt.types import FacePatch, Image, Replacement

TONE_CELLS = 28
TONE_BLUR = 0.12
"""Parts of the patch side over which tone and light are the network's."""
LEAST_GAIN, MOST_GAIN = 0.4, 2.2
ZOOM, _LEAST_ENLARGED, FINE = 2, 1.2, 256
"""How much finer a portrait is drawn, where a patch pixel is at least so many pixels of the frame, in patches below
that size."""
INSIDE, TEETH = np.array([[70, 28, 28], [205, 192, 178]], np.float32)
"""Colours of a mouth's inside and of teeth, in the light of portraits."""
DARKER_DEEP = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A patch with its portrait. :ivar given: as the pipeline gave it, without the hint."""

    given: FacePatch
    drawn: Drawn
    posed: Posed


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """How a track's portrait was drawn last. :ivar tones: see ``tones``."""

    posed: Posed
    tones: Floats


class PortraitGenerator:
    """Gives another generator's faces the features of portraits (a :class:`deepprivacy_rt.stages.Generator`).

    For one stream, whose frames are given in order. Poses and tones are smoothed: keypoints tremble, and what is sharp
    shows it. Large movements are followed at once.

    :param wardrobe: the stream's. :param frame_rate: frames per second, above 0.
    :param first: draws a new identity's face once around the wardrobe's trial face, to choose one by; None:
        ``generator``.
    """

    def __init__(
        self, generator: Generator, wardrobe: Wardrobe, frame_rate: float, *, first: Generator | None = None
    ) -> None:
        self._generator = generator
        self._first = first or generator
        self._wardrobe = wardrobe
        self._part = new_part(frame_rate)
        self._grain = made_grain()
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
            if patch.track.identity in self._wardrobe:
                earlier = before.get(patch.track.track_id)
                face = self._wardrobe.face(patch.track.identity)
                one = self._drawn(patch, face, None if earlier is None else earlier.posed)
                patch = replace(patch, hint=hint(one.drawn, len(patch.image)))
                shown[id(patch)] = one
            told.append(patch)
        return [self._portrayed(answer, shown, before) for answer in self._generator.generate(told)]

    def _meet(self, patches: Sequence[FacePatch]) -> None:
        """Give identities that are new a face, by what the network draws for them around a face that all try on."""
        new = {one.track.identity: one for one in patches if one.track.identity not in self._wardrobe}
        if not new:
            return
        trial = self._wardrobe.trial
        told = [replace(one, hint=hint(self._drawn(one, trial, None).drawn, len(one.image))) for one in new.values()]
        for answer in self._first.generate(told):
            if isinstance(answer, Replacement) and is_sound(answer):
                self._wardrobe.meet(answer)
        self._wardrobe.forget(len(patches))  # never those of this frame: they are the newest

    def _drawn(self, patch: FacePatch, face: Face, earlier: Posed | None) -> _Shown:
        track, size = patch.track, len(patch.image)
        turned = posed(track, patch.keypoints, face.head, size, earlier, self._part)
        gestures = self._wardrobe.bank.gestures
        drawn = draw(face.texture, face.relief, turned.matrix, track.expression, gestures, size, _zoom(patch))
        return _Shown(patch, drawn, turned)

    def _portrayed(self, answer: Replacement, shown: dict[int, _Shown], before: dict[int, _Motion]) -> Replacement:
        if not (isinstance(answer, Replacement) and id(answer.patch) in shown and is_sound(answer)):
            return answer
        one = shown[id(answer.patch)]
        track_id = one.given.track.track_id
        tone = tones(answer.image, one.drawn)
        if one.posed.goes_on:
            earlier = before[track_id].tones
            tone = np.asarray(earlier + self._part * (tone - earlier), np.float32)
        self._motions[track_id] = _Motion(one.posed, tone)
        made = blended(answer.image, one.drawn, tone)
        assert answer.patch.hint is not None  # as it was told
        share = answer.patch.hint[1]
        return Replacement(one.given, grained(made, answer.image, share, one.posed.matrix, self._grain))


def blended(face: Image, drawn: Drawn, tone: Floats) -> Image:
    """Return a network's face with a portrait's features, in the tone and light of the network's.

    :param face: (s, s, 3) uint8. :param tone: see ``tones``.
    :return: in the resolution that the portrait was drawn for.
    """
    side, window = drawn.side, drawn.window
    whole = face if len(face) == side else cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    gain = cv2.resize(tone, (side, side), interpolation=cv2.INTER_LINEAR)[window]
    base = whole[window]
    picture = cv2.multiply(_with_mouth(drawn, tone), gain, dtype=cv2.CV_32F)
    difference = cv2.subtract(picture, base, dtype=cv2.CV_32F)
    share = cv2.merge((drawn.share, drawn.share, drawn.share))
    result = whole.copy()
    result[window] = cv2.add(base, cv2.multiply(difference, share), dtype=cv2.CV_8U)
    return np.asarray(result, np.uint8)


def _with_mouth(drawn: Drawn, tone: Floats) -> Image | Floats:
    """Return the portrait with the inside of its open mouth, which takes the light of the tone, and not its colour."""
    if drawn.mouth is None or drawn.teeth is None:
        return drawn.image
    mean = tone.mean(axis=(0, 1))
    white = mean.mean() / mean
    bite = drawn.teeth[..., None]
    inside = INSIDE * white * (1 - bite) + TEETH * white * bite * (1 - DARKER_DEEP * (1 - bite))
    picture = drawn.image.astype(np.float32)
    picture += drawn.mouth[..., None] * (inside - picture)
    return picture


def tones(face: Image, drawn: Drawn) -> Floats:
    """Return what a portrait is multiplied by, so that the tones of its skin are the face's, (c, c, 3)."""
    cells = (TONE_CELLS, TONE_CELLS)
    coarse = cv2.resize(face, drawn.skin.shape, interpolation=cv2.INTER_AREA)
    weight, deviation = drawn.skin[..., None], TONE_BLUR * TONE_CELLS
    own, portrait = (
        cv2.GaussianBlur(cv2.resize(part * weight, cells, interpolation=cv2.INTER_AREA), (0, 0), deviation)
        for part in (coarse, drawn.coarse)
    )
    return np.asarray(np.clip((own + 0.1) / (portrait + 0.1), LEAST_GAIN, MOST_GAIN), np.float32)


def _zoom(patch: FacePatch) -> int:
    """Return how much finer than its patch a portrait is drawn: no patch of 128 shows what a picture has."""
    enlarged = 1.0 / math.hypot(patch.transform[0, 0], patch.transform[1, 0])
    return ZOOM if enlarged > _LEAST_ENLARGED and len(patch.image) < FINE else 1
