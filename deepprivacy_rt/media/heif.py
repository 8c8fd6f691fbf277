"""Pictures in HEIF containers: HEIC, as telephones take them, and AVIF.

OpenCV reads no HEIC, and shows AVIF without the rotation that the file tells: a face lying on its side is not found.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import SourceError

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"}
_AVIF = {b"avif", b"avis"}
_MOST_BRANDS = 64


def brands(data: bytes) -> set[bytes]:
    """Return the brands that a file says it is of, none where it is no ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if len(data) < 16 or data[4:8] != b"ftyp":
        return set()
    (size,) = struct.unpack(">I", data[:4])
    end = min(size, len(data), 4 * _MOST_BRANDS)
    return {data[at : at + 4] for at in (8, *range(16, end - 3, 4))}


def decode_heif(data: bytes, most_pixels: int) -> NDArray[np.uint8] | None:
    """Return the main picture of a HEIC or AVIF file, upright, (h, w, 3) RGB or (h, w, 4) RGBA; None: it is neither.

    More than 8 bits per channel are reduced to 8. Raises SourceError where it is damaged, or larger than
    ``most_pixels``.
    """
    kinds = brands(data)
    if not kinds & (_AVIF | _HEIC):
        return None
    from PIL import Image, ImageOps  # takes a tenth of a second, and most pictures are none of these

    try:
        if kinds & _AVIF:
            opened = Image.open(io.BytesIO(data), formats=["AVIF"])
        else:
            import pi_heif

            # libheif turns it upright, and the EXIF orientation is set to 1.
            opened = pi_heif.open_heif(data)
        if opened.size[0] * opened.size[1] > most_pixels:
            raise SourceError(f"is larger than {most_pixels >> 20} megapixels")
        picture = ImageOps.exif_transpose(opened) if isinstance(opened, Image.Image) else opened.to_pillow()
        transparent = picture.has_transparency_data
        return np.array(picture.convert("RGBA" if transparent else "RGB"), np.uint8)
    except SourceError:
        raise
    except Exception as error:  # these libraries raise all kinds
        raise SourceError(f"cannot be decoded: {error}") from error
