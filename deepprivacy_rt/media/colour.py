"""Between YCbCr planes and RGB, exact to rounding, for every usual matrix, range and depth.

OpenCV's own I420 conversion knows BT.601 limited range only, and swscale's fast path truncates (the picture comes out
one level darker), so the affine map is applied with ``cv2.transform``, which rounds. Chroma is repeated on the way to
RGB and averaged on the way back: pixels that nobody touched return to the very same samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from deepprivacy_rt.types import Image

FULL_RANGE, LIMITED_RANGE, UNSPECIFIED = 2, 1, 2
MATRIX_RGB, MATRIX_BT709, MATRIX_BT601 = 0, 1, 6
_LUMA_WEIGHTS = {  # ITU-T H.273, table 4: Kr, Kb
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_PLANAR = re.compile(r"(?:yuv(?P<j>j)?a?(?P<chroma>420|422|444)p|gray)(?P<bits>\d+)?(?:le)?")
_ACCURATE = Interpolation.POINT | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True, slots=True)
class ColourTags:
    """Colour description with the code points of ITU-T H.273; 2 is "unspecified", range 0 is "unspecified".

    :ivar range: 1 limited ("TV"), 2 full ("PC").
    """

    range: int = 0
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


class PlanarFormat(NamedTuple):
    """Layout of a planar YCbCr (or grey) pixel format.

    :ivar across: luma samples per chroma sample horizontally, 1 or 2; 0 for grey.
    :ivar down: the same vertically.
    """

    across: int
    down: int
    bits: int
    full: bool


def planar_format(name: str) -> PlanarFormat | None:
    """Describe FFmpeg's pixel format, or None where it is no planar little-endian YCbCr or grey."""
    match = _PLANAR.fullmatch(name)
    if match is None:
        return None
    across, down = {"420": (2, 2), "422": (2, 1), "444": (1, 1), None: (0, 0)}[match["chroma"]]
    return PlanarFormat(across, down, int(match["bits"] or 8), bool(match["j"]))


def tags_of(frame: av.VideoFrame, stream: av.VideoStream) -> ColourTags:
    """Read the tags of a decoded frame; what it leaves open is taken from the container."""
    context = stream.codec_context

    def pick(name: str, nothing: int) -> int:
        value = int(getattr(frame, name))
        return value if value != nothing else int(getattr(context, name))

    tags = ColourTags(
        pick("color_range", 0),
        pick("colorspace", UNSPECIFIED),
        pick("color_primaries", UNSPECIFIED),
        pick("color_trc", UNSPECIFIED),
    )
    layout = planar_format(frame.format.name)
    return replace(tags, range=FULL_RANGE) if layout and layout.full else tags


def rgb_to_yuv_matrix(tags: ColourTags, height: int) -> NDArray[np.float64]:
    """Return the (3, 4) affine map from 8-bit RGB to 8-bit YCbCr (ITU-R BT.601, BT.709, BT.2020; H.273 section 8.3).

    An unspecified matrix is BT.709 from 720 lines on and BT.601 below, as players assume.
    """
    fallback = MATRIX_BT709 if height >= 720 else MATRIX_BT601
    red, blue = _LUMA_WEIGHTS.get(tags.matrix, _LUMA_WEIGHTS[fallback])
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    cr = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    if tags.range == FULL_RANGE:
        return np.column_stack([np.stack([luma, cb, cr]), [0, 128, 128]])
    scaled = np.stack([luma * 219 / 255, cb * 224 / 255, cr * 224 / 255])
    return np.column_stack([scaled, [16, 128, 128]])


def to_rgb(frame: av.VideoFrame, tags: ColourTags) -> Image:
    """Convert a decoded frame of any pixel format to (h, w, 3) uint8 RGB, stored orientation; alpha is ignored."""
    layout = planar_format(frame.format.name)
    if layout is None or tags.matrix == MATRIX_RGB:
        return _swscale_to_rgb(frame, tags)
    planes = [_samples(plane, layout) for plane in frame.planes[: 3 if layout.across else 1]]
    full = tags.range == FULL_RANGE
    luma = _to_8_bits(planes[0], layout.bits, full, chroma=False)
    height, width = luma.shape
    if layout.across:
        chroma = [_to_8_bits(plane, layout.bits, full, chroma=True) for plane in planes[1:]]
        cb, cr = (_repeat(plane, layout)[:height, :width] for plane in chroma)
    else:
        cb = cr = np.full_like(luma, 128)
    forward = rgb_to_yuv_matrix(tags, height)
    inverse = np.linalg.inv(forward[:, :3])
    backward = np.column_stack([inverse, -inverse @ forward[:, 3]])
    rgb: Image = cv2.transform(cv2.merge((luma, cb, cr)), backward.astype(np.float32))
    return rgb


def from_rgb(image: Image, pixel_format: str, tags: ColourTags) -> av.VideoFrame:
    """Convert (h, w, 3) uint8 RGB to a frame of a pixel format, with the matrix and range of ``tags``, tagged so."""
    layout = planar_format(pixel_format)
    if layout is None or layout.bits != 8 or not layout.across:
        return _swscale_from_rgb(image, pixel_format, tags)
    height, width = image.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    ycc = cv2.transform(image, rgb_to_yuv_matrix(tags, height).astype(np.float32))
    luma, *chroma = cv2.split(ycc)
    _store(frame.planes[0], luma)
    for plane, samples in zip(frame.planes[1:3], chroma, strict=True):
        _store(plane, _average(samples, layout))
    _tag(frame, tags)
    return frame


def _samples(plane: av.video.plane.VideoPlane, layout: PlanarFormat) -> NDArray[np.generic]:
    dtype = np.dtype(np.uint8 if layout.bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return rows[:, : plane.width]


def _store(plane: av.video.plane.VideoPlane, samples: NDArray[np.uint8]) -> None:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    rows[:, : plane.width] = samples


def _to_8_bits(samples: NDArray[np.generic], bits: int, full: bool, chroma: bool) -> NDArray[np.uint8]:
    if bits == 8:
        return samples  # type: ignore[return-value]
    scale = 255 / (2**bits - 1) if full else 2.0 ** (8 - bits)
    shift = 128 - 2 ** (bits - 1) * scale if chroma else 0.0
    reduced: NDArray[np.uint8] = cv2.convertScaleAbs(samples, alpha=scale, beta=shift)
    return reduced


def _repeat(plane: NDArray[np.uint8], layout: PlanarFormat) -> NDArray[np.uint8]:
    """Repeat chroma samples, (h, w) to (down * h, across * w). Writing pairs as 16-bit words is 5 times cv2.resize."""
    height, width = plane.shape
    if layout.across == 1:
        return plane
    grown = np.empty((height * layout.down, width * 2), np.uint8)
    words = grown.view(np.uint16).reshape(height, layout.down, width)
    np.multiply(plane, np.uint16(0x0101), out=words[:, 0], dtype=np.uint16)
    if layout.down == 2:
        words[:, 1] = words[:, 0]
    return grown


def _average(plane: NDArray[np.uint8], layout: PlanarFormat) -> NDArray[np.uint8]:
    """Average chroma samples, the inverse of :func:`_repeat`; an odd edge is repeated first."""
    if layout.across == 1:
        return plane
    height, width = plane.shape
    down = layout.down
    if height % down or width % 2:
        plane = cv2.copyMakeBorder(plane, 0, height % down, 0, width % 2, cv2.BORDER_REPLICATE)
        height, width = plane.shape
    averaged: NDArray[np.uint8] = cv2.resize(plane, (width // 2, height // down), interpolation=cv2.INTER_AREA)
    return averaged


def _tag(frame: av.VideoFrame, tags: ColourTags) -> None:
    frame.color_range, frame.colorspace = tags.range, tags.matrix
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer


def _swscale_matrix(tags: ColourTags, height: int) -> int:
    known = tags.matrix if tags.matrix in _LUMA_WEIGHTS else (MATRIX_BT709 if height >= 720 else MATRIX_BT601)
    return {6: 5, 10: 9}.get(known, known)


def _swscale_to_rgb(frame: av.VideoFrame, tags: ColourTags) -> Image:
    converted = VideoReformatter().reformat(
        frame,
        format="rgb24",
        src_colorspace=_swscale_matrix(tags, frame.height),
        src_color_range=tags.range or (FULL_RANGE if frame.format.is_rgb else LIMITED_RANGE),
        dst_color_range=FULL_RANGE,
        interpolation=_ACCURATE,
        threads=1,
    )
    return np.ascontiguousarray(converted.to_ndarray())


def _swscale_from_rgb(image: Image, pixel_format: str, tags: ColourTags) -> av.VideoFrame:
    frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24")
    frame.color_range = FULL_RANGE
    is_rgb = av.VideoFormat(pixel_format).is_rgb
    converted = VideoReformatter().reformat(
        frame,
        format=pixel_format,
        dst_colorspace=None if is_rgb else _swscale_matrix(tags, image.shape[0]),
        src_color_range=FULL_RANGE,
        dst_color_range=FULL_RANGE if is_rgb else tags.range or LIMITED_RANGE,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    )
    _tag(converted, tags)
    return converted
