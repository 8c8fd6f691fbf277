"""Erasing faces, and cutting aligned patches from what is left.

All geometry is expressed in *face units*: the origin is the centre of the (smoothed, BlazeFace) box, one unit is the
box's mean side, x runs along the line from the subject's right eye to the left one. In these coordinates the cover
is the same superellipse for every face, and so is the square patch around it; training and inference share both.

The order of operations is what makes the generator blind: the frame is erased first, at frame resolution and for all
faces at once, and patches are cut from the erased frame. No interpolation can carry an erased pixel into a patch.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.geometry import RegionGeometry, face_to_frame, frame_to_patch, transform_points
from deepprivacy_rt.types import Affine, FacePatch, FaceTrack, Frame, Image, Mask, Points, SafeFrame

_OUTLINE_POINTS = 64
_SUBPIXEL_BITS = 4
NO_COLOR = 128
_WIDER = 1.0
"""Patch pixels by which the mask is wider than the cover; half a pixel in training. More than one gives some faces a
dark rim, see docs/adr/0008."""
COLOR_ROWS = 100
"""Rows that are looked at for the colour around a face, about: more do not change it."""


class Region(enum.Enum):
    """How much is replaced."""

    FACE = "face"
    """Hairline to chin, cheek to cheek."""
    HEAD = "head"
    """Ears and hair too: they identify as well."""


# Read off BlazeFace boxes on the training images: the box spans mid-forehead to chin and ear to ear.
GEOMETRY: dict[Region, RegionGeometry] = {
    Region.FACE: RegionGeometry(center_y=-0.07, half_width=0.54, half_height=0.66, side=1.80),
    Region.HEAD: RegionGeometry(center_y=-0.21, half_width=0.80, half_height=0.83, side=2.60),
}


def unit_outline(geometry: RegionGeometry) -> NDArray[np.float64]:
    """Return the cover's outline in face units, (64, 2)."""
    t = np.linspace(0.0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    power = 2.0 / geometry.exponent
    x = geometry.half_width * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
    y = geometry.half_height * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power
    return np.stack([x, y + geometry.center_y], axis=1)


def unit_cover(geometry: RegionGeometry, size: int) -> Mask:
    """Return the cover on a patch, a little wider than its outline, (size, size)."""
    axis = np.abs(np.arange(size) - (size - 1) / 2) * (geometry.side / size)
    grow = _WIDER * geometry.side / size
    across = (axis / (geometry.half_width + grow)) ** geometry.exponent
    down = (axis / (geometry.half_height + grow)) ** geometry.exponent
    return np.asarray(down[:, None] + across[None] <= 1)


@dataclass(frozen=True, slots=True)
class PatchEdge:
    """A band of patch pixels around the cover, whose values are taken from just outside of it.

    :ivar band: (n,) places in the flattened patch. :ivar source: (n,) the nearest place beyond the band, for each.
    """

    band: NDArray[np.intp]
    source: NDArray[np.intp]

    @classmethod
    def around(cls, core: Mask, margin: int) -> PatchEdge:
        """:param core: (s, s) the cover, around which the band lies; where it fills the patch, there is no band."""
        distance = cv2.distanceTransform((~core).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        beyond = distance > margin
        if not beyond.any():
            return cls(np.zeros(0, np.intp), np.zeros(0, np.intp))
        _, labels = cv2.distanceTransformWithLabels(
            (~beyond).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        place = np.zeros(int(labels.max()) + 1, np.intp)
        place[labels[beyond]] = np.flatnonzero(beyond)
        band = ~core & ~beyond
        return cls(np.flatnonzero(band), place[labels[band]])

    def mend(self, image: Image, mask: Mask) -> None:
        """Fill the band, in place, wherever the pixel beyond it is known."""
        pixels, unknown = image.reshape(-1, 3), mask.reshape(-1)
        known = ~unknown[self.source]
        pixels[self.band[known]] = pixels[self.source[known]]
        unknown[self.band[known]] = False


class AlignedCropper:
    """Erases covers and cuts roll-aligned square patches (a :class:`deepprivacy_rt.stages.Cropper`)."""

    def __init__(self, patch_size: int, region: Region = Region.FACE) -> None:
        self._size = patch_size
        self._geometry = GEOMETRY[region]
        self._outline = unit_outline(self._geometry)
        self._core = unit_cover(self._geometry, patch_size)
        self._edges: dict[int, PatchEdge] = {}

    def outline(self, track: FaceTrack) -> Points:
        """Return the polygon around the track's cover in frame pixels, (64, 2) float32."""
        return transform_points(face_to_frame(track.box, track.keypoints), self._outline)

    def erase(self, frame: Frame, tracks: Sequence[FaceTrack]) -> SafeFrame:
        """Return a copy of the frame with every cover filled by the mean of the uncovered pixels around it."""
        image = frame.image.copy()
        cover = np.zeros(image.shape[:2], np.uint8)
        outlines = [self.outline(track) for track in tracks]
        polygons = [np.round(outline * (1 << _SUBPIXEL_BITS)).astype(np.int32) for outline in outlines]
        for polygon in polygons:
            cv2.fillPoly(cover, [polygon], 1, shift=_SUBPIXEL_BITS)
        for outline, polygon in zip(outlines, polygons, strict=True):
            # The same polygon covers the same pixels: what is covered is filled, by this face or by its neighbour.
            cv2.fillPoly(image, [polygon], _color_around(image, cover, outline), shift=_SUBPIXEL_BITS)
        return SafeFrame(image=image, cover=cover.view(np.bool_), index=frame.index, pts=frame.pts)

    def cut(self, safe: SafeFrame, track: FaceTrack) -> FacePatch:
        """Return the patch of one track. Raises StageError when the track's geometry is degenerate."""
        transform = frame_to_patch(self._geometry, track.box, track.keypoints, self._size)
        if not np.isfinite(transform).all():
            raise StageError(f"track {track.track_id}: degenerate face geometry")
        source, covered, reduced = self._reduce(safe, transform)
        size = (self._size, self._size)
        image = cv2.warpAffine(source, reduced, size, flags=cv2.INTER_LINEAR)
        # As float32, the least weight of a covered pixel still counts.
        unknown = cv2.warpAffine(
            covered, reduced, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0
        )
        mask = unknown > 0
        # What the frame's pixels leave of the cover's edge changes whenever the face moves, by a pixel here and there,
        # and the network answers with another face: docs/adr/0008. So it gets to see the same edge every time.
        if mask[self._size // 2, self._size // 2]:  # not in a frame that is shown without a cover
            self._edge(reach(transform)).mend(image, mask)
            mask |= self._core
        return FacePatch(
            track=track,
            image=cv2.copyTo(image, (~mask).view(np.uint8)),
            mask=mask,
            keypoints=transform_points(transform, track.keypoints),
            transform=transform,
            outline=self.outline(track),
        )

    def _edge(self, margin: int) -> PatchEdge:
        """Return the cover's edge on a patch, ``margin`` pixels wide; the same for every face."""
        if margin not in self._edges:
            self._edges[margin] = PatchEdge.around(self._core, margin)
        return self._edges[margin]

    def _reduce(self, safe: SafeFrame, transform: Affine) -> tuple[Image, NDArray[np.float32], Affine]:
        """Crop to the patch's surroundings and shrink by a whole factor, so that bilinear taps do not alias.

        :return: (h, w, 3) the picture; (h, w) above 0 where covered or outside of the frame; and its map to the patch.
        """
        inverse = cv2.invertAffineTransform(transform)
        last = float(self._size)
        corners = transform_points(inverse, np.array([[-1, -1], [last, -1], [last, last], [-1, last]]))
        height, width = safe.cover.shape
        factor = max(1, int(1.0 / np.hypot(transform[0, 0], transform[1, 0])))
        x0, y0 = np.clip(np.floor(corners.min(axis=0)) - factor, 0, [width - 1, height - 1]).astype(int)
        ends = np.maximum(np.ceil(corners.max(axis=0)) + factor + 1, [x0 + 1, y0 + 1])
        # In whole cells, which OpenCV averages ten times as fast; where the frame ends, it may not be.
        ends += ([x0, y0] - ends) % factor
        x1, y1 = np.minimum(ends, [width, height]).astype(int)
        image = safe.image[y0:y1, x0:x1]
        covered = safe.cover[y0:y1, x0:x1].view(np.uint8)
        moved = transform.copy()
        moved[:, 2] += transform[:, :2] @ np.array([x0, y0])
        if factor > 1:
            image, covered = _in_whole_cells(image, covered, factor)
            image = _means_of_cells(image, factor)
            covered = _any_in_cells(covered, factor)
            # Pixel centres: full = (small + 0.5) * factor - 0.5
            moved[:, 2] += moved[:, :2].sum(axis=1) * (0.5 * factor - 0.5)
            moved[:, :2] *= factor
        return image, covered.astype(np.float32), moved


def reach(transform: Affine) -> int:
    """Return how far beyond the mask, in patch pixels, a covered pixel of the frame can be seen.

    In few steps, for each is another edge: all faces of 72 pixels or more have the same in a patch of 128.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    # The edge of a polygon and a bilinear tap reach one pixel each. A frame that is shrunk by a whole factor has cells
    # of at most one patch pixel in place of pixels, and a cell reaches one more.
    return 2 if scale <= 1.0 else 2 * math.ceil(scale) - 1


def _color_around(image: Image, cover: NDArray[np.uint8], outline: Points) -> tuple[int, ...]:
    """Return the mean colour of the uncovered pixels around an outline; a grey where there are none."""
    height, width = cover.shape
    margin = 0.1 * float(np.ptp(outline[:, 0])) + 2
    x0, y0 = np.clip(np.floor(outline.min(axis=0) - margin), 0, [width, height]).astype(int)
    x1, y1 = np.clip(np.ceil(outline.max(axis=0) + margin) + 1, 0, [width, height]).astype(int)
    step = max(1, (y1 - y0) // COLOR_ROWS)
    known = cover[y0:y1:step, x0:x1] == 0
    if not known.any():
        return (NO_COLOR,) * 3
    return tuple(round(value) for value in cv2.mean(image[y0:y1:step, x0:x1], known.view(np.uint8))[:3])


def _in_whole_cells(image: Image, covered: NDArray[np.uint8], factor: int) -> tuple[Image, NDArray[np.uint8]]:
    """Extend both to multiples of ``factor``: the last pixels are repeated, each within its own cell."""
    down, across = -image.shape[0] % factor, -image.shape[1] % factor
    if not (down or across):
        return image, covered
    extend = (0, down, 0, across, cv2.BORDER_REPLICATE)
    return cv2.copyMakeBorder(image, *extend), cv2.copyMakeBorder(covered, *extend)


def _means_of_cells(image: Image, factor: int) -> Image:
    """Shrink by a whole factor, as long as possible by halves: OpenCV takes a third of the time for them."""
    while factor > 1:
        step = 2 if factor % 2 == 0 else factor
        size = (image.shape[1] // step, image.shape[0] // step)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        factor //= step
    return image


def _any_in_cells(covered: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Shrink by a whole factor: a cell of which any pixel is covered is covered, however thin the sliver."""
    rows = reduce(np.maximum, [covered[start::factor] for start in range(factor)])
    return reduce(np.maximum, [rows[:, start::factor] for start in range(factor)])
