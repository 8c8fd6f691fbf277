"""Calm faces from frame to frame: what a generator makes is mixed with what it made for the same face before.

All happens on aligned patches, so a face that moves through the picture stands still here. What moves within the
patch (a head that turns) is followed by warping the earlier face as the keypoints went. Wherever new and earlier
picture still differ by more than a network's restlessness, the new one counts alone: nothing trails behind.

Faces that are at rest are drawn in turns, and what was drawn last is shown again in between: with portraits always,
else where several are in the picture or a live stream is short of time (docs/adr/0013-faces-at-rest-take-turns.md).

Generated pixels are remembered, and the erased patch that they were made for: surroundings, nothing of a covered pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.rest import between, is_continued, is_like, similarity
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.types import Affine, FacePatch, Image, Replacement

Floats = NDArray[np.float32]
_Picture = TypeVar("_Picture", Floats, Image)

CALMING_SECONDS = 0.1
"""Time constant of the mixing. Longer blurs, and opens and shuts mouths late."""
CALM_SECONDS = 0.5
"""The same at rest, where mouth and eyes are not the network's."""
SAME_LEVELS, OTHER_LEVELS = 14.0, 34.0
"""Mean differences, in levels of 255 over some pixels, up to which a change is restlessness, and from which it is a
change of the face: the new picture alone from there on."""
DIFFERENCE_CELLS = 32
"""Side of the grid on which differences are averaged."""
LARGEST_MISFIT = 0.06
"""Parts of the patch side: where the keypoints do not fit their earlier places better, the pose is another one."""
LARGEST_CHANGE = 40.0
"""Levels of 255 by which the mean of a whole face changes only at a cut."""
LEAST_TURN_RATE = 20.0
"""Frames per second below which every face is drawn for every frame."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Who need not be drawn at every frame.

    :ivar faces: so many in a frame that those at rest are drawn in turns.
    :ivar seconds: how long a picture serves, rounded down to frames, but for two of them at least.
    :ivar pressed: the same where time is short, and with ``CROWD`` faces and more.
    :ivar gesture: change of an opening of mouth or eye, 0 to 1, up to which a face is at rest.
    :ivar calm: whether all that changes at rest is restlessness: mouth and eyes are not the network's.
    """

    faces: int = 2
    seconds: float = 0.0
    pressed: float = 0.0
    gesture: float = 0.04
    calm: bool = False


CROWD = 3
PORTRAYED = Turns(faces=1, seconds=0.2, pressed=0.27, gesture=0.25, calm=True)
"""For faces that get their features from portraits: what is drawn is hair, ears and light."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """The last face of a track.

    :ivar drawn: the patch that the generator drew last. :ivar made: (s, s, 3) uint8, what it drew. :ivar age: frames
        since then.
    :ivar shown: the patch of the frame before. :ivar face: (s, s, 3) float32, 0 to 255, what was shown there, mixed but
        not rounded.
    """

    drawn: FacePatch
    made: Image
    shown: FacePatch
    face: Floats
    age: int = 0


class SteadyGenerator:
    """Takes the restlessness out of another generator's faces (a :class:`deepprivacy_rt.stages.Generator`).

    For one stream, whose frames are given in order. A track that is missing in a call, or gets no replacement in it, is
    forgotten: memory is bounded by the faces of one frame. A first face, the first one after a cut, and that of another
    track or identity are passed on as they are.

    :param generator: what it returns is checked no further than is needed here.
    :param frame_rate: frames per second, above 0.
    """

    def __init__(self, generator: Generator, frame_rate: float = 30.0, turns: Turns | None = None) -> None:
        if not frame_rate > 0:
            raise ValueError(f"frame_rate must be above 0, not {frame_rate}")
        self._generator = generator
        self._share, self._calm_share = new_share(frame_rate), new_share(frame_rate, CALM_SECONDS)
        self._frame_rate, self._turns = frame_rate, turns or Turns()
        self._turns_from, self._is_pressed = self._turns.faces, False
        self._memories: dict[int, _Memory] = {}

    def take_turns(self, faces: int) -> None:
        """See :class:`deepprivacy_rt.stages.TakesTurns`."""
        self._turns_from = min(faces, self._turns.faces)
        self._is_pressed = faces <= 1

    def _period(self, faces: int) -> int:
        """Return for how many frames a picture serves, where so many faces are to be drawn."""
        if faces < self._turns_from or self._frame_rate < LEAST_TURN_RATE:
            return 1  # at ten frames per second, two frames are too long for a face to stay
        seconds = self._turns.pressed if self._is_pressed or faces >= CROWD else self._turns.seconds
        return max(int(seconds * self._frame_rate), 2)

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return the generator's replacements, calmed. What breaks the contract is passed on for others to refuse."""
        before, self._memories = self._memories, {}  # whatever is raised below, nothing old survives it
        waiting = self._waiting(patches, before)
        drawn = [patch for patch in patches if id(patch) not in waiting]
        given = {id(patch): patch for patch in drawn}
        answers = [self._calmed(one, given, before) for one in self._generator.generate(drawn)]
        return [*answers, *(self._shown_again(patch, before) for patch in patches if id(patch) in waiting)]

    def _waiting(self, patches: Sequence[FacePatch], before: dict[int, _Memory]) -> set[int]:
        """Return which patches are not drawn this time.

        Whoever is at rest waits for as long as that leaves no later frame with more to draw than others.
        """
        period = self._period(len(patches))
        at_rest = [
            (memory.age, number)
            for number, patch in enumerate(patches)
            if (memory := before.get(patch.track.track_id)) is not None and self._is_at_rest(memory, patch, period)
        ]
        at_rest.sort(reverse=True)
        each = math.ceil(len(patches) / period)
        # If none of them were drawn now but so many in each frame to come, would somebody wait for too long?
        is_time = any(age + 2 + place // each > period for place, (age, _) in enumerate(at_rest))
        now = max(each - (len(patches) - len(at_rest)), 0) if is_time else 0
        return {id(patches[number]) for _, number in at_rest[now:]}

    def _is_at_rest(self, memory: _Memory, patch: FacePatch, period: int) -> bool:
        if memory.age + 1 >= period or not is_continued(memory.shown.track, patch.track):
            return False
        return is_like(memory.drawn, patch, self._turns.gesture)

    def _shown_again(self, patch: FacePatch, before: dict[int, _Memory]) -> Replacement:
        """Return what was drawn last, where it lay in the frame.

        It meets surroundings that stay where they are; and what goes with every tremble of the keypoints flickers.
        """
        memory = before[patch.track.track_id]
        made = _warped(memory.made, between(memory.drawn.transform, patch.transform))
        face = self._mixed(made.astype(np.float32), patch, memory, self._turns.calm)
        self._memories[patch.track.track_id] = replace(memory, shown=patch, face=face, age=memory.age + 1)
        return Replacement(patch, np.rint(face).astype(np.uint8))

    def _calmed(self, answer: Replacement, given: dict[int, FacePatch], before: dict[int, _Memory]) -> Replacement:
        if not isinstance(answer, Replacement) or id(answer.patch) not in given or not is_sound(answer):
            return answer
        patch = answer.patch
        face = answer.image.astype(np.float32)
        earlier = before.get(patch.track.track_id)
        if earlier is not None:
            calm = self._turns.calm and is_like(earlier.drawn, patch, self._turns.gesture)
            face = self._mixed(face, patch, earlier, calm)
        self._memories[patch.track.track_id] = _Memory(patch, answer.image, patch, face)
        return Replacement(patch, np.rint(face).astype(np.uint8))

    def _mixed(self, face: Floats, patch: FacePatch, earlier: _Memory, calm: bool) -> Floats:
        """Return the new face with as much of the earlier one as fits it. :param calm: all of it does."""
        size = len(face)
        if earlier.face.shape != face.shape or not is_continued(earlier.shown.track, patch.track):
            return face
        way, misfit = similarity(earlier.shown.keypoints, patch.keypoints)
        if not misfit < LARGEST_MISFIT * size:
            return face
        difference = cv2.subtract(face, _warped(earlier.face, way))
        inside = patch.mask.view(np.uint8)
        if max(map(abs, cv2.mean(difference, inside)[:3])) > LARGEST_CHANGE:
            return face
        kept = (1.0 - (self._calm_share if calm else self._share)) * (1.0 - misfit / (LARGEST_MISFIT * size))
        share = np.ones((size, size), np.float32) if calm else self._shares(difference)
        # around the mask the new surroundings count
        share = cv2.multiply(share, inside, scale=kept, dtype=cv2.CV_32F)
        return np.asarray(cv2.subtract(face, cv2.multiply(difference, cv2.merge((share, share, share)))))

    @staticmethod
    def _shares(difference: Floats) -> Floats:
        """Return where the earlier face fits, (s, s) 0 to 1, from (s, s, 3) differences: 0 where they are large."""
        size = len(difference)
        cells = min(DIFFERENCE_CELLS, size)
        red, green, blue = cv2.split(np.abs(difference))  # OpenCV's maximum is ten times as fast here
        coarse = cv2.resize(cv2.max(cv2.max(red, green), blue), (cells, cells), interpolation=cv2.INTER_AREA)
        coarse = cv2.blur(coarse, (3, 3), borderType=cv2.BORDER_REPLICATE)
        coarse = cv2.dilate(coarse, np.ones((3, 3), np.uint8))  # what changed is new up to its edges
        same = np.clip((OTHER_LEVELS - coarse) / (OTHER_LEVELS - SAME_LEVELS), 0.0, 1.0)
        return np.asarray(cv2.resize(same, (size, size), interpolation=cv2.INTER_LINEAR))


def _warped(face: _Picture, way: Affine) -> _Picture:
    shape = face.shape[1], face.shape[0]
    return cast(_Picture, cv2.warpAffine(face, way, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def new_share(frame_rate: float, seconds: float = CALMING_SECONDS) -> float:
    """Return how much of a new face counts, 0 to 1, at so many frames per second."""
    return 1.0 - math.exp(-1.0 / (seconds * frame_rate))


def is_sound(answer: Replacement) -> bool:
    image: Image = answer.image
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == answer.patch.image.shape
