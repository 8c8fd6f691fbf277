"""Public fakes: scripted detectors, failing stages, synthetic pictures. For tests of this package and of your own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np

from deepprivacy_rt.types import (
    Box,
    Detection,
    Evidence,
    FacePatch,
    FaceTrack,
    Frame,
    Image,
    Points,
    Replacement,
    SafeFrame,
)

KEYPOINTS_IN_BOX = ((0.30, 0.28), (0.70, 0.28), (0.50, 0.54), (0.50, 0.77), (0.06, 0.36), (0.94, 0.36))
"""The six keypoints of an upright frontal face, as parts of its box."""


def make_keypoints(box: Box) -> Points:
    """Return the keypoints of an upright frontal face in a box, (6, 2) float32 frame pixels."""
    inside = np.array(KEYPOINTS_IN_BOX)
    return (np.array([box.x0, box.y0]) + inside * (box.width, box.height)).astype(np.float32)


def make_detection(x: float, y: float, size: float, score: float = 0.9) -> Detection:
    """Return an upright frontal face. :param x, y: centre, in pixels. :param size: side of the box, in pixels."""
    box = Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    return Detection(box, make_keypoints(box), score)


def make_track(x: float, y: float, size: float, track_id: int = 0) -> FaceTrack:
    """Return the track of an upright frontal face, detected in this frame."""
    detection = make_detection(x, y, size)
    return FaceTrack(track_id, track_id, detection.box, detection.keypoints, detection.score, Evidence.DETECTED)


def make_frame(index: int = 0, width: int = 320, height: int = 240, seed: int = 0) -> Frame:
    """Return a smooth coloured picture, the same for the same arguments, 1/25 s per index."""
    rows, columns = np.mgrid[0:height, 0:width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(rows / 37 + columns / (23 + 9 * channel) + phase[channel]) for channel in range(3)]
    image = np.round(110 + 60 * np.dstack(waves)).astype(np.uint8)
    return Frame(image, index, Fraction(index, 25))


class SyntheticSource:
    """Delivers frames of a picture; can fail midway, and dawdle. Implements ``Source``.

    :ivar delivered: number of frames delivered so far.
    :ivar closed: whether ``__exit__`` was called.
    """

    def __init__(
        self,
        count: int,
        *,
        width: int = 320,
        height: int = 240,
        paint: Callable[[Image, int], None] | None = None,
        error_at: int | None = None,
        error: BaseException | None = None,
        seconds: float = 0.0,
    ) -> None:
        """
        :param paint: draws on a frame in place, given its index.
        :param error_at: index at which ``error`` is raised in place of a frame.
        :param seconds: pause before each frame.
        """
        self._count = count
        self._picture = make_frame(0, width, height).image
        self._paint = paint
        self._error_at = error_at
        self._error = error or RuntimeError("source failed")
        self._seconds = seconds
        self.delivered = 0
        self.closed = False

    def __enter__(self) -> SyntheticSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            if index == self._error_at:
                raise self._error
            if self._seconds:
                time.sleep(self._seconds)
            image = self._picture.copy()
            if self._paint is not None:
                self._paint(image, index)
            self.delivered += 1
            yield Frame(image, index, Fraction(index, 25))


class ScriptedDetector:
    """Returns given detections by frame index. Implements ``Detector``.

    A value that is an exception is raised in place of an answer.
    """

    def __init__(self, script: Mapping[int, Sequence[Detection] | Exception]) -> None:
        self._script = script

    def detect(self, frame: Frame) -> Sequence[Detection]:
        answer = self._script.get(frame.index, ())
        if isinstance(answer, Exception):
            raise answer
        return answer


class ListSink:
    """Keeps all frames in memory. Implements ``Sink``.

    :ivar frames: what was written.
    :ivar outcome: None while open, then "completed" or "discarded".
    """

    def __init__(self, error_at: int | None = None, error: BaseException | None = None) -> None:
        """:param error_at: number of frames after which ``error`` is raised."""
        self.frames: list[SafeFrame] = []
        self.outcome: str | None = None
        self._error_at = error_at
        self._error = error or RuntimeError("sink failed")

    def __enter__(self) -> ListSink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.outcome = "completed" if exc[0] is None else "discarded"

    def write(self, frame: SafeFrame) -> None:
        if len(self.frames) == self._error_at:
            raise self._error
        self.frames.append(frame)


class ToyGenerator:
    """A deterministic convolution of the patch and its mask with fixed random weights. Implements ``Generator``.

    Stands in for a network where no weights are: every output pixel depends on its surroundings in the patch, the
    keypoints and the identity, as a network's does.
    """

    def __init__(self, patch_size: int = 128) -> None:
        self._patch_size = patch_size

    @property
    def patch_size(self) -> int:
        return self._patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        return [Replacement(patch, self._convolve(patch)) for patch in patches]

    def _convolve(self, patch: FacePatch) -> Image:
        random = np.random.default_rng(patch.track.identity)
        layers = np.dstack([patch.image.astype(np.float64) / 255.0, patch.mask.astype(np.float64)])
        for step in (1, 8, 24):
            weights = random.normal(0.0, 0.4, (5, 4, 4))
            shifts = [(0, 0), (step, 0), (-step, 0), (0, step), (0, -step)]
            layers = np.tanh(
                sum(np.roll(layers, shift, (0, 1)) @ weight for shift, weight in zip(shifts, weights, strict=True))
            )
        layers += 0.1 * np.sin(patch.keypoints.sum())
        return np.clip(np.round(128 + 100 * layers[..., :3]), 0, 255).astype(np.uint8)


class FailingGenerator:
    """Breaks the contract in a way of your choice, every time. Implements ``Generator``."""

    def __init__(self, answer: Callable[[Sequence[FacePatch]], Sequence[Replacement]], patch_size: int = 128) -> None:
        """:param answer: what ``generate`` returns or raises."""
        self._answer = answer
        self._patch_size = patch_size

    @property
    def patch_size(self) -> int:
        return self._patch_size

    def generate(self, patches: Sequence[FacePatch]) -> Sequence[Replacement]:
        return self._answer(patches)


def unchecked_replacement(patch: object, image: object) -> Replacement:
    """Return a replacement that went round all checks, as a faulty native library could produce."""
    replacement = object.__new__(Replacement)
    object.__setattr__(replacement, "patch", patch)
    object.__setattr__(replacement, "image", image)
    return replacement


def unchecked_detection(box: Box, keypoints: Points, score: float) -> Detection:
    """Return a detection that went round all checks."""
    detection = object.__new__(Detection)
    object.__setattr__(detection, "box", box)
    object.__setattr__(detection, "keypoints", keypoints)
    object.__setattr__(detection, "score", score)
    return detection
