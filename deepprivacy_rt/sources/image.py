"""The one frame of a picture file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.container import check_regular, reason, shown
from deepprivacy_rt.media.exif import exif_orientation
from deepprivacy_rt.media.heif import decode_heif
from deepprivacy_rt.media.info import ImageInfo
from deepprivacy_rt.media.orientation import Orientation
from deepprivacy_rt.types import Frame, Image

_KINDS = "JPEG, PNG, WebP, BMP, TIFF, HEIC, AVIF, JPEG 2000"
MAX_PIXELS = 1 << 28
"""Pictures above 268 megapixels are refused, before a decompression bomb fills the memory."""


class ImageSource:
    """Reads a JPEG, PNG, WebP, BMP, TIFF, HEIC, AVIF or JPEG 2000 file as one upright RGB frame at time 0.

    The EXIF orientation is applied, 16 bits per channel are reduced to 8, grey becomes RGB, and transparent pixels
    are shown over white (the colours hidden under full transparency are never read out). Of several pages the first.

    :ivar info: facts about the picture; there after ``__enter__``.
    :ivar warnings: what was changed on reading, one line each.
    """

    info: ImageInfo

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._image: Image | None = None

    def __enter__(self) -> ImageSource:
        check_regular(self.path)
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise SourceError(f"{shown(self.path)}: cannot be read: {reason(error)}") from error
        pixels = self._decoded(data)
        exif = exif_orientation(data)
        image = Orientation.from_exif(exif).upright(self._to_rgb(pixels))
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        self.info = ImageInfo(self.path, image.shape[1], image.shape[0], exif, channels, pixels.dtype.itemsize * 8)
        self._image = image
        return self

    def __exit__(self, *exc: object) -> None:
        self._image = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the picture."""
        if self._image is not None:
            yield Frame(self._image, 0, Fraction(0))

    def _decoded(self, data: bytes) -> NDArray[np.generic]:
        """Return grey, BGR or BGRA; not upright where there is an EXIF orientation that ``exif_orientation`` reads."""
        try:
            found = decode_heif(data, MAX_PIXELS)
        except SourceError as error:
            raise SourceError(f"{shown(self.path)}: {error}") from error
        if found is None:
            return self._by_opencv(data)
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_RGBA2BGRA if found.shape[2] == 4 else cv2.COLOR_RGB2BGR))

    def _by_opencv(self, data: bytes) -> NDArray[np.generic]:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels: NDArray[np.generic] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except (cv2.error, MemoryError) as error:
            raise SourceError(f"{shown(self.path)}: cannot be decoded: {reason(error)}") from error
        if pixels is None:
            raise SourceError(f"{shown(self.path)}: is no picture that can be read ({_KINDS}), or damaged")
        if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
            raise SourceError(f"{shown(self.path)}: is larger than {MAX_PIXELS >> 20} megapixels")
        return pixels

    def _to_rgb(self, pixels: NDArray[np.generic]) -> Image:
        if pixels.dtype != np.uint8:
            self.warnings.append(f"{pixels.dtype.itemsize * 8} bits per channel were reduced to 8")
            pixels = _to_8_bits(pixels)
        if pixels.ndim == 2:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
        if pixels.shape[2] == 4:
            pixels = _over_white(pixels)
            self.warnings.append("transparency was replaced by white")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _to_8_bits(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    if pixels.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / 65535))
    scaled = np.nan_to_num(pixels.astype(np.float32)) * (255 if np.issubdtype(pixels.dtype, np.floating) else 1)
    return np.asarray(scaled.clip(0, 255).round(), np.uint8)


def _over_white(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    alpha = pixels[..., 3:].astype(np.uint16)
    blended = (pixels[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha) + 127) // 255
    return np.asarray(blended, np.uint8)
