"""Whether a face is at rest: where it is, what it does, and what is around it, against an earlier frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.geometry import transform_points
from deepprivacy_rt.types import Affine, Expression, FacePatch, FaceTrack, Image, Points

_LARGEST_STEP = 0.5
"""Face sizes per frame: one that went farther was lost, or belongs to another shot."""
_LARGEST_REST = 0.012
"""Parts of the patch side by which its keypoints lie elsewhere on it: a pixel and a half of 128."""
_LARGEST_DRIFT = 0.006
"""Parts of the patch side by which it moved in the frame since it was drawn: what waits longer, and follows by a jump,
flickers."""
LARGEST_GLEAM = 5.0
"""Mean difference of what surrounds the face, in levels of 255, up to which it is at rest: beyond it, light changes or
the head moves before something."""
CONTEXT_CELLS = 32
_ALL = 255


class Place(NamedTuple):
    """Where a face is, and what it does.

    :ivar transform: (2, 3) frame to patch pixels. :ivar keypoints: (6, 2) patch pixels.
    """

    transform: Affine
    keypoints: Points
    expression: Expression


def is_like(drawn: FacePatch, patch: FacePatch, gesture: float) -> bool:
    """Say whether a face does what it did when it was drawn, in the same light.

    :param gesture: see ``Turns``.
    """
    if drawn.image.shape != patch.image.shape:
        return False
    was, now = (Place(one.transform, one.keypoints, one.track.expression) for one in (drawn, patch))
    return is_still(was, now, len(patch.image), gesture) and _gleam(drawn, patch) <= LARGEST_GLEAM


def is_still(was: Place, now: Place, size: int, gesture: float) -> bool:
    """Say whether a face is where it was, and does what it did. :param size: side of its patches."""
    _, misfit = similarity(was.keypoints, now.keypoints)
    way = between(was.transform, now.transform)
    drift = (now.keypoints - transform_points(way, was.keypoints)).mean(axis=0)
    if not (misfit < _LARGEST_REST * size and math.hypot(*drift) < _LARGEST_DRIFT * size):
        return False
    return max(abs(a - b) for a, b in zip(was.expression, now.expression, strict=True)) <= gesture


def _gleam(drawn: FacePatch, patch: FacePatch) -> float:
    """Return how much the same places around a face differ between two patches, in levels of 255; infinite: no place.

    Each is sought where it lies in the frame: live, boxes go by steps, and the surroundings do not.
    """
    cells = min(CONTEXT_CELLS, len(patch.image))
    way, step = between(drawn.transform, patch.transform), len(patch.image) / cells
    # Pixel centres: cell = (pixel + 0.5) / step - 0.5
    half = (step - 1) / 2
    way[:, 2] = (way[:, :2] @ (half, half) + way[:, 2] - half) / step
    (before, known), (now, visible) = (_surroundings(one, cells) for one in (drawn, patch))
    before, known = (cv2.warpAffine(one, way, (cells, cells), flags=cv2.INTER_LINEAR) for one in (before, known))
    both = cv2.min(known, visible) // _ALL
    return max(cv2.mean(cv2.absdiff(before, now), both)[:3]) if both.any() else math.inf


def _surroundings(patch: FacePatch, cells: int) -> tuple[Image, NDArray[np.uint8]]:
    """Return what is around a face, (c, c, 3), and ``_ALL`` where no pixel of a cell is unknown, (c, c)."""
    known = (~patch.mask).view(np.uint8) * np.uint8(_ALL)
    image, seen = (cv2.resize(one, (cells, cells), interpolation=cv2.INTER_AREA) for one in (patch.image, known))
    return np.asarray(image, np.uint8), np.asarray(seen, np.uint8)


def between(earlier: Affine, later: Affine) -> Affine:
    """Return where the frame's places in one patch lie in another. :param earlier, later: (2, 3) frame to patch."""
    return np.asarray(later @ np.vstack([cv2.invertAffineTransform(earlier), [0.0, 0.0, 1.0]]))


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
