"""Upright pictures from stored ones, and back: the eight orientations of a display matrix or of EXIF."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepprivacy_rt.types import Image

_ONE = 1 << 16
_W = 1 << 30
IDENTITY_MATRIX = (_ONE, 0, 0, 0, _ONE, 0, 0, 0, _W)
_EXIF = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become upright: swap the axes first, then mirror x, then mirror y.

    :ivar transpose: rows become columns.
    :ivar flip_x: mirror left and right, after the transposition.
    :ivar flip_y: mirror top and bottom, after the transposition.
    :ivar matrix: nine integers of the display matrix as stored (ISO/IEC 14496-12, ``tkhd``: 16.16 fixed point, last
        column 2.30), to be written back unchanged.
    :ivar exact: the matrix is one of the eight; otherwise the nearest one is used.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    matrix: tuple[int, ...] = IDENTITY_MATRIX
    exact: bool = True

    @classmethod
    def from_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """Read a display matrix: x' = a x + c y, y' = b x + d y, with (a, b, c, d) at 0, 1, 3, 4."""
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0, matrix, b == c == 0)
        return cls(True, c < 0, b < 0, matrix, a == d == 0)

    @classmethod
    def from_exif(cls, value: int) -> Orientation:
        """Read an EXIF orientation (tag 0x0112); values outside 1 to 8 mean upright."""
        transpose, flip_x, flip_y = _EXIF.get(value, _EXIF[1])
        return cls(transpose, flip_x, flip_y)

    @property
    def is_identity(self) -> bool:
        return not (self.transpose or self.flip_x or self.flip_y)

    def upright(self, image: Image) -> Image:
        """Turn stored pixels, (h, w, 3) uint8, into upright ones."""
        if self.transpose:
            image = cv2.transpose(image)
        return _flip(image, self.flip_x, self.flip_y)

    def stored(self, image: Image) -> Image:
        """Turn upright pixels, (h, w, 3) uint8, into stored ones: the inverse of :meth:`upright`."""
        image = _flip(image, self.flip_x, self.flip_y)
        stored: Image = cv2.transpose(image) if self.transpose else image
        return stored


def _flip(image: Image, flip_x: bool, flip_y: bool) -> Image:
    if not (flip_x or flip_y):
        return np.ascontiguousarray(image)
    both, horizontal, vertical = -1, 1, 0  # OpenCV's codes
    flipped: Image = cv2.flip(image, both if flip_x and flip_y else horizontal if flip_x else vertical)
    return flipped
