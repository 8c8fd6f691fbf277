"""HEIC, AVIF and JPEG 2000: read upright, and written where that can be."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_helpers import QUICK, run
from media_clips import safe
from PIL import Image

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.heif import brands, decode_heif
from deepprivacy_rt.sinks.image import ImageSink
from deepprivacy_rt.sources import is_image
from deepprivacy_rt.sources.image import ImageSource

HERE = Path(__file__).parent
HEIC = HERE / "pictures" / "turned.heic"
FACE = HERE.parent / "deepprivacy_rt" / "bench" / "face.jpg"
ORIENTATION = 0x0112


def face() -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(FACE)), cv2.COLOR_BGR2RGB)[:160]


def read(path: Path) -> np.ndarray:
    with ImageSource(path) as source:
        [frame] = source
    return frame.image


@pytest.mark.parametrize("name", ["a.heic", "A.HEIF", "renamed.jpg"])
def test_a_picture_of_a_telephone_is_read_upright(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(HEIC.read_bytes())
    assert is_image(path)
    image = read(path)
    assert image.shape == face().shape and np.abs(image.astype(int) - face()).mean() < 3


@pytest.mark.parametrize(("orientation", "back"), [(1, 0), (6, 1), (3, 2), (8, 3)])
def test_an_avif_is_read_upright(tmp_path: Path, orientation: int, back: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "a.avif"
    Image.fromarray(np.ascontiguousarray(np.rot90(face(), back))).save(path, quality=90, exif=exif)
    image = read(path)
    assert image.shape == face().shape and np.abs(image.astype(int) - face()).mean() < 4


def test_what_is_transparent_is_seen_over_white(tmp_path: Path) -> None:
    pixels = np.dstack([face(), np.full(face().shape[:2], 255, np.uint8)])
    pixels[:, :80, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.avif", quality=95)
    with ImageSource(tmp_path / "a.avif") as source:
        [frame] = source
        assert source.warnings == ["transparency was replaced by white"] and source.info.channels == 4
    assert frame.image[:, :70].min() > 240


def test_damaged_and_huge_pictures_are_refused(tmp_path: Path) -> None:
    data = HEIC.read_bytes()
    for part in (data[:200], data[: len(data) // 2]):
        (tmp_path / "torn.heic").write_bytes(part)
        with pytest.raises(SourceError, match=r"torn\.heic"):
            read(tmp_path / "torn.heic")
    with pytest.raises(SourceError, match="larger"):
        decode_heif(data, 1000)
    assert decode_heif(FACE.read_bytes(), 1 << 20) is None


def test_brands_end_where_their_box_does() -> None:
    box = struct.pack(">I", 20) + b"ftypmif1\0\0\0\0heic" + b"avif"
    assert brands(box) == {b"mif1", b"heic"}
    assert brands(b"\xff" * 4 + box[4:]) == {b"mif1", b"heic", b"avif"}
    assert brands(b"\xff\xd8\xff\xe0") == brands(b"") == set()


@pytest.mark.parametrize("name", ["a.avif", "a.jp2"])
def test_pictures_are_written_as_they_came(tmp_path: Path, name: str) -> None:
    with ImageSource(FACE) as source, ImageSink(tmp_path / name, source.info) as sink:
        [frame] = source
        sink.write(safe(frame))
    image = read(tmp_path / name)
    assert image.shape == frame.image.shape and np.abs(image.astype(int) - frame.image).mean() < 4


def test_what_cannot_be_written_becomes_a_jpeg(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.heic").write_bytes(HEIC.read_bytes())
    done = run("anonymize", "in", "-o", "out", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.jpg"]
    image = read(tmp_path / "out" / "photo.jpg")
    assert (
        image.shape == face().shape and np.abs(image[40:120, 60:130].astype(int) - face()[40:120, 60:130]).mean() > 20
    )
    wrong = run("anonymize", "in/photo.heic", "-o", "out.heic", *QUICK, cwd=tmp_path)
    assert wrong.returncode != 0 and ".heic" in wrong.stderr
