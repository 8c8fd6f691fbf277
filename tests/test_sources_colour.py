"""Colours: against the formulas of the standards, and back again without loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_clips import Planes, pass_through, planes_of, read_planes, steady, write_clip
from numpy.typing import NDArray

from deepprivacy_rt.media.colour import ColourTags, FromRgb, ToRgb
from deepprivacy_rt.sources.file import FileSource

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
WIDTH, HEIGHT = 96, 64


def forward(rgb: NDArray[np.float64], matrix: int, full: bool, bits: int) -> NDArray[np.float64]:
    """ITU-R BT.601/709/2020 and H.273 (E-1 to E-12), written down once more: (h, w, 3) RGB 0..255 to YCbCr codes."""
    kr, kb = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb / 255, 2, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if full:
        top = 2**bits - 1
        return np.dstack([y * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)])
    unit = 2 ** (bits - 8)
    return np.dstack([(219 * y + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit])


def picture() -> NDArray[np.uint8]:
    """Return smooth random colours, constant in blocks of 2x2, so that reduced chroma loses nothing."""
    chance = np.random.default_rng(3)
    small = cv2.resize(chance.integers(20, 236, (5, 7, 3)).astype(np.uint8), (WIDTH // 2, HEIGHT // 2))
    return small.repeat(2, 0).repeat(2, 1)


def frame_of(pixel_format: str, matrix: int, full: bool) -> tuple[av.VideoFrame, NDArray[np.uint8]]:
    """Return a frame whose samples are rounded from the formulas, and the RGB picture it stands for."""
    rgb = picture()
    bits = 10 if "10" in pixel_format else 8
    codes = np.rint(forward(rgb.astype(float), matrix, full, bits))
    frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
    dtype = np.uint16 if bits > 8 else np.uint8
    for plane, channel in zip(frame.planes, np.moveaxis(codes, 2, 0), strict=True):
        across, down = WIDTH // plane.width, HEIGHT // plane.height
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = channel[::down, ::across]
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame, rgb


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS, ids=["bt709", "bt601", "bt2020"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_decodes_to_the_standard(pixel_format: str, matrix: int, full: bool) -> None:
    frame, rgb = frame_of(pixel_format, matrix, full)
    decoded = ToRgb()(frame, ColourTags(2 if full else 1, matrix))
    difference = decoded.astype(int) - rgb
    assert np.abs(difference).max() <= 2
    assert np.abs(difference.mean()) < 0.15, "no drift to dark or bright"


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS, ids=["bt709", "bt601", "bt2020"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_untouched_samples_come_back(pixel_format: str, matrix: int, full: bool) -> None:
    frame, _ = frame_of(pixel_format, matrix, full)
    tags = ColourTags(2 if full else 1, matrix)
    again = FromRgb()(ToRgb()(frame, tags), pixel_format, tags)
    assert (again.colorspace, again.color_range) == (matrix, tags.range)
    for before, after in zip(planes_of(frame), planes_of(again), strict=True):
        difference = np.abs(before.astype(int) - after.astype(int))
        assert difference.max() <= 1 + (matrix == 9) and difference.mean() < 0.1


def test_working_memory_is_never_handed_out() -> None:
    """A picture that was delivered must not change when the next one is converted."""
    frame, _ = frame_of("yuv420p", 1, False)
    tags, to_rgb, from_rgb = ColourTags(1, 1), ToRgb(), FromRgb()
    first = to_rgb(frame, tags)
    encoded = from_rgb(first, "yuv420p", tags)
    kept = first.copy(), planes_of(encoded)
    second = to_rgb(from_rgb(255 - first, "yuv420p", tags), tags)
    assert np.array_equal(first, kept[0]) and not np.array_equal(first, second)
    assert all(np.array_equal(a, b) for a, b in zip(planes_of(encoded), kept[1], strict=True))


@pytest.mark.parametrize(("width", "height"), [(5, 3), (641, 361), (2, 2), (1, 1), (33, 2)])
def test_odd_sizes_come_back(width: int, height: int) -> None:
    chance = np.random.default_rng(0)
    rgb = cv2.resize(chance.integers(60, 190, (3, 3, 3)).astype(np.uint8), (width, height))
    tags = ColourTags(1, 1)
    frame = FromRgb()(rgb, "yuv420p", tags)
    again = FromRgb()(ToRgb()(frame, tags), "yuv420p", tags)
    for before, after in zip(planes_of(frame), planes_of(again), strict=True):
        assert np.abs(before.astype(int) - after).max() <= 2


def _to_8_bits(planes: Planes, bits: int) -> list[NDArray[np.float64]]:
    return [plane.astype(float) / 2 ** (bits - 8) for plane in planes]


@pytest.mark.parametrize(
    ("pixel_format", "tags", "codec"),
    [
        ("yuv420p", (1, 5, 5, 6), "ffv1"),
        ("yuv420p", (1, 1, 1, 1), "libx264"),
        ("yuv420p", (2, 1, 1, 1), "libx264"),
        ("yuv420p10le", (1, 9, 9, 16), "libx265"),
    ],
    ids=["bt601", "bt709", "full range", "10 bit HDR"],
)
def test_a_whole_file_keeps_its_samples(
    tmp_path: Path, pixel_format: str, tags: tuple[int, int, int, int], codec: str
) -> None:
    """Decode, RGB, encode (lossless): the stored samples of untouched pixels stay within two levels."""
    frame, rgb = frame_of(pixel_format, tags[1], tags[0] == 2)
    lossless = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=error"}, "ffv1": {}}[codec]
    clip = _clip(tmp_path / "a.mkv", frame_of, pixel_format, tags, codec, lossless)
    with FileSource(clip) as source:
        image = next(iter(source)).image
        assert source.info.colour == ColourTags(*tags)
    assert np.abs(image.astype(int) - rgb).max() <= 2
    pass_through(clip, tmp_path / "b.mkv", quality=0)
    with FileSource(tmp_path / "b.mkv") as source:
        assert source.info.colour == ColourTags(*tags)
    bits = 10 if "10" in pixel_format else 8
    before, after = _to_8_bits(planes_of(frame), bits), read_planes(tmp_path / "b.mkv", 0)
    for old, new in zip(before, after, strict=True):
        assert np.abs(old - new).max() <= 2


def _clip(
    path: Path,
    make: Callable[[str, int, bool], tuple[av.VideoFrame, NDArray[np.uint8]]],
    pixel_format: str,
    tags: tuple[int, int, int, int],
    codec: str,
    options: dict[str, str],
) -> Path:
    return write_clip(
        path,
        steady(3),
        size=(WIDTH, HEIGHT),
        codec=codec,
        pixel_format=pixel_format,
        unit=steady(2)[1],
        options=options or {"level": "3"},
        tags=tags,
        picture=lambda _: make(pixel_format, tags[1], tags[0] == 2)[0],
    )
