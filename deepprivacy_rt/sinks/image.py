"""An anonymized picture into a picture file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.media.container import reason, shown
from deepprivacy_rt.media.exif import jpeg_with_exif, kept_exif, png_with_exif
from deepprivacy_rt.media.heif import brands
from deepprivacy_rt.media.info import ImageInfo
from deepprivacy_rt.sinks.pending import PendingFile
from deepprivacy_rt.types import SafeFrame

_DEFAULT_QUALITY = 95
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".webp": "webp"}
_FORMATS |= {".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff", ".avif": "avif", ".jp2": "jp2"}


class ImageSink:
    """Writes one frame as JPEG, PNG, WebP, BMP, TIFF, AVIF or JPEG 2000, 8 bits per channel, without any metadata.

    The file appears under its name when it is complete; on an exception nothing is left behind.

    :ivar notes: what was changed or dropped, one line each; complete after ``__exit__``.
    """

    def __init__(
        self,
        path: Path,
        source: ImageInfo,
        *,
        quality: int | None = None,
        keep_metadata: bool = False,
        overwrite: bool = False,
    ) -> None:
        """
        :param path: output; its ending chooses the format.
        :param source: facts about the input.
        :param quality: 1 to 100, higher is better, for JPEG, WebP and AVIF.
        :param keep_metadata: True takes the EXIF tags along (JPEG and PNG), but never thumbnails, maker notes or the
            orientation, which is applied already.
        :param overwrite: True replaces an existing file, but never the input.
        :raises SinkError: the ending is unknown.
        :raises UsageError: the quality is out of range.
        """
        suffix = path.suffix.strip().lower()
        if suffix not in _FORMATS:
            raise SinkError(f"{shown(path)}: unknown ending {suffix!r}; use one of {' '.join(sorted(_FORMATS))}")
        if quality is not None and not 1 <= quality <= 100:
            raise UsageError(f"the quality of a picture must lie between 1 and 100 (best), not {quality}")
        self.path = path
        self.notes: list[str] = []
        self._source = source
        self._kind = _FORMATS[suffix]
        self._quality = _DEFAULT_QUALITY if quality is None else quality
        self._keep_metadata = keep_metadata
        self._overwrite = overwrite
        self._written = False
        self._pending: PendingFile

    def __enter__(self) -> ImageSink:
        """Create the temporary file. Raises SinkError."""
        self._pending = PendingFile(self.path, self._source.path, self._overwrite)
        return self

    def __exit__(self, kind: object = None, *rest: object) -> None:
        """Give the file its name; after an exception, or without a frame, remove it. Raises SinkError."""
        if kind is None and self._written:
            self._pending.commit()
            return
        self._pending.discard()
        if kind is None:
            raise SinkError(f"{shown(self.path)}: no picture came to be written")

    def write(self, frame: SafeFrame) -> None:
        """Encode the picture. Raises SinkError, also for a second one."""
        if self._written:
            raise SinkError(f"{shown(self.path)}: a picture file holds one frame only")
        try:
            self._pending.file.write(self._encoded(frame))
        except (OSError, cv2.error) as error:
            raise SinkError(f"{shown(self.path)}: cannot be written: {reason(error)}") from error
        self._written = True

    def remove_unfinished(self) -> None:
        """Remove the temporary file of an entered sink, for a process that is ended while :meth:`write` hangs."""
        self._pending.remove()

    def _encoded(self, frame: SafeFrame) -> bytes:
        settings = {
            "jpeg": [cv2.IMWRITE_JPEG_QUALITY, self._quality],
            "webp": [cv2.IMWRITE_WEBP_QUALITY, self._quality],
            "avif": [cv2.IMWRITE_AVIF_QUALITY, self._quality],
        }
        pixels = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        if self._source.channels == 1 and np.array_equal(pixels, np.repeat(pixels[..., :1], 3, axis=2)):
            pixels = pixels[..., 0]
        suffix = ".jpg" if self._kind == "jpeg" else f".{self._kind}"
        done, data = cv2.imencode(suffix, pixels, settings.get(self._kind, []))
        if not done:
            raise SinkError(f"{shown(self.path)}: {self._kind} cannot hold this picture")
        return self._with_metadata(data.tobytes())

    def _with_metadata(self, data: bytes) -> bytes:
        if not self._keep_metadata:
            return data
        original = self._source.path.read_bytes()
        if brands(original):
            self.notes.append("EXIF tags were dropped: they are not read from HEIC and AVIF")
            return data
        exif = kept_exif(original)
        if exif and self._kind == "jpeg":
            return jpeg_with_exif(data, exif)
        if exif and self._kind == "png":
            return png_with_exif(data, exif)
        if exif:
            self.notes.append(f"EXIF tags were dropped: they are not written into {self._kind}")
        return data
