"""Erasing and cutting: geometry, and that nothing under a cover gets out."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.geometry import box_to_frame, face_to_frame, roll_of, transform_points
from deepprivacy_rt.types import Box, Evidence, FaceTrack, Frame, SafeFrame

UPRIGHT = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [0, 0.25], [-0.45, -0.1], [0.45, -0.1]], np.float32)


def make_track(x: float, y: float, side: float, roll: float = 0.0, number: int = 0) -> FaceTrack:
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    keypoints = (UPRIGHT @ rotation.T * side + [x, y]).astype(np.float32)
    box = Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return FaceTrack(number, number, box, keypoints, 0.9, Evidence.DETECTED)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("roll", [-2.5, -0.5, 0.0, 0.4, 1.5, 3.0])
def test_roll_is_measured(roll: float) -> None:
    assert roll_of(make_track(100, 100, 50, roll).keypoints) == pytest.approx(roll, abs=1e-4)


@pytest.mark.parametrize("roll", [0.0, 0.7, -1.2])
@pytest.mark.parametrize("side", [20.0, 90.0, 400.0])
def test_patch_is_upright_and_centred(roll: float, side: float) -> None:
    track = make_track(300, 260, side, roll)
    cropper = AlignedCropper(128)
    patch = cropper.cut(cropper.erase(Frame(noise(600, 640), 0, Fraction(0)), [track]), track)
    right_eye, left_eye, _, mouth = patch.keypoints[:4]
    assert left_eye[1] == pytest.approx(right_eye[1], abs=0.1)
    larger = 1 + 0.41 * min(abs(roll), 0.75) ** 2  # boxes of tilted heads are smaller
    assert left_eye[0] - right_eye[0] == pytest.approx(0.4 * 128 / 1.8 / larger, abs=0.1)
    assert mouth[0] == pytest.approx(63.5, abs=0.1)
    assert np.allclose(transform_points(patch.transform, track.keypoints), patch.keypoints)


def test_eyes_and_mouth_lie_under_the_mask_and_the_ring_is_known() -> None:
    track, cropper = make_track(300, 260, 120), AlignedCropper(128)
    patch = cropper.cut(cropper.erase(Frame(noise(600, 640), 0, Fraction(0)), [track]), track)
    for x, y in patch.keypoints.round().astype(int):
        assert patch.mask[y, x]
    assert 0.3 < patch.mask.mean() < 0.6
    assert not patch.mask[:, :8].any() and not patch.mask[:6].any()


def turned(by: float, roll: float = 0.0) -> FaceTrack:
    """Return a face whose keypoints lie so far aside in its box, in parts of that."""
    track = make_track(300, 260, 100, roll)
    along = np.array([np.cos(roll), np.sin(roll)], np.float32)
    return dataclasses.replace(track, keypoints=track.keypoints + np.float32(by * 100) * along)


@pytest.mark.parametrize("roll", [0.0, 0.7])
def test_a_face_that_turns_is_covered_about_its_own_middle(roll: float) -> None:
    along = np.array([np.cos(roll), np.sin(roll)])

    def middle(by: float) -> tuple[float, float]:
        track = turned(by, roll)
        box, face = (made(track.box, track.keypoints) for made in (box_to_frame, face_to_frame))
        off = (face[:, 2] - box[:, 2]) / 100
        assert off == pytest.approx((off @ along) * along, abs=1e-6)  # along the eyes
        return float(off @ along), float(np.hypot(*face[:, 0]) / np.hypot(*box[:, 0])) / upright

    upright = 1 + 0.41 * roll**2  # boxes of tilted heads are smaller
    assert middle(0.0) == pytest.approx((0.0, 1.0), abs=1e-4)
    assert middle(0.02) == pytest.approx((0.0, 1.0), abs=1e-4)  # keypoints tremble
    right, left, far = middle(0.15), middle(-0.15), middle(0.5)
    assert 0.05 < right[0] < 0.1 and 1.03 < right[1] < 1.07
    assert left == pytest.approx((-right[0], right[1]), abs=1e-3)
    assert far[0] == pytest.approx(0.13, abs=1e-3)  # whatever keypoints are


def test_outside_of_the_frame_is_unknown() -> None:
    track, cropper = make_track(0, 260, 120), AlignedCropper(128)
    patch = cropper.cut(cropper.erase(Frame(noise(600, 640), 0, Fraction(0)), [track]), track)
    assert patch.mask[:, :60].all() and not patch.mask[64, -5:].any()


def test_head_covers_more_than_face() -> None:
    frame, track = Frame(noise(600, 640), 0, Fraction(0)), make_track(300, 260, 120)
    face, head = (AlignedCropper(128, region).erase(frame, [track]).cover for region in (Region.FACE, Region.HEAD))
    assert (head & ~face).any() and not (face & ~head).any()


def test_the_frame_itself_is_untouched_and_uncovered_pixels_are_kept() -> None:
    image = noise(300, 300)
    before = image.copy()
    safe = AlignedCropper(128).erase(Frame(image, 0, Fraction(0)), [make_track(150, 150, 80)])
    assert np.array_equal(image, before)
    assert np.array_equal(safe.image[~safe.cover], before[~safe.cover])


@pytest.mark.parametrize("roll", [0.0, 0.7])
@pytest.mark.parametrize("side", [60.0, 120.0, 170.0, 330.0, 700.0])
def test_a_patch_shows_what_the_frame_shows_at_the_same_place(side: float, roll: float) -> None:
    """Waves of 28 pixels of the patch: an error of half a pixel of the patch is one of seven levels on average."""

    def waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        red = 128 + 100 * np.sin(2 * np.pi * x / (0.8 * side))
        green = 128 + 100 * np.sin(2 * np.pi * y / (0.8 * side))
        return np.stack([red, green, np.full_like(red, 99)], axis=2)

    y, x = np.mgrid[0:600, 0:641].astype(float)
    safe = SafeFrame(np.round(waves(x, y)).astype(np.uint8), np.zeros((600, 641), np.bool_), 0, Fraction(0))
    patch = AlignedCropper(64).cut(safe, make_track(320.3, 300.6, side, roll))
    v, u = np.mgrid[0:64, 0:64].astype(float)
    inverse = np.linalg.inv(np.vstack([patch.transform, [0, 0, 1]]))
    x, y, _ = np.tensordot(inverse, np.stack([u, v, np.ones_like(u)]), 1)
    error = np.abs(patch.image - waves(x, y))[~patch.mask]
    assert (~patch.mask).sum() > 600
    assert error.mean() < 1


@given(x=st.floats(-40, 340), y=st.floats(-40, 260), side=st.floats(3, 300), roll=st.floats(-3.1, 3.1))
@settings(max_examples=60)
def test_every_covered_pixel_is_filled_and_no_other(x: float, y: float, side: float, roll: float) -> None:
    image = noise(220, 300)
    safe = AlignedCropper(64).erase(Frame(image, 0, Fraction(0)), [make_track(x, y, side, roll)])
    filled = safe.image[safe.cover]
    assert (filled == filled[:1]).all()
    assert np.array_equal(safe.image[~safe.cover], image[~safe.cover])


@given(x=st.floats(0, 300), y=st.floats(0, 220), side=st.floats(20, 500), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_no_single_covered_pixel_is_seen_however_much_the_patch_is_reduced(
    x: float, y: float, side: float, seed: int
) -> None:
    cover = np.random.default_rng(seed).random((220, 300)) < 1e-3
    image, track, cropper = noise(220, 300), make_track(x, y, side), AlignedCropper(64)
    other = image.copy()
    other[cover] = 255 - other[cover]
    one, two = (cropper.cut(SafeFrame(picture, cover, 0, Fraction(0)), track) for picture in (image, other))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)


@pytest.mark.parametrize("shape", [(40, 37), (3, 400), (401, 299)])
def test_a_frame_that_is_no_multiple_of_the_reduction_is_cut_up_to_its_border(shape: tuple[int, int]) -> None:
    height, width = shape
    safe = SafeFrame(np.full((*shape, 3), 90, np.uint8), np.zeros(shape, np.bool_), 0, Fraction(0))
    track = make_track(width / 2, height / 2, max(shape))
    patch = AlignedCropper(16).cut(safe, track)
    assert (patch.image[~patch.mask] == 90).all()
    # What the frame takes of the patch is known, but for a pixel at each of its borders.
    shares = [side / max(shape) / 1.8 * 16 - 2 for side in shape]
    assert (~patch.mask).sum() >= np.floor(np.maximum(shares, 0)).prod()


@given(
    x=st.floats(-40, 340),
    y=st.floats(-40, 260),
    side=st.floats(6, 260),
    roll=st.floats(-3.1, 3.1),
    second=st.floats(0, 200),
    region=st.sampled_from(list(Region)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_nothing_under_any_cover_reaches_a_patch_or_the_fill(
    x: float, y: float, side: float, roll: float, second: float, region: Region, seed: int
) -> None:
    tracks = [make_track(x, y, side, roll), make_track(second, second, 50, -roll, 1)]
    cropper, image = AlignedCropper(64, region), noise(220, 300)
    safe = cropper.erase(Frame(image, 0, Fraction(0)), tracks)
    scrambled = image.copy()
    scrambled[safe.cover] = noise(220, 300, seed)[safe.cover]
    again = cropper.erase(Frame(scrambled, 0, Fraction(0)), tracks)
    assert np.array_equal(safe.image, again.image)
    for track in tracks:
        assert np.array_equal(cropper.cut(safe, track).image, cropper.cut(again, track).image)
        # The fill is no photograph: a patch must not see it either.
        painted = safe.image.copy()
        painted[safe.cover] = 255 - painted[safe.cover]
        other = type(safe)(painted, safe.cover, 0, Fraction(0))
        assert np.array_equal(cropper.cut(safe, track).image, cropper.cut(other, track).image)
