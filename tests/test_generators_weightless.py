"""The filters that need no weights: solid and pixelate."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.generators.pixelate import PixelateGenerator
from deepprivacy_rt.generators.smooth import SmoothGenerator
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.testing import make_frame, make_track
from deepprivacy_rt.types import FacePatch, Frame


def make_patch(identity: int = 0, size: float = 80) -> FacePatch:
    cropper = AlignedCropper(64)
    track = dataclasses.replace(make_track(160, 120, size), identity=identity)
    return cropper.cut(cropper.erase(make_frame(), [track]), track)


@pytest.mark.parametrize(
    "generator", [SolidGenerator(64), PixelateGenerator(64), SolidGenerator(64, (1, 2, 3)), SmoothGenerator(64)]
)
def test_the_surroundings_are_passed_on(generator: SolidGenerator | PixelateGenerator | SmoothGenerator) -> None:
    patch = make_patch()
    (replacement,) = generator.generate([patch])
    assert replacement.patch is patch
    assert np.array_equal(replacement.image[~patch.mask], patch.image[~patch.mask])
    assert not patch.image[patch.mask].any()
    assert generator.patch_size == 64


def test_solid_takes_the_colour_given_or_the_mean_of_the_surroundings() -> None:
    patch = make_patch()
    (given,) = SolidGenerator(64, (10, 200, 30)).generate([patch])
    assert (given.image[patch.mask] == (10, 200, 30)).all()
    (mean,) = SolidGenerator(64).generate([patch])
    assert np.abs(mean.image[patch.mask][0] - patch.image[~patch.mask].mean(axis=0)).max() <= 0.5


def test_a_mosaic_is_of_blocks_and_the_same_for_the_same_identity_only() -> None:
    first, same, other = (PixelateGenerator(64, blocks=8).generate([make_patch(i)])[0] for i in (0, 0, 1))
    assert np.array_equal(first.image, same.image)
    assert not np.array_equal(first.image, other.image)
    block = first.image[24:32, 24:32]
    assert first.patch.mask[24:32, 24:32].all() and (block == block[0, 0]).all()
    inside = np.unique(first.image[first.patch.mask], axis=0)
    assert 10 < len(inside) <= 64


def test_a_mosaic_has_the_colours_of_the_surroundings() -> None:
    cropper, track = AlignedCropper(64), make_track(160, 120, 80)
    image = np.full((240, 320, 3), (200, 100, 50), np.uint8)
    patch = cropper.cut(cropper.erase(Frame(image, 0, Fraction(0)), [track]), track)
    (replacement,) = PixelateGenerator(64, noise=5.0).generate([patch])
    assert np.abs(replacement.image[patch.mask].mean(axis=0) - (200, 100, 50)).max() < 4


def test_a_smooth_fill_goes_on_with_what_is_beside_it() -> None:
    """A picture that is dark on the left and light on the right: so is the fill, without a step at its edge."""
    cropper, track = AlignedCropper(64), make_track(160, 120, 80)
    row = np.linspace(20, 230, 320).astype(np.uint8)
    frame = Frame(np.repeat(np.repeat(row[None, :, None], 240, axis=0), 3, axis=2).copy(), 0, Fraction(0))
    patch = cropper.cut(cropper.erase(frame, [track]), track)
    (replacement,) = SmoothGenerator(64).generate([patch])
    line = replacement.image[32, :, 0].astype(int)
    inside = np.flatnonzero(patch.mask[32])
    assert line[inside[-1]] - line[inside[0]] > 40
    assert np.abs(np.diff(line)).max() < 5


def test_a_patch_without_surroundings_becomes_grey() -> None:
    patch = make_patch()
    blank = dataclasses.replace(patch, image=np.zeros_like(patch.image), mask=np.ones_like(patch.mask))
    assert (SolidGenerator(64).generate([blank])[0].image == 128).all()
    assert (SmoothGenerator(64).generate([blank])[0].image == 128).all()
    assert abs(PixelateGenerator(64).generate([blank])[0].image.mean() - 128) < 5


@pytest.mark.parametrize("blocks", [0, 65])
def test_blocks_are_checked(blocks: int) -> None:
    with pytest.raises(ValueError, match="blocks"):
        PixelateGenerator(64, blocks=blocks)
