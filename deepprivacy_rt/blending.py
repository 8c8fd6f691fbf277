"""Pasting generated pixels over the fill.

The blender has never seen an original: it knows the erased frame and the generated patches only. Inside a cover it
puts generated pixels at full strength; the soft edge lies outside of the cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.diffusion import diffused
from deepprivacy_rt.types import Affine, FacePatch, Image, Points, Replacement, SafeFrame, is_image_of

Strength: TypeAlias = NDArray[np.uint8]
"""(h, w) uint8: how much of the generated pixels there is, 255 for nothing else."""

FEATHER = 0.05
"""Width of the soft edge outside of a cover, as a part of the patch side."""
_SUBPIXEL_BITS = 4
_SLOPE_CELLS = 6
"""Cells that the soft edge spans."""
COLOR_CELLS = 16
LARGEST_COLOR_SHIFT = 64.0
FADE = 4
"""Patch pixels at the border of a patch over which it fades out, where a cover is larger than its patch."""


class _Region(NamedTuple):
    """Rows and columns of a frame: left, top, right, bottom, the last two exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int


class PatchBlender:
    """Pastes patches with a soft edge and matched colours. Implements :class:`deepprivacy_rt.stages.Blender`.

    Works on the region around each face only. The patch is resampled once, to the resolution of the frame.
    """

    def __init__(self, feather: float = FEATHER) -> None:
        """:param feather: width of the soft edge outside of the cover, as a part of the patch side, 0 to 0.2."""
        if not 0.0 <= feather <= 0.2:
            raise ValueError(f"feather must lie in 0..0.2, not {feather}")
        self._feather = feather

    def paste(self, safe: SafeFrame, replacements: Sequence[Replacement]) -> SafeFrame:
        """Return a new frame with the replacements pasted in the order given.

        Inside the cover a pixel is the fill or generated, never anything else. A replacement that is not uint8 of its
        patch's shape, or is one flat colour all over although the patch shows surroundings (what a failed network
        gives), is left out: its face stays filled.
        """
        image = safe.image.copy()
        for replacement in replacements:
            if is_usable(replacement):
                self._paste_one(image, replacement)
        return SafeFrame(image=image, cover=safe.cover, index=safe.index, pts=safe.pts)

    def _paste_one(self, image: Image, replacement: Replacement) -> None:
        patch = replacement.patch
        scale = math.hypot(patch.transform[0, 0], patch.transform[1, 0])
        feather = self._feather * patch.image.shape[0] / scale
        region = _region(patch.outline, feather, image)
        if region is None:
            return
        strength = _faded_at_patch_border(_strength(patch.outline, feather, region), patch, feather, region)
        generated = _resampled(_color_matched(replacement), replacement.transform, scale * replacement.zoom, region)
        _blend(generated, image[region.y0 : region.y1, region.x0 : region.x1], strength)


def is_usable(replacement: Replacement) -> bool:
    """Say whether a replacement can be pasted, without trust in how it was made."""
    image = replacement.image
    if not is_image_of(image, replacement.patch):
        return False
    color = image[0, 0]
    return bool((image[::8, ::8] != color).any() or (image != color).any() or replacement.patch.mask.all())


def _region(outline: Points, feather: float, image: Image) -> _Region | None:
    """Return the part of the frame that a face and its soft edge touch, or None."""
    reach = 1.1 * feather + 2
    low, high = outline.min(axis=0) - reach, outline.max(axis=0) + reach + 1
    height, width = image.shape[:2]
    x0, y0 = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
    x1, y1 = min(width, math.ceil(high[0])), min(height, math.ceil(high[1]))
    return _Region(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _strength(outline: Points, feather: float, region: _Region) -> Strength:
    """Return (h, w) uint8 over the region: 255 in the outline, falling to 0 over ``feather`` pixels outside of it."""
    inside = _filled(outline, region, 1, cv2.LINE_8)
    if feather < 1.0:
        return inside
    # The slope is drawn in coarse cells: it needs no finer ones.
    cell = max(1, round(feather / _SLOPE_CELLS))
    width = max(3, 2 * round((feather / cell / 2 - 1) / 2) + 1)  # odd: an even one would move the picture
    center = outline.mean(axis=0)
    radius = float(np.hypot(*(outline - center).T).mean())
    wider = _filled(center + (outline - center) * (1.0 + (feather - cell) / (2 * radius)), region, cell, cv2.LINE_AA)
    soft = cv2.blur(cv2.blur(wider, (width, width)), (width, width))
    height, width = inside.shape
    large = cv2.resize(soft, (soft.shape[1] * cell, soft.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.max(large[:height, :width], inside))


def _filled(outline: NDArray[np.floating], region: _Region, cell: int, line: int) -> Strength:
    """Draw the polygon into the region, in square cells of so many pixels; ``line``: OpenCV's kind of edge."""
    canvas = np.zeros((math.ceil((region.y1 - region.y0) / cell), math.ceil((region.x1 - region.x0) / cell)), np.uint8)
    # Pixel centres: full = (cells + 0.5) * cell - 0.5
    points = (outline - (region.x0, region.y0) + 0.5) / cell - 0.5
    cv2.fillPoly(canvas, [np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)], 255, line, _SUBPIXEL_BITS)
    return canvas


def _faded_at_patch_border(strength: Strength, patch: FacePatch, feather: float, region: _Region) -> Strength:
    """Return the strength, falling to 0 where the patch ends before the cover or its soft edge does."""
    size, matrix = patch.image.shape[0], patch.transform
    reach = patch.outline @ matrix[:, :2].T + matrix[:, 2]
    margin = FADE + feather * math.hypot(matrix[0, 0], matrix[1, 0])
    if reach.min() >= margin and reach.max() <= size - 1 - margin:
        return strength
    distance = np.minimum(np.arange(size), np.arange(size)[::-1])
    ramp = np.minimum(np.minimum(distance[:, None], distance[None, :]) * (255 / FADE), 255).astype(np.uint8)
    inside = cv2.warpAffine(
        ramp,
        _into(matrix, region),
        (region.x1 - region.x0, region.y1 - region.y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    return np.asarray(cv2.multiply(strength, inside, scale=1 / 255))


def _blend(generated: Image, part: Image, strength: Strength) -> None:
    """Mix generated pixels into ``part``, in place.

    Both products are rounded, so that a mixture may be one level off; at strength 255 and 0 nothing is. Products of
    bytes are twice as fast as ``cv2.blendLinear``, which computes in float.
    """
    here = cv2.merge((strength, strength, strength))
    ours = cv2.multiply(generated, here, scale=1 / 255)
    theirs = cv2.multiply(part, cv2.bitwise_not(here), scale=1 / 255)
    part[:] = cv2.add(ours, theirs)


def _color_matched(replacement: Replacement) -> Image:
    """Return the generated patch with the slow part of its difference to the surroundings added.

    The difference is known outside of the mask and spread smoothly over the inside, much like the membrane of Pérez
    et al., Poisson Image Editing, SIGGRAPH 2003.
    """
    patch, generated = replacement.patch, replacement.image
    known = (~patch.mask).view(np.uint8)
    size, own = patch.image.shape[0], generated.shape[0]
    same = generated if own == size else cv2.resize(generated, (size, size), interpolation=cv2.INTER_AREA)
    difference = cv2.subtract(patch.image, same, mask=known, dtype=cv2.CV_32F)
    shift = diffused(difference, known.astype(np.float32), min(COLOR_CELLS, size))
    if shift is None:
        return generated
    np.clip(shift, -LARGEST_COLOR_SHIFT, LARGEST_COLOR_SHIFT, out=shift)
    wide = cv2.resize(shift, (own, own), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(generated, wide, dtype=cv2.CV_8U))


def _resampled(image: Image, transform: Affine, scale: float, region: _Region) -> Image:
    """Return a patch's picture as seen in a region of the frame: bicubic when enlarged, averaged when reduced.

    It is brought to the frame's resolution first and turned then: five times faster than a bicubic warp. Twice its own
    resolution is enough for that; bilinear taps between such pixels lose nothing to be seen (51 dB to a bicubic warp).
    """
    size = image.shape[0]
    wanted = min(max(2, round(size / scale)), 2 * size)
    if wanted != size:
        method = cv2.INTER_AREA if wanted < size else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, (wanted, wanted), interpolation=method))
    ratio = wanted / size
    matrix = _into(transform, region) * ratio
    # Pixel centres: resized = (original + 0.5) * ratio - 0.5
    matrix[:, 2] += 0.5 * ratio - 0.5
    shape = (region.x1 - region.x0, region.y1 - region.y0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # Nothing is seen of what lies outside of the patch, and any other border takes half as long again.
    return np.asarray(cv2.warpAffine(image, matrix, shape, flags=flags, borderMode=cv2.BORDER_CONSTANT))


def _into(transform: Affine, region: _Region) -> Affine:
    """Return the map from the region's pixels to those that frame pixels are mapped to."""
    matrix = np.array(transform)
    matrix[:, 2] += transform[:, :2] @ np.array([region.x0, region.y0], dtype=np.float64)
    return matrix
