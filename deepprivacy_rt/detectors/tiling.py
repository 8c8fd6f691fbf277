"""Views of a frame: the regions that a detector looks at, and the way from a region to a network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.detectors.candidates import Candidates, Floats
from deepprivacy_rt.types import Image

_MIRRORED_KEYPOINTS = [1, 0, 2, 3, 5, 4]
"""Right and left change places in a mirrored picture."""
_LONGEST = 3.0
"""Frames with a longer aspect ratio are looked at in pieces: as a whole, nothing would be left of their short side."""


@dataclass(frozen=True, slots=True)
class View:
    """A region of the frame, in whole pixels; right and bottom are exclusive. ``mirrored``: seen as in a mirror."""

    x0: int
    y0: int
    x1: int
    y1: int
    mirrored: bool = False


def whole(width: int, height: int, *, mirrored: bool = False) -> list[View]:
    """Return the view of the whole frame; of a frame like a ribbon, a row of pieces about twice as long as high."""
    if max(width, height) <= _LONGEST * min(width, height):
        return [View(0, 0, width, height, mirrored)]
    pieces = tiles(width, height, max(2 * min(width, height), 256), overlap=0.5)
    return [View(piece.x0, piece.y0, piece.x1, piece.y1, mirrored) for piece in pieces]


def tiles(width: int, height: int, longest: float, overlap: float) -> list[View]:
    """Split a frame into the fewest equal tiles in a grid.

    :param longest: the most pixels that a tile's side may have.
    :param overlap: what neighbours share, 0 to 1 of a tile's side: a face up to that size lies whole in a tile.
    """
    across = _spans(width, longest, overlap)
    down = _spans(height, longest, overlap)
    return [View(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across]


def _spans(length: int, longest: float, overlap: float) -> list[tuple[int, int]]:
    count = min(length, max(1, math.ceil((length / longest - overlap) / (1 - overlap))))
    side = min(length, math.ceil(length / (count - (count - 1) * overlap)))
    return [(start, start + side) for start in np.linspace(0, length - side, count).round().astype(int).tolist()]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a view lies in a network's input: input = scale * view + offset, on pixel edges, per axis."""

    view: View
    scale: tuple[float, float]
    offset: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the view in the input, in whole pixels."""
        width, height = self.view.x1 - self.view.x0, self.view.y1 - self.view.y0
        return round(width * self.scale[0]), round(height * self.scale[1])

    def to_frame(self, found: Candidates, frame_size: tuple[int, int]) -> Candidates:
        """Map findings from input pixels to frame pixels, and mark the ones cut off.

        :param frame_size: width, height.
        """
        boxes = self.points(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        keypoints = self.points(found.keypoints)
        if self.view.mirrored:
            boxes = boxes[:, [2, 1, 0, 3]]
            keypoints = keypoints[:, _MIRRORED_KEYPOINTS]
        return Candidates(boxes, keypoints, found.scores, _is_cut(boxes, self.view, frame_size))

    def points(self, points: Floats) -> Floats:
        """Map points (..., 2) from input pixels, counted from the picture's edge, to frame pixels."""
        inside = (points - np.array(self.offset, np.float32)) / np.array(self.scale, np.float32)
        if self.view.mirrored:
            inside[..., 0] = (self.view.x1 - self.view.x0) - inside[..., 0]
        # A pixel's centre lies half a pixel from its edges, and the frame counts centres.
        shifted: Floats = inside + np.array((self.view.x0, self.view.y0), np.float32) - np.float32(0.5)
        return shifted


def placed(view: View, size: tuple[int, int]) -> Letterbox:
    """Return where a view lies in a picture that it fits into, centred, aspect ratio kept.

    :param size: width, height of the picture.
    """
    width, height = view.x1 - view.x0, view.y1 - view.y0
    factor = min(size[0] / width, size[1] / height)
    new_width, new_height = max(1, round(width * factor)), max(1, round(height * factor))
    offset = (size[0] - new_width) // 2, (size[1] - new_height) // 2
    return Letterbox(view, (new_width / width, new_height / height), offset)


def letterbox(image: Image, view: View, size: tuple[int, int]) -> tuple[Image, Letterbox]:
    """Shrink or grow a view of a frame to fit a black picture, centred, aspect ratio kept.

    :param image: (h, w, 3) uint8.
    :param size: width, height of the picture.
    :return: (height, width, 3) uint8 in the same colour order, and the mapping back.
    """
    box = placed(view, size)
    (left, top), (width, height) = box.offset, box.inner
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    region = image[view.y0 : view.y1, view.x0 : view.x1]
    resized = cv2.resize(region, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + height, left : left + width] = resized[:, ::-1] if view.mirrored else resized
    return canvas, box


def _is_cut(boxes: Floats, view: View, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which boxes reach a border of the view that is not one of the frame, within a tenth of their side."""
    margin = 0.1 * (boxes[:, 2] - boxes[:, 0])
    width, height = frame_size
    cut = np.zeros(len(boxes), np.bool_)
    if view.x0 > 0:
        cut |= boxes[:, 0] < view.x0 + margin
    if view.y0 > 0:
        cut |= boxes[:, 1] < view.y0 + margin
    if view.x1 < width:
        cut |= boxes[:, 2] > view.x1 - margin
    if view.y1 < height:
        cut |= boxes[:, 3] > view.y1 - margin
    return cut
