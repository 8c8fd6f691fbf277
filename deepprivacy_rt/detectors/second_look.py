"""A second opinion on faces that a detector is not sure of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE
from deepprivacy_rt.detectors.blazeface_networks import SquareDetector
from deepprivacy_rt.detectors.candidates import Candidates, Floats, overlaps
from deepprivacy_rt.detectors.tiling import View, letterbox
from deepprivacy_rt.types import Image

DOUBTFUL = (0.35, 0.65)
"""Scores that are looked into: below, a face only continues a track; above, hardly one is false."""
STILL_DOUBTFUL = (0.5, 0.65)
"""Scores that are worth one more look: those that would start a track, and not be sure."""
_SAME_IOU = 0.25


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Replaces a doubtful score by its mean with the scores of closer looks: two by the short range network, which
    knows faces of that share of a picture, and where doubt remains one by the full range network.

    Leaves, prints and the backs of heads that one look takes for a face do not last through three, and small faces
    gain, because they are looked at enlarged.

    :ivar full_range: for pictures of 192 px.
    :ivar short_range: for pictures of 128 px.
    """

    full_range: SquareDetector
    short_range: SquareDetector

    def rescored(self, image: Image, found: Candidates) -> Candidates:
        """Return the same findings with new scores, best first. Raises StageError when an inference fails.

        :param image: (h, w, 3) uint8 RGB, the frame.
        :param found: in frame pixels, each face once.
        """
        scores = found.scores.copy()
        for row in np.flatnonzero((scores >= DOUBTFUL[0]) & (scores < DOUBTFUL[1])):
            scores[row] = self._score(image, found.boxes[row], float(scores[row]))
        return replace(found, scores=scores).pick(np.argsort(-scores, kind="stable"))

    def _score(self, image: Image, box: Floats, first: float) -> float:
        scores = [first]
        for score in self._looks(image, box):
            scores.append(score)
            if len(scores) == 3 and not STILL_DOUBTFUL[0] <= np.mean(scores) < STILL_DOUBTFUL[1]:
                break
        return float(np.mean(scores))

    def _looks(self, image: Image, box: Floats) -> Iterator[float]:
        yield _close_look(image, box, 2.5, self.short_range, SHORT_RANGE.size)
        yield _close_look(image, box, 4.0, self.short_range, SHORT_RANGE.size)
        yield _close_look(image, box, 2.5, self.full_range, FULL_RANGE.size)


def _close_look(image: Image, box: Floats, crop: float, network: SquareDetector, size: int) -> float:
    """Return the best score of a face there, 0 where none is seen.

    :param crop: side of the region to look at, in sides of the box.
    """
    height, width = image.shape[:2]
    center, half = (box[:2] + box[2:]) / 2, crop * float((box[2:] - box[:2]).max()) / 2
    if not np.isfinite([*center, half]).all():
        return 0.0  # what is not finite fails where findings become detections
    x0, y0 = (max(0, round(float(v) - half)) for v in center)
    x1, y1 = (min(end, round(float(v) + half)) for v, end in zip(center, (width, height), strict=True))
    if x1 <= x0 or y1 <= y0:
        return 0.0
    picture, place = letterbox(image, View(x0, y0, x1, y1), (size, size))
    seen = place.to_frame(network.find(picture), (width, height))
    return max(seen.scores[overlaps(box, seen.boxes)[0] > _SAME_IOU].tolist(), default=0.0)
