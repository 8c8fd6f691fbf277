"""The values that travel through the pipeline refuse what breaks their contract."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.testing import make_detection, make_frame, make_keypoints, make_track
from deepprivacy_rt.types import Box, Detection, FacePatch, Frame, Replacement, SafeFrame

IMAGE = np.zeros((4, 6, 3), np.uint8)
COVER = np.zeros((4, 6), np.bool_)


def make_patch() -> FacePatch:
    cropper, track = AlignedCropper(32), make_track(160, 120, 80)
    return cropper.cut(cropper.erase(make_frame(), [track]), track)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[..., :2], IMAGE[:0], np.zeros((4, 6, 4), np.uint8)]
)
def test_images_are_rgb_bytes(image: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        Frame(image, 0, Fraction(0))
    with pytest.raises(ValueError, match="must be"):
        SafeFrame(image, COVER, 0, Fraction(0))


@pytest.mark.parametrize("cover", [COVER[1:], COVER.astype(np.uint8)])
def test_the_cover_fits_the_image(cover: Any) -> None:
    with pytest.raises(ValueError, match="cover must be"):
        SafeFrame(IMAGE, cover, 0, Fraction(0))


@pytest.mark.parametrize(
    "box", [Box(0, 0, 0, 5), Box(5, 0, 0, 5), Box(0, 0, float("nan"), 5), Box(0, 0, float("inf"), 5)]
)
def test_boxes_are_finite_and_have_an_area(box: Box) -> None:
    with pytest.raises(ValueError, match="box must be"):
        Detection(box, make_keypoints(Box(0, 0, 5, 5)), 0.5)


@pytest.mark.parametrize(
    "keypoints", [np.zeros((5, 2), np.float32), np.zeros((6, 2)), np.full((6, 2), np.nan, np.float32)]
)
def test_keypoints_are_six_and_finite(keypoints: Any) -> None:
    with pytest.raises(ValueError, match="keypoints must be"):
        Detection(Box(0, 0, 5, 5), keypoints, 0.5)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_lie_between_0_and_1(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        make_detection(5, 5, 5, score)


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_frame().index = 3  # type: ignore[misc]


def test_a_patch_with_anything_under_its_mask_is_refused() -> None:
    patch = make_patch()
    image = patch.image.copy()
    image[tuple(np.argwhere(patch.mask)[0])] = 1
    with pytest.raises(ValueError, match="must be erased"):
        dataclasses.replace(patch, image=image)


@pytest.mark.parametrize(
    "change", [{"mask": np.zeros((32, 31), np.bool_)}, {"transform": np.full((2, 3), np.nan)}, {"transform": np.eye(3)}]
)
def test_a_patch_is_square_with_a_finite_transform(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        dataclasses.replace(make_patch(), **change)


@pytest.mark.parametrize(
    "image", [np.zeros((31, 32, 3), np.uint8), np.zeros((32, 32, 3)), np.full((32, 32, 3), np.nan, np.float32)]
)
def test_a_replacement_fits_its_patch(image: Any) -> None:
    with pytest.raises(ValueError, match="replacement"):
        Replacement(make_patch(), image)
