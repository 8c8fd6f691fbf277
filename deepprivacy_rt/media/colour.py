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
from av.video.reformatter import VideoReformatter
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
# libswscale's flags, as numbers: PyAV has names for the last two from version 18 on only, which needs Python 3.11.
_POINT, _AREA, _FULL_CHROMA, _ACCURATE_ROUNDING = 0x10, 0x20, 0x2000, 0x40000
_ACCURATE = _POINT | _ACCURATE_ROUNDING | _FULL_CHROMA


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


class ToRgb:
    """Converts the frames of one stream. Keeps its working memory between calls: one thread at a time.

    Fresh memory for every step would cost more time in the kernel than the arithmetic takes.
    """

    def __init__(self) -> None:
        self._scratch = _Scratch()

    def __call__(self, frame: av.VideoFrame, tags: ColourTags) -> Image:
        """Return a decoded frame of any pixel format as new (h, w, 3) uint8 RGB; alpha is ignored."""
        layout = planar_format(frame.format.name)
        if layout is None or tags.matrix == MATRIX_RGB:
            return _swscale_to_rgb(frame, tags)
        planes = [_samples(plane, layout) for plane in frame.planes[: 3 if layout.across else 1]]
        full = tags.range == FULL_RANGE
        luma = _to_8_bits(planes[0], layout.bits, full, chroma=False)
        height, width = luma.shape
        if layout.across:
            cb, cr = (
                self._repeated(_to_8_bits(plane, layout.bits, full, chroma=True), layout, name)[:height, :width]
                for plane, name in zip(planes[1:], ("cb", "cr"), strict=True)
            )
        else:
            cb = cr = np.full_like(luma, 128)
        forward = rgb_to_yuv_matrix(tags, height)
        inverse = np.linalg.inv(forward[:, :3])
        backward = np.column_stack([inverse, -inverse @ forward[:, 3]])
        ycc = cv2.merge((luma, cb, cr), self._scratch.array("ycc", (height, width, 3)))
        rgb: Image = cv2.transform(ycc, backward.astype(np.float32))
        return rgb

    def _repeated(self, plane: NDArray[np.uint8], layout: PlanarFormat, name: str) -> NDArray[np.uint8]:
        """Repeat chroma, (h, w) to (down * h, across * w). Pairs as 16-bit words are 5 times as fast as cv2.resize."""
        height, width = plane.shape
        if layout.across == 1:
            return plane
        grown = self._scratch.array(name, (height * layout.down, width * 2))
        words = grown.view(np.uint16).reshape(height, layout.down, width)
        np.multiply(plane, np.uint16(0x0101), out=words[:, 0], dtype=np.uint16)
        if layout.down == 2:
            words[:, 1] = words[:, 0]
        return grown


class FromRgb:
    """Converts pictures for one encoder. Keeps its working memory between calls: one thread at a time."""

    def __init__(self) -> None:
        self._scratch = _Scratch()

    def __call__(self, image: Image, pixel_format: str, tags: ColourTags) -> av.VideoFrame:
        """Return (h, w, 3) uint8 RGB as a new frame, with the matrix and range of ``tags``, and tagged so."""
        layout = planar_format(pixel_format)
        if layout is None or layout.bits != 8 or not layout.across:
            return _swscale_from_rgb(image, pixel_format, tags)
        height, width = image.shape[:2]
        frame = av.VideoFrame(width, height, pixel_format)
        ycc = self._scratch.array("ycc", image.shape)
        cv2.transform(image, rgb_to_yuv_matrix(tags, height).astype(np.float32), ycc)
        luma, cb, cr = (_samples(plane, layout) for plane in frame.planes[:3])
        if layout.across == 1:
            cv2.split(ycc, [luma, cb, cr])
        else:
            whole = [self._scratch.array(name, (height, width)) for name in ("cb", "cr")]
            cv2.split(ycc, [luma, *whole])
            for samples, reduced in zip(whole, (cb, cr), strict=True):
                _average(samples, np.asarray(reduced, np.uint8), layout.down)
        _tag(frame, tags)
        return frame


class _Scratch:
    """Arrays that are used again as long as their shape stays."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.empty(shape, np.uint8)
        return array


def _samples(plane: av.video.plane.VideoPlane, layout: PlanarFormat) -> NDArray[np.generic]:
    """View the samples of a plane, (h, w); writing to them writes to the frame."""
    dtype = np.dtype(np.uint8 if layout.bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return rows[:, : plane.width]


def _to_8_bits(samples: NDArray[np.generic], bits: int, full: bool, chroma: bool) -> NDArray[np.uint8]:
    if bits == 8:
        return samples  # type: ignore[return-value]
    scale = 255 / (2**bits - 1) if full else 2.0 ** (8 - bits)
    shift = 128 - 2 ** (bits - 1) * scale if chroma else 0.0
    reduced: NDArray[np.uint8] = cv2.convertScaleAbs(samples, alpha=scale, beta=shift)
    return reduced


def _average(plane: NDArray[np.uint8], reduced: NDArray[np.uint8], down: int) -> None:
    """Average pairs (or blocks of four) of chroma samples into ``reduced``; an odd edge is repeated first."""
    height, width = plane.shape
    if height % down or width % 2:
        plane = cv2.copyMakeBorder(plane, 0, height % down, 0, width % 2, cv2.BORDER_REPLICATE)
    cv2.resize(plane, reduced.shape[::-1], dst=reduced, interpolation=cv2.INTER_AREA)


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
        interpolation=_AREA | _ACCURATE_ROUNDING | _FULL_CHROMA,
        threads=1,
    )
    _tag(converted, tags)
    return converted
