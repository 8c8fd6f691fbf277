"""Keeps pictures of the worst faces of a file, and of a few ordinary ones, in bounded memory."""

from __future__ import annotations

import heapq
import itertools

import cv2
import numpy as np

from deepprivacy_rt.audit.records import Example, FaceRecord
from deepprivacy_rt.types import Box, Image

SIDE = 128
_CONTEXT = 2.0
_LEAST_SIZE = 24.0
_SPREAD = 0.5
"""Seconds between two examples of one face for one reason, so that a sheet shows more than one moment."""


class ExampleBook:
    """Collects examples while a file is read.

    :param most: examples kept for each reason.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._kept: dict[str, list[tuple[float, int, Example]]] = {}
        self._number = itertools.count()

    def see(self, record: FaceRecord, original: Image, anonymized: Image) -> None:
        """Note a face where it is among the worst so far."""
        for why, badness in _reasons(record):
            heap = self._kept.setdefault(why, [])
            near = [entry for entry in heap if _same_moment(entry[2].record, record)]
            beaten = min(near, default=heap[0] if len(heap) >= self._most else None)
            if beaten is not None:
                if beaten[0] >= badness:
                    continue
                heap.remove(beaten)
                heapq.heapify(heap)
            picture = pair_picture(original, anonymized, record.face.box)
            heapq.heappush(heap, (badness, next(self._number), Example(why, record, picture)))

    def examples(self) -> list[Example]:
        """Return what was kept, by reason, worst first."""
        return [example for heap in self._kept.values() for _, _, example in sorted(heap, key=lambda entry: -entry[0])]


def _reasons(record: FaceRecord) -> list[tuple[str, float]]:
    if record.face.size < _LEAST_SIZE:
        return [("exposed", record.exposed_share)] if record.exposed else []
    # An ordinary face is drawn by a hash of its place in the file: the same one in every run, yet no worst case.
    reasons = [("ordinary", float((record.frame * 2654435761 + record.track * 40503) % 10007))]
    if record.exposed:
        reasons.append(("exposed", record.exposed_share))
    if not record.kept:
        reasons.append(("no face found", record.face.score - record.overlap))
    if record.similarity is not None:
        reasons.append(("most similar", record.similarity))
    return reasons


def _same_moment(a: FaceRecord, b: FaceRecord) -> bool:
    return a.track == b.track and abs(a.time - b.time) < _SPREAD


def pair_picture(original: Image, anonymized: Image, box: Box) -> Image:
    """Return original and anonymized surroundings of a box side by side, (SIDE, 2 * SIDE, 3) RGB."""
    x, y = box.center
    scale = SIDE / (_CONTEXT * max(box.width, box.height))
    transform = np.array([[scale, 0, SIDE / 2 - x * scale], [0, scale, SIDE / 2 - y * scale]])
    if scale < 1:  # warpAffine does not average: blur what will be skipped
        reach = int(SIDE / scale / 2) + 2
        x0, y0 = max(0, int(x) - reach), max(0, int(y) - reach)
        cut = (slice(y0, int(y) + reach), slice(x0, int(x) + reach))
        original, anonymized = (cv2.GaussianBlur(i[cut], (0, 0), 0.5 / scale) for i in (original, anonymized))
        transform[:, 2] += np.array([x0, y0]) * scale
    halves = [
        cv2.warpAffine(image, transform, (SIDE, SIDE), flags=cv2.INTER_LINEAR) for image in (original, anonymized)
    ]
    return np.asarray(np.concatenate(halves, axis=1), np.uint8)
