"""What a network painted around portraits, retouched: the track's complexion, plain walls, outlines, fine detail.

Done where a face is drawn, before it is calmed over time, and so not again for every frame in which it is shown.
docs/adr/0022-complexion.md, 0027-backdrop.md, 0028-calmer-faces.md, 0035-outlines.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepprivacy_rt.generators.backdrop import with_backdrop
from deepprivacy_rt.generators.complexion import Complexion, memory, steadied
from deepprivacy_rt.generators.forehead import evened
from deepprivacy_rt.generators.outline import outlined
from deepprivacy_rt.generators.posing import new_part
from deepprivacy_rt.generators.rest import is_continued
from deepprivacy_rt.generators.steady import is_sound
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.types import FacePatch, FaceTrack, Image, Replacement

CRISP_BLUR, CRISP_GAIN = 0.00625, 0.8
"""Parts of the patch side below which detail is fine, and by how much it is raised."""
_CRISP_CELLS = 128
"""Pixels of the patch side for one pixel's reach to the neighbours that bound it."""
_REMEMBERED_SECONDS = 0.5
"""For so long a face that is not drawn is remembered: longer than one at rest waits."""
_SHARE = 1
"""Which part of a hint tells how much of a portrait is to be seen."""


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is known of a track. :ivar wall: where, see ``with_backdrop``. :ivar number: of the call it was drawn in."""

    track: FaceTrack
    skin: Complexion
    wall: Floats
    number: int


class RetouchingGenerator:
    """Retouches another generator's faces where a portrait goes on them (a :class:`deepprivacy_rt.stages.Generator`).

    For one stream. It has to be called for every frame, if for no face of it: by its calls it tells the time.

    :param frame_rate: frames per second, above 0.
    """

    def __init__(self, generator: Generator, frame_rate: float) -> None:
        self._generator = generator
        self._part, self._kept = new_part(frame_rate), memory(frame_rate)
        self._longest = max(int(_REMEMBERED_SECONDS * frame_rate), 1)
        self._number = 0
        self._memories: dict[int, _Memory] = {}

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return the generator's replacements, retouched. What breaks the contract is passed on as it is."""
        self._number += 1
        since = self._number - self._longest
        before, self._memories = self._memories, {}  # whatever is raised below, nothing old survives it
        answers = self._generator.generate(patches)
        self._memories = {one: known for one, known in before.items() if known.number >= since}
        given = {id(patch) for patch in patches if patch.hint is not None}
        return [self._retouched(one, given) for one in answers]

    def _retouched(self, answer: Replacement, given: set[int]) -> Replacement:
        if not (isinstance(answer, Replacement) and id(answer.patch) in given and is_sound(answer)):
            return answer
        patch, track = answer.patch, answer.patch.track
        earlier = self._memories.pop(track.track_id, None)
        if earlier is not None and not is_continued(earlier.track, track):
            earlier = None
        frames = 1 if earlier is None else self._number - earlier.number
        known, wall = (None, None) if earlier is None else (earlier.skin, earlier.wall)
        part, shown = 1 - (1 - self._part) ** frames, _shown(patch)
        face, skin = steadied(answer.image, patch, shown, known, self._kept**frames)
        face, wall, behind = with_backdrop(face, patch, skin.skin, wall, part, shown)
        face = evened(face, patch.mask, _hint(patch), skin.skin, wall)
        self._memories[track.track_id] = _Memory(track, skin, wall, self._number)
        return replace(answer, image=crisp(outlined(face, wall, behind, patch.mask)))


def _shown(patch: FacePatch) -> Floats:
    """Return how much of the portrait is to be seen, (s, s) 0 to 1."""
    return np.asarray(_hint(patch)[_SHARE], np.float32)


def _hint(patch: FacePatch) -> Floats:
    assert patch.hint is not None
    return patch.hint


def crisp(face: Image) -> Image:
    """Return a network's face with fine detail raised: hair and jaw beside a portrait look out of focus else.

    A median takes out the network's grain before: along a jaw, dots would become beads that come and go. No pixel gets
    brighter or darker than all of its neighbours were: dark hair would get a bright rim.

    :param face: (s, s, 3) uint8.
    """
    face = np.asarray(cv2.medianBlur(face, crisp_reach(len(face))), np.uint8)
    smooth = cv2.GaussianBlur(face, (0, 0), CRISP_BLUR * len(face))
    raised = cv2.addWeighted(face, 1 + CRISP_GAIN, smooth, -CRISP_GAIN, 0.0)
    near = np.ones((crisp_reach(len(face)),) * 2, np.uint8)
    return np.asarray(cv2.max(cv2.min(raised, cv2.dilate(face, near)), cv2.erode(face, near)), np.uint8)


def crisp_reach(size: int) -> int:
    """Return the side of the square of a pixel's neighbours, in a patch of ``size``."""
    return 2 * max(round(size / _CRISP_CELLS), 1) + 1
