"""EXIF tags of picture files: the orientation, and a rebuilt block of harmless tags; the file is never trusted."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

_ORIENTATION = 0x0112
_SUB_DIRECTORIES = (0x8769, 0x8825)  # Exif, GPS
# Pictures, and blocks nobody can look into: strips, tiles, thumbnails, sub-images, maker note, user data, XMP, IPTC.
_DROPPED = {
    _ORIENTATION,
    0x0111,
    0x0117,
    0x0144,
    0x0145,
    0x014A,
    0x0201,
    0x0202,
    0x927C,
    0xA005,
    0x02BC,
    0x83BB,
    0x8649,
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_LARGEST_VALUE = 1024
_SHORT = 3


class _Entry(NamedTuple):
    tag: int
    kind: int
    number: int
    value: bytes


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of JPEG, PNG, WebP or TIFF bytes; 1 where there is none or it is damaged."""
    try:
        tiff = _tiff_block(data)
        entries = _directory(tiff, _first_offset(tiff)) if tiff else []
    except (struct.error, IndexError):
        return 1
    for entry in entries:
        if entry.tag == _ORIENTATION and entry.kind == _SHORT:
            (value,) = struct.unpack(_order(tiff or b"") + "H", entry.value[:2])
            return int(value) if 1 <= value <= 8 else 1
    return 1


def kept_exif(data: bytes) -> bytes | None:
    """Return a new TIFF block with the small tags of a picture file, or None where there are none.

    Left out: the orientation, thumbnails and every other picture, maker notes, XMP.
    """
    try:
        tiff = _tiff_block(data)
        if not tiff:
            return None
        entries = _directory(tiff, _first_offset(tiff))
        order = _order(tiff)
        subs = {
            entry.tag: _kept(_directory(tiff, struct.unpack(order + "I", entry.value[:4])[0]))
            for entry in entries
            if entry.tag in _SUB_DIRECTORIES
        }
    except (struct.error, IndexError):
        return None
    return _written(order, _kept(entries), subs)


def jpeg_with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    """Insert a TIFF block into JPEG bytes, as the first segment."""
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_with_exif(png: bytes, tiff: bytes) -> bytes:
    """Insert a TIFF block into PNG bytes, after the header chunk."""
    chunk = b"eXIf" + tiff
    place = 8 + 12 + 13
    return png[:place] + struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[place:]


def _tiff_block(data: bytes) -> bytes | None:
    """Return the TIFF structure that holds the EXIF tags."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    if data[:2] == b"\xff\xd8":
        return _from_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _from_chunks(data, 8, b"eXIf", ">I4s", 4)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _from_chunks(data, 12, b"EXIF", "<4sI", 0)
    return None


def _from_jpeg(data: bytes) -> bytes | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        if data[position + 1] == 0xE1 and body.startswith(b"Exif\0\0"):
            return body[6:]
        position += 2 + length
    return None


def _from_chunks(data: bytes, position: int, wanted: bytes, header: str, checksum: int) -> bytes | None:
    """Walk PNG or RIFF chunks, whose header holds a name and a length."""
    while position + 8 <= len(data):
        first, second = struct.unpack_from(header, data, position)
        name, length = (first, second) if isinstance(first, bytes) else (second, first)
        if name == wanted:
            body = data[position + 8 : position + 8 + length]
            return body[6:] if body.startswith(b"Exif\0\0") else body
        position += 8 + length + checksum
        if not checksum:
            position += length & 1
    return None


def _order(tiff: bytes) -> str:
    return "<" if tiff[:2] == b"II" else ">"


def _first_offset(tiff: bytes) -> int:
    return int(struct.unpack_from(_order(tiff) + "I", tiff, 4)[0])


def _directory(tiff: bytes, offset: int) -> list[_Entry]:
    order = _order(tiff)
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    entries = []
    for place in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, place)
        size = _SIZES.get(kind, 0) * number
        (pointer,) = struct.unpack_from(order + "I", tiff, place + 8)
        start = place + 8 if size <= 4 else pointer
        value = tiff[start : start + size]
        if size and len(value) == size:
            entries.append(_Entry(tag, kind, number, value))
    return entries


def _kept(entries: list[_Entry]) -> list[_Entry]:
    return [
        entry
        for entry in entries
        if entry.tag not in _DROPPED and entry.tag not in _SUB_DIRECTORIES and len(entry.value) <= _LARGEST_VALUE
    ]


def _written(order: str, entries: list[_Entry], subs: dict[int, list[_Entry]]) -> bytes | None:
    """Lay out a TIFF block: header, first directory, sub-directories, each followed by its long values."""
    if not entries and not any(subs.values()):
        return None
    pointers = [_Entry(tag, 4, 1, b"\0\0\0\0") for tag in subs]
    offset = 8 + len(_block(order, entries + pointers, 8))
    blocks = []
    for index, tag in enumerate(subs):
        pointers[index] = _Entry(tag, 4, 1, struct.pack(order + "I", offset))
        blocks.append(_block(order, subs[tag], offset))
        offset += len(blocks[-1])
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return header + _block(order, entries + pointers, 8) + b"".join(blocks)


def _block(order: str, entries: list[_Entry], offset: int) -> bytes:
    entries = sorted(entries)
    values_at = offset + 2 + 12 * len(entries) + 4
    table, values = struct.pack(order + "H", len(entries)), b""
    for entry in entries:
        table += struct.pack(order + "HHI", entry.tag, entry.kind, entry.number)
        if len(entry.value) <= 4:
            table += entry.value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", values_at + len(values))
            values += entry.value + b"\0" * (len(entry.value) % 2)
    return table + b"\0\0\0\0" + values
