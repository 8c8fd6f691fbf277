"""Calm faces from frame to frame: what a generator makes is mixed with what it made for the same face before.

All happens on aligned patches, so a face that moves through the picture stands still here. What moves within the
patch (a head that turns) is followed by warping the earlier face as the keypoints went. Wherever new and earlier
picture still differ by more than a network's restlessness, the new one counts alone: nothing trails behind.

Only generated pixels are remembered, with keypoints; no pixel of a frame, covered or not, is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.stages import Generator
from deepprivacy_rt.types import Affine, FacePatch, FaceTrack, Image, Points, Replacement

Floats = NDArray[np.float32]

CALMING_SECONDS = 0.08
"""Time constant of the mixing at rest. Longer blurs, and opens and shuts mouths late."""
SAME_LEVELS, OTHER_LEVELS = 14.0, 34.0
"""Mean differences, in levels of 255 over some pixels, up to which a change is restlessness, and from which it is a
change of the face: the new picture alone from there on."""
DIFFERENCE_CELLS = 32
"""Side of the grid on which differences are averaged."""
LARGEST_MISFIT = 0.06
"""Parts of the patch side: where the keypoints do not fit their earlier places better, the pose is another one."""
_LARGEST_STEP = 0.5
"""Face sizes per frame: one that went farther was lost, or belongs to another shot."""
LARGEST_CHANGE = 40.0
"""Levels of 255 by which the mean of a whole face changes only at a cut."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """The last face made for a track. :ivar face: (s, s, 3) float32, 0 to 255, mixed but not rounded."""

    track: FaceTrack
    keypoints: Points
    face: Floats


class SteadyGenerator:
    """Takes the restlessness out of another generator's faces (a :class:`deepprivacy_rt.stages.Generator`).

    For one stream, whose frames are given in order. A track that is missing in a call, or gets no replacement in it, is
    forgotten: memory is bounded by the faces of one frame. A first face, the first one after a cut, and that of another
    track or identity are passed on as they are.

    :param generator: what it returns is checked no further than is needed here.
    :param frame_rate: frames per second, above 0.
    """

    def __init__(self, generator: Generator, frame_rate: float = 30.0) -> None:
        if not frame_rate > 0:
            raise ValueError(f"frame_rate must be above 0, not {frame_rate}")
        self._generator = generator
        self._share = new_share(frame_rate)
        self._memories: dict[int, _Memory] = {}

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return the generator's replacements, calmed. What breaks the contract is passed on for others to refuse."""
        before, self._memories = self._memories, {}  # whatever is raised below, nothing old survives it
        given = {id(patch): patch for patch in patches}
        return [self._calmed(answer, given, before) for answer in self._generator.generate(patches)]

    def _calmed(self, answer: Replacement, given: dict[int, FacePatch], before: dict[int, _Memory]) -> Replacement:
        if not isinstance(answer, Replacement) or id(answer.patch) not in given or not _is_sound(answer):
            return answer
        patch = answer.patch
        face = answer.image.astype(np.float32)
        earlier = before.get(patch.track.track_id)
        if earlier is not None:
            face = self._mixed(face, patch, earlier)
        self._memories[patch.track.track_id] = _Memory(patch.track, patch.keypoints, face)
        return Replacement(patch, np.rint(face).astype(np.uint8))

    def _mixed(self, face: Floats, patch: FacePatch, earlier: _Memory) -> Floats:
        """Return the new face with as much of the earlier one as fits it."""
        size = len(face)
        if earlier.face.shape != face.shape or not is_continued(earlier.track, patch.track):
            return face
        way, misfit = similarity(earlier.keypoints, patch.keypoints)
        if not misfit < LARGEST_MISFIT * size:
            return face
        border = cv2.BORDER_REPLICATE
        warped = cv2.warpAffine(earlier.face, way, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
        difference = cv2.subtract(face, warped)
        inside = patch.mask.view(np.uint8)
        if max(map(abs, cv2.mean(difference, inside)[:3])) > LARGEST_CHANGE:
            return face
        share = self._shares(difference) * (1.0 - misfit / (LARGEST_MISFIT * size))
        share = cv2.multiply(share, inside, dtype=cv2.CV_32F)  # around the mask the new surroundings count
        return np.asarray(cv2.subtract(face, cv2.multiply(difference, cv2.merge((share, share, share)))))

    def _shares(self, difference: Floats) -> Floats:
        """Return how much of the earlier face to take, (s, s), from (s, s, 3) differences: 0 where they are large."""
        size = len(difference)
        cells = min(DIFFERENCE_CELLS, size)
        red, green, blue = cv2.split(np.abs(difference))  # OpenCV's maximum is ten times as fast here
        coarse = cv2.resize(cv2.max(cv2.max(red, green), blue), (cells, cells), interpolation=cv2.INTER_AREA)
        coarse = cv2.blur(coarse, (3, 3), borderType=cv2.BORDER_REPLICATE)
        coarse = cv2.dilate(coarse, np.ones((3, 3), np.uint8))  # what changed is new up to its edges
        kept = np.clip((OTHER_LEVELS - coarse) / (OTHER_LEVELS - SAME_LEVELS), 0.0, 1.0) * np.float32(1.0 - self._share)
        return np.asarray(cv2.resize(kept, (size, size), interpolation=cv2.INTER_LINEAR))


def new_share(frame_rate: float) -> float:
    """Return how much of a new face counts at rest, 0 to 1, at so many frames per second."""
    return 1.0 - math.exp(-1.0 / (CALMING_SECONDS * frame_rate))


def _is_sound(answer: Replacement) -> bool:
    image: Image = answer.image
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == answer.patch.image.shape


def is_continued(earlier: FaceTrack, now: FaceTrack) -> bool:
    """Say whether this is the same face in the next frame, as far as its place tells."""
    if earlier.identity != now.identity:
        return False
    (x0, y0), (x1, y1) = earlier.box.center, now.box.center
    sizes = [max(box.width, box.height) for box in (earlier.box, now.box)]
    return math.hypot(x1 - x0, y1 - y0) < _LARGEST_STEP * max(sizes) and max(sizes) < 1.5 * min(sizes)


def similarity(source: Points, target: Points) -> tuple[Affine, float]:
    """Return the similarity that maps points nearest to others by least squares, and the mean distance left over.

    (Umeyama, 1991; in the plane it is one complex factor.) Where all points are one, a shift.
    """
    a, b = (points.astype(np.float64) @ [1.0, 1.0j] for points in (source, target))
    from_, to = a.mean(), b.mean()
    a, b = a - from_, b - to
    spread = float(np.vdot(a, a).real)
    factor = complex(np.vdot(a, b) / spread) if spread > 1e-6 else 1.0 + 0.0j
    shift = to - factor * from_
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return matrix, float(np.abs(b - factor * a).mean())
