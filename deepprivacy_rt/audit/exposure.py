"""How much of a face in the original is still to be seen in the anonymized picture.

Pixels are compared by structure, not by colour: a new face of the same skin colour must not count as the old one, and
the old one must count although it was encoded again, tinted or made brighter. In the central ellipse of the face the
luma of both pictures is reduced to the detail between 1/64 and 1/10 of the face's height (a difference of Gaussians).
Around each place, in a Gaussian window of 1/16 of the face's height::

    e = mean((anonymized - original)²) / mean(original²)

is 0 for an untouched place, near 1 for one that was blurred away or filled, and 1 to 2 for one with other content
(two signals of equal strength and no correlation give 2). A place is still the original's where e is below
``RESIDUAL_LIMIT``: at a correlation above 0.9 for equal strength. Only places that have detail in the original count
(``LEAST_DETAIL`` levels RMS), for blur and fill leave flat skin as it was. What the new encoding changes everywhere
is measured outside of the faces and subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.types import Box, Image, Mask

Plane: TypeAlias = NDArray[np.float32]

EXPOSED_SHARE = 0.2
"""A face is exposed when more than this share is still the original's. Windows at the edge of a cover see both sides,
so a share of 0.2 means that about a quarter to a third of the face's pixels show."""
RESIDUAL_LIMIT = 0.2
LEAST_DETAIL = 2.5
"""Levels of 255, RMS in the window."""
_HEIGHT = 64
"""Higher faces are reduced to this height first, in pixels: finer detail is codec noise."""
_LEAST_INFORMATIVE = 0.1
"""Below this share of places with detail a face is judged by plain differences."""
_SAME_LEVELS = 3.0
_ELLIPSE = (0.45, 0.45)
"""Half axes as shares of the box's sides: hair and background in the corners of the box do not count."""
_SURROUND = 3.0
_MOST_NOISE = 4.0


def exposed_share(original: Image, anonymized: Image, box: Box, faces: Sequence[Box]) -> float:
    """Return which share of one face is still the original's, 0 to 1.

    :param original: (h, w, 3) RGB.
    :param anonymized: the same frame after anonymization, of the same size.
    :param box: the face.
    :param faces: all faces in the frame: noise is measured outside of them.
    """
    view = _View(box, original.shape[1], original.shape[0])
    before, after = view.luma(original), view.luma(anonymized)
    before_detail, after_detail = view.detail(before), view.detail(after)
    change = view.window((after_detail - before_detail) ** 2)
    energy = view.window(before_detail**2)
    outside = ~view.covered(faces)
    noise = min(float(np.median(change[outside])), _MOST_NOISE) if outside.any() else 0.0
    inside = view.ellipse(box)
    informative = inside & (energy >= max(LEAST_DETAIL**2, 4 * noise))
    if informative.sum() < _LEAST_INFORMATIVE * inside.sum():
        difference = view.window(np.abs(after - before))
        return float(np.mean(difference[inside] <= _SAME_LEVELS))
    residual = np.maximum(change - noise, 0)[informative] / energy[informative]
    return float(np.mean(residual <= RESIDUAL_LIMIT))


class _View:
    """The surroundings of a face, reduced so that the face is at most ``_HEIGHT`` pixels high."""

    def __init__(self, box: Box, width: int, height: int) -> None:
        half = max(box.width, box.height) * _SURROUND / 2
        x, y = box.center
        self.x0, self.y0 = int(max(0, x - half)), int(max(0, y - half))
        self.x1, self.y1 = int(min(width, np.ceil(x + half))), int(min(height, np.ceil(y + half)))
        # A box may lie partly outside of the frame, never wholly; one pixel is left at least.
        self.x0, self.y0 = min(self.x0, width - 1), min(self.y0, height - 1)
        self.x1, self.y1 = max(self.x1, self.x0 + 1), max(self.y1, self.y0 + 1)
        self.scale = min(1.0, _HEIGHT / box.height)
        self.size = (
            max(1, round((self.x1 - self.x0) * self.scale)),
            max(1, round((self.y1 - self.y0) * self.scale)),
        )
        self.face = box.height * self.scale

    def luma(self, image: Image) -> Plane:
        grey = cv2.cvtColor(image[self.y0 : self.y1, self.x0 : self.x1], cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, self.size, interpolation=cv2.INTER_AREA), np.float32)

    def detail(self, luma: Plane) -> Plane:
        fine, coarse = max(self.face / 64, 0.7), max(self.face / 10, 2.0)
        return np.asarray(cv2.GaussianBlur(luma, (0, 0), fine) - cv2.GaussianBlur(luma, (0, 0), coarse), np.float32)

    def window(self, plane: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), max(self.face / 16, 1.5)), np.float32)

    def ellipse(self, box: Box) -> Mask:
        x, y = self._place(*box.center)
        axes = (box.width * _ELLIPSE[0] * self.scale, box.height * _ELLIPSE[1] * self.scale)
        columns, rows = np.arange(self.size[0]), np.arange(self.size[1])[:, None]
        inside: Mask = ((columns - x) / axes[0]) ** 2 + ((rows - y) / axes[1]) ** 2 <= 1
        if not inside.any():  # a face of a few pixels, or at the border
            inside[min(max(round(y), 0), self.size[1] - 1), min(max(round(x), 0), self.size[0] - 1)] = True
        return inside

    def covered(self, faces: Sequence[Box]) -> Mask:
        """Return where an anonymizer may have painted: the boxes, grown to 2.2 times their size."""
        mask = np.zeros(self.size[::-1], np.bool_)
        for face in faces:
            half_w, half_h = face.width * 1.1, face.height * 1.1
            x, y = face.center
            left, top = self._place(x - half_w, y - half_h)
            right, bottom = self._place(x + half_w, y + half_h)
            rows = slice(max(0, int(top)), max(0, int(np.ceil(bottom))))
            columns = slice(max(0, int(left)), max(0, int(np.ceil(right))))
            mask[rows, columns] = True
        return mask

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.x0) * self.scale, (y - self.y0) * self.scale
