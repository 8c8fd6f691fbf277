"""Pictures in and out: orientation, depth, transparency, and no EXIF that was not asked for."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_clips import gradient, safe
from numpy.typing import NDArray

from deepprivacy_rt.errors import SinkError, SourceError, UsageError
from deepprivacy_rt.media.exif import exif_orientation, jpeg_with_exif, kept_exif
from deepprivacy_rt.sinks.image import ImageSink
from deepprivacy_rt.sources.image import ImageSource
from deepprivacy_rt.types import Frame

RGB = gradient(48, 32)
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}
THUMBNAIL = b"\xff\xd8THUMBNAIL-OF-THE-REAL-FACE\xff\xd9"


def tiff_block(orientation: int = 1, order: str = "<") -> bytes:
    """Return EXIF as a camera writes it: maker and orientation, GPS and a maker note, and a thumbnail."""
    entries = [
        (0x010F, 2, 6, 200),
        (0x0112, 3, 1, orientation if order == "<" else orientation << 16),
        (0x8769, 4, 1, 120),
        (0x8825, 4, 1, 160),
    ]
    block = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(entries))
    block += b"".join(struct.pack(order + "HHII", *entry) for entry in entries) + struct.pack(order + "I", 80)
    thumbnail = struct.pack(order + "HHHIIHHIII", 2, 0x0201, 4, 1, 300, 0x0202, 4, 1, len(THUMBNAIL), 0)
    block = block.ljust(80, b"\0") + thumbnail
    exif = struct.pack(order + "HHHIIHHIII", 2, 0x927C, 7, len(THUMBNAIL), 400, 0x9003, 2, 20, 220, 0)
    block = block.ljust(120, b"\0") + exif
    gps = struct.pack(order + "HHHIII", 1, 0x0002, 5, 3, 260, 0)
    block = block.ljust(160, b"\0") + gps
    block = block.ljust(200, b"\0") + b"Nikon\0"
    block = block.ljust(220, b"\0") + b"2024:05:06 07:08:09\0"
    block = block.ljust(260, b"\0") + struct.pack(order + "6I", 48, 1, 51, 1, 30, 1)
    return block.ljust(300, b"\0") + THUMBNAIL.ljust(100, b"\0") + THUMBNAIL


def encoded(suffix: str, pixels: NDArray[np.generic]) -> bytes:
    done, data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return data.tobytes()


def read(path: Path) -> tuple[ImageSource, NDArray[np.uint8]]:
    with ImageSource(path) as source:
        (frame,) = source
    assert (frame.index, frame.pts) == (0, Fraction(0))
    return source, frame.image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_reads_every_format_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, RGB[..., ::-1]))
    source, image = read(path)
    assert np.abs(image.astype(int) - RGB).mean() < 3
    assert (source.info.width, source.info.height, source.info.channels, source.info.bits) == (48, 32, 3, 8)
    assert source.warnings == []


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_applies_the_orientation(tmp_path: Path, orientation: int, order: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with_exif(encoded(".jpg", RGB[..., ::-1]), tiff_block(orientation, order)))
    source, image = read(path)
    assert np.abs(image.astype(int) - UPRIGHT[orientation](RGB)).mean() < 3
    assert source.info.exif_orientation == orientation


def test_finds_the_orientation_in_png_webp_and_tiff() -> None:
    block = tiff_block(6)
    chunk = b"eXIf" + block
    png = encoded(".png", RGB)
    png = png[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
    webp = b"RIFF\0\0\0\0WEBP" + b"VP8X" + struct.pack("<I", 9) + bytes(10) + b"EXIF" + struct.pack("<I", len(block))
    assert [exif_orientation(data) for data in (png, webp + block, block, b"", b"\xff\xd8\xff\xe1")] == [6, 6, 6, 1, 1]


@pytest.mark.parametrize("cut", range(0, 330, 7))
def test_damaged_exif_means_upright_or_the_truth(cut: int) -> None:
    assert exif_orientation(jpeg_with_exif(b"\xff\xd8\xff\xda", tiff_block(6)[:cut])) in (1, 6)


def test_reduces_depth_and_transparency(tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    deep.write_bytes(encoded(".png", RGB[..., ::-1].astype(np.uint16) * 257))
    source, image = read(deep)
    assert np.array_equal(image, RGB) and "16 bits per channel were reduced to 8" in source.warnings
    clear = tmp_path / "clear.png"
    alpha = np.full((32, 48, 1), 255, np.uint8)
    alpha[:, :24] = 0
    clear.write_bytes(encoded(".png", np.dstack([RGB[..., ::-1], alpha])))
    source, image = read(clear)
    assert (image[:, :24] == 255).all() and np.array_equal(image[:, 24:], RGB[:, 24:])
    assert "transparency was replaced by white" in source.warnings


@pytest.mark.parametrize(("data", "cause"), [(b"", "empty"), (b"no picture", "no picture"), (b"\xff\xd8\xff", "is no")])
def test_refuses_what_is_no_picture(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=cause), ImageSource(path):
        pass


def _copy(source: Path, output: Path, **options: object) -> ImageSink:
    with ImageSource(source) as reader, ImageSink(output, reader.info, **options) as sink:
        for frame in reader:
            sink.write(safe(frame))
    return sink


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_writes_every_format_without_exif(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg_with_exif(encoded(".jpg", RGB[..., ::-1]), tiff_block(6)))
    output = tmp_path / f"b{suffix}"
    _copy(source, output)
    written = output.read_bytes()
    assert not any(secret in written for secret in (b"Nikon", b"2024:05:06", b"THUMBNAIL", b"Exif"))
    _, image = read(output)
    assert np.abs(image.astype(int) - np.rot90(RGB, -1)).mean() < 4
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", output.name}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_kept_metadata_has_no_thumbnail_and_no_orientation(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg_with_exif(encoded(".jpg", RGB[..., ::-1]), tiff_block(6)))
    output = tmp_path / f"b{suffix}"
    _copy(source, output, keep_metadata=True)
    written = output.read_bytes()
    assert b"Nikon" in written and b"2024:05:06" in written and struct.pack("<6I", 48, 1, 51, 1, 30, 1) in written
    assert b"THUMBNAIL" not in written
    assert exif_orientation(written) == 1
    _, image = read(output)
    assert np.abs(image.astype(int) - np.rot90(RGB, -1)).mean() < 4
    rebuilt = kept_exif(written)
    assert rebuilt is not None and kept_exif(rebuilt) == rebuilt, "the new block can be read again"


def test_grey_stays_grey(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(encoded(".png", RGB[..., 0]))
    _copy(source, tmp_path / "b.png")
    assert cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED).ndim == 2


def test_quality_counts_and_is_checked(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(encoded(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)))
    for quality in (20, 95):
        _copy(source, tmp_path / f"{quality}.jpg", quality=quality)
    assert (tmp_path / "95.jpg").stat().st_size > 2 * (tmp_path / "20.jpg").stat().st_size
    with pytest.raises(UsageError, match="between 1 and 100"):
        _copy(source, tmp_path / "b.jpg", quality=0)
    with pytest.raises(SinkError, match=r"unknown ending '\.xyz'"):
        _copy(source, tmp_path / "b.xyz")


def test_one_picture_and_no_more_or_less(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(encoded(".png", RGB))
    output = tmp_path / "b.png"
    frame = safe(Frame(RGB, 0, Fraction(0)))
    with ImageSource(source) as reader:
        with pytest.raises(SinkError, match="one frame only"), ImageSink(output, reader.info) as sink:
            sink.write(frame)
            sink.write(frame)
        with pytest.raises(SinkError, match="no picture came"), ImageSink(output, reader.info):
            pass
        with pytest.raises(SinkError, match="is the input itself"), ImageSink(source, reader.info, overwrite=True):
            pass
    assert list(tmp_path.iterdir()) == [source]
