"""Letterboxing is exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprivacy_rt.media.letterbox import even, letterbox
from deepprivacy_rt.media.rate import RateLimit

sides = st.integers(1, 200)


def test_same_size_is_the_same_picture() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    assert letterbox(image, (64, 48)) is image


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (65, 49)])
def test_an_odd_row_or_column_is_cut_and_nothing_is_scaled(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    assert even(size) == (64, 48)
    assert np.array_equal(letterbox(image, (64, 48)), image[:48, :64])


@pytest.mark.parametrize(
    ("size", "inner"),
    [
        ((32, 48), (slice(0, 48), slice(16, 48))),  # tall: bars at the sides, not scaled
        ((128, 48), (slice(12, 36), slice(0, 64))),  # wide: bars above and below
        ((32, 24), (slice(0, 48), slice(0, 64))),  # twice as large, no bars
        ((16, 24), (slice(0, 48), slice(16, 48))),
    ],
)
def test_bars_are_black_centred_and_nothing_else_is(size: tuple[int, int], inner: tuple[slice, slice]) -> None:
    image = np.full((size[1], size[0], 3), (10, 200, 90), np.uint8)
    expected = np.zeros((48, 64, 3), np.uint8)
    expected[inner] = (10, 200, 90)
    assert np.array_equal(letterbox(image, (64, 48)), expected)


@given(sides, sides, sides, sides)
def test_every_size_fits_with_its_aspect_ratio(width: int, height: int, canvas_width: int, canvas_height: int) -> None:
    canvas = even((canvas_width, canvas_height))
    result = letterbox(np.full((height, width, 3), 255, np.uint8), canvas)
    assert result.shape == (canvas[1], canvas[0], 3) and result.flags.c_contiguous
    rows, columns = result.any((1, 2)).sum(), result.any((0, 2)).sum()
    assert rows == canvas[1] or columns == canvas[0]
    scale = min(canvas[0] / width, canvas[1] / height)
    exact = 0 <= width - canvas[0] <= 1 and 0 <= height - canvas[1] <= 1
    assert exact or (abs(columns - max(1, width * scale)) <= 0.51 and abs(rows - max(1, height * scale)) <= 0.51)


@pytest.mark.parametrize(("source", "limit", "expected"), [(30, 30, 300), (60, 30, 330), (24, 30, 240), (31, 30, 310)])
def test_rate_limit_leaves_alone_what_is_slow_enough(source: int, limit: int, expected: int) -> None:
    rate = RateLimit(Fraction(limit))
    assert sum(rate.admits(Fraction(i, source)) for i in range(source * 10)) == pytest.approx(expected, abs=2)


def test_rate_limit_forgives_jitter_and_refuses_the_past() -> None:
    random = np.random.default_rng(0)
    rate = RateLimit(Fraction(30))
    times = [Fraction(i, 30) + Fraction(int(random.integers(-10, 10)), 1000) for i in range(300)]
    assert sum(rate.admits(t) for t in times) == 300
    assert not rate.admits(times[-1]) and not rate.admits(times[-1] - 1)
    assert rate.admits(times[-1] + 1)
