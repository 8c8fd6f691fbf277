"""Pasting: what goes where, colours, edges, resolution."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import cv2
import numpy as np
import pytest

from deepprivacy_rt.blending import PatchBlender, is_usable
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.diffusion import diffused
from deepprivacy_rt.testing import make_frame, make_track, unchecked_replacement
from deepprivacy_rt.types import FacePatch, FaceTrack, Frame, Image, Replacement, SafeFrame

SIZE = 128


def prepare(frame: Frame, *tracks: FaceTrack) -> tuple[SafeFrame, list[FacePatch]]:
    cropper = AlignedCropper(SIZE)
    safe = cropper.erase(frame, tracks)
    return safe, [cropper.cut(safe, track) for track in tracks]


def flat_frame(color: tuple[int, int, int], width: int = 640, height: int = 480) -> Frame:
    return Frame(np.full((height, width, 3), color, np.uint8), 0, Fraction(0))


def noise_image(seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def stripes() -> Image:
    """A generated face with detail of its own, 128 on average."""
    return np.repeat(np.where(np.arange(SIZE)[:, None, None] // 4 % 2, 168, 88).astype(np.uint8), SIZE, 1).repeat(3, 2)


@pytest.mark.parametrize("size", [60, 120, 220])
def test_only_the_cover_and_a_soft_edge_outside_of_it_change(size: float) -> None:
    safe, (patch,) = prepare(make_frame(0, 640, 480), make_track(320, 240, size))
    result = PatchBlender(feather=0.05).paste(safe, [Replacement(patch, noise_image())])
    changed = (result.image != safe.image).any(axis=2)
    distance = cv2.distanceTransform((~safe.cover).astype(np.uint8), cv2.DIST_L2, 5)
    feather = 0.05 * 1.8 * size
    assert changed[safe.cover].mean() > 0.98
    assert changed[(distance > 0) & (distance < feather / 3)].mean() > 0.9
    assert not changed[distance > 1.5 * feather + 2].any()
    assert (result.cover is safe.cover, result.index, result.pts) == (True, safe.index, safe.pts)


@pytest.mark.parametrize("size", [16, 30, 45, 60, 90, 120, 180, 220])
def test_the_soft_edge_falls_evenly_to_nothing(size: float) -> None:
    """Where grey is pasted on grey of another level, a row across the edge shows the slope."""
    safe, (patch,) = prepare(flat_frame((100, 100, 100)), make_track(320.4, 240.3, size))
    unknown = dataclasses.replace(patch, mask=np.ones_like(patch.mask), image=np.zeros_like(patch.image))
    replacement = Replacement(unknown, np.full((SIZE, SIZE, 3), 200, np.uint8))  # nothing known: no colour is matched
    row = PatchBlender(feather=0.05).paste(safe, [replacement]).image[240, 320:, 0].astype(int)
    assert (row[safe.cover[240, 320:]] == 200).all()
    slope = row[~safe.cover[240, 320:]]
    feather = 0.05 * 1.8 * size
    assert (np.diff(slope) <= 0).all() and -np.diff(slope).min() <= 100 / max(1.0, 0.4 * feather)
    assert (slope[math.ceil(1.2 * feather) + 3 :] == 100).all()
    assert abs(slope[: int(2 * feather)].mean() - 125) < 12 or feather < 3


@pytest.mark.parametrize("size", [60, 97, 120, 151, 180, 220])
def test_the_soft_edge_is_the_same_on_both_sides(size: float) -> None:
    safe, (patch,) = prepare(flat_frame((100, 100, 100), 641, 481), make_track(320, 240, size))
    unknown = dataclasses.replace(patch, mask=np.ones_like(patch.mask), image=np.zeros_like(patch.image))
    replacement = Replacement(unknown, np.full((SIZE, SIZE, 3), 200, np.uint8))
    row = PatchBlender(feather=0.05).paste(safe, [replacement]).image[240, :, 0].astype(int)
    one_pixel = 100 / (0.05 * 1.8 * size)
    assert np.abs(row - row[::-1]).max() <= 0.6 * one_pixel + 1


def test_the_input_is_left_as_it_was() -> None:
    safe, (patch,) = prepare(make_frame(0, 640, 480), make_track(320, 240, 120))
    before = safe.image.copy()
    PatchBlender().paste(safe, [Replacement(patch, noise_image())])
    assert np.array_equal(safe.image, before)


def test_inside_the_cover_only_generated_pixels_count() -> None:
    """The fill may be anything: inside, away from the patch's border, nothing of it is left."""
    safe, (patch,) = prepare(make_frame(0, 640, 480), make_track(320, 240, 120))
    image = safe.image.copy()
    image[safe.cover] = 255 - image[safe.cover]
    inverted = dataclasses.replace(safe, image=image)
    results = [PatchBlender().paste(one, [Replacement(patch, noise_image())]).image for one in (safe, inverted)]
    assert np.array_equal(results[0][safe.cover], results[1][safe.cover])


@pytest.mark.parametrize("color", [(60, 90, 120), (200, 160, 140), (20, 20, 20)])
def test_the_colour_of_the_surroundings_is_matched(color: tuple[int, int, int]) -> None:
    safe, (patch,) = prepare(flat_frame(color), make_track(320, 240, 120))
    off = np.array(color) + np.array([30, -20, 15])
    generated = np.full((SIZE, SIZE, 3), np.clip(off, 0, 255), np.uint8)
    generated[::16, ::16] = 0
    result = PatchBlender().paste(safe, [Replacement(patch, generated)]).image
    median = np.median(result[safe.cover], axis=0)
    assert np.abs(median - color).max() <= 3


def test_a_change_of_light_across_the_face_is_matched() -> None:
    frame = flat_frame((0, 0, 0))
    frame.image[:] = np.linspace(90, 160, 640)[None, :, None].astype(np.uint8)
    safe, (patch,) = prepare(frame, make_track(320, 240, 120))
    result = PatchBlender().paste(safe, [Replacement(patch, stripes())]).image.astype(int)
    left, right = result[190:290, 262:316].mean(), result[190:290, 324:378].mean()
    assert 3 < right - left < 16
    inside = result[200:280, 280:360]
    assert inside.std() > 25, "detail of the generated face must survive"


def test_no_step_in_colour_at_the_edge_of_the_cover() -> None:
    safe, (patch,) = prepare(flat_frame((150, 120, 100)), make_track(320, 240, 120))
    generated = np.full((SIZE, SIZE, 3), (110, 150, 120), np.uint8)
    generated[64, 64] = 0
    row = PatchBlender().paste(safe, [Replacement(patch, generated)]).image[260].astype(int)
    assert np.abs(np.diff(row, axis=0)).max() <= 3


def test_a_large_face_is_enlarged_smoothly_and_a_small_one_averaged() -> None:
    """A checkerboard of single patch pixels becomes grey in a small face; in a large one a ramp shows no blocks."""
    board = np.where(np.indices((SIZE, SIZE)).sum(0)[..., None] % 2, 228, 28).astype(np.uint8).repeat(3, 2)
    small, (patch,) = prepare(flat_frame((128, 128, 128)), make_track(320, 240, 20))
    inside = cv2.erode(small.cover.astype(np.uint8), np.ones((5, 5))) > 0
    pasted = PatchBlender().paste(small, [Replacement(patch, board)]).image[inside]
    assert pasted.std() < 8
    ramp = np.repeat(np.linspace(60, 190, SIZE)[None, :, None], SIZE, 0).repeat(3, 2).astype(np.uint8)
    large, (patch,) = prepare(flat_frame((128, 128, 128), 1280, 720), make_track(640, 360, 450))
    row = PatchBlender().paste(large, [Replacement(patch, ramp)]).image[360, 500:780].astype(int)
    assert np.abs(np.diff(row, n=2, axis=0)).max() <= 3, "no blocks"


@pytest.mark.parametrize("roll", [0.0, 0.7, -2.0])
@pytest.mark.parametrize("size", [40, 70, 200])
def test_the_patch_lands_where_it_was_cut(roll: float, size: float) -> None:
    """The surroundings pasted back on themselves do not move: an error of half a pixel would show."""
    track = make_track(320, 240, size)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = ((track.keypoints - (320, 240)) @ turn.T + (320, 240)).astype(np.float32)
    track = dataclasses.replace(track, keypoints=points)
    frame = make_frame(0, 640, 480)
    safe, (patch,) = prepare(frame, track)
    for zoom in (1, 2, 3):
        side = zoom * SIZE
        matrix = Replacement(patch, np.zeros((side, side, 3), np.uint8)).transform
        whole = cv2.warpAffine(frame.image, matrix, (side, side), flags=cv2.INTER_AREA)
        result = PatchBlender().paste(safe, [Replacement(patch, whole)]).image
        assert (
            np.abs(result.astype(int) - frame.image)[safe.cover].mean() < 2.4
        )  # half a pixel gives 3.6 at the largest size


def test_a_finer_picture_keeps_its_detail_and_gets_the_same_colours() -> None:
    """A checkerboard of single pixels is one grey in the patch's own resolution."""
    safe, (patch,) = prepare(flat_frame((90, 120, 150)), make_track(320, 240, 220))
    fine = np.where(np.indices((2 * SIZE, 2 * SIZE)).sum(axis=0)[..., None] % 2, 200, 56).astype(np.uint8)
    fine = np.repeat(fine, 3, 2)
    plain = cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    shown, blurred = (PatchBlender().paste(safe, [Replacement(patch, one)]).image for one in (fine, plain))
    inside = shown[200:280, 280:360].astype(float)
    assert inside.std(axis=(0, 1)).min() > 10 + blurred[200:280, 280:360].std(axis=(0, 1)).max()
    assert np.abs(inside.mean(axis=(0, 1)) - (90, 120, 150)).max() < 4


def test_faces_over_the_border_and_outside() -> None:
    tracks = [make_track(5, 5, 150, 0), make_track(640, 480, 150, 1), make_track(2000, 2000, 100, 2)]
    safe, patches = prepare(make_frame(0, 640, 480), *tracks)
    result = PatchBlender().paste(safe, [Replacement(patch, noise_image()) for patch in patches])
    assert (result.image[:40, :40] != safe.image[:40, :40]).any()
    assert (result.image[440:, 600:] != safe.image[440:, 600:]).any()


def test_overlapping_faces_are_pasted_in_the_order_given() -> None:
    safe, (first, second) = prepare(make_frame(0, 640, 480), make_track(280, 240, 120, 0), make_track(350, 240, 120, 1))
    red, blue = noise_image() // 8 + np.uint8([200, 0, 0]), noise_image() // 8 + np.uint8([0, 0, 200])
    result = PatchBlender().paste(safe, [Replacement(first, red), Replacement(second, blue)]).image
    assert result[240, 330, 2] > result[240, 330, 0]
    assert result[240, 230, 0] > result[240, 230, 2]


def test_one_of_two_overlapping_faces_left_out_stays_filled() -> None:
    """Under its cover there is fill, or its neighbour's generated pixels: whatever was there before has no part."""
    tracks = make_track(280, 240, 120, 0), make_track(350, 240, 120, 1)
    frame = make_frame(0, 640, 480)
    safe, (_, patch) = prepare(frame, *tracks)
    other = frame.image.copy()
    other[safe.cover] = 255 - other[safe.cover]
    again, (_, same) = prepare(Frame(other, 0, Fraction(0)), *tracks)
    first = PatchBlender().paste(safe, [Replacement(patch, noise_image())]).image
    assert np.array_equal(first, PatchBlender().paste(again, [Replacement(same, noise_image())]).image)


def test_a_cover_larger_than_its_patch_stays_filled_beyond_it() -> None:
    safe, (patch,) = prepare(make_frame(0, 640, 480), make_track(320, 240, 120))
    wide = dataclasses.replace(patch, outline=((patch.outline - (320, 240)) * 2.5 + (320, 240)).astype(np.float32))
    result = PatchBlender().paste(safe, [Replacement(wide, noise_image())]).image
    distance = np.abs(np.indices((480, 640)) - np.array([240, 320])[:, None, None]).max(0)
    assert np.array_equal(result[distance > 0.9 * 120 + 12], safe.image[distance > 0.9 * 120 + 12])


@pytest.mark.parametrize(
    "image",
    [
        np.full((SIZE, SIZE, 3), np.nan, np.float32),
        noise_image()[:64],
        noise_image()[..., 0],
        np.repeat(noise_image(), 2, 0),
        np.repeat(np.repeat(noise_image(), 2, 0)[:192], 2, 1)[:, :192],
        np.repeat(np.repeat(noise_image(), 8, 0), 8, 1),
        noise_image().astype(np.float64),
        np.full((SIZE, SIZE, 3), 77, np.uint8),
        None,
    ],
    ids=["NaN", "half", "grey", "twice as high", "half more", "far too large", "float", "flat", "none"],
)
def test_a_broken_replacement_is_left_out_and_the_others_pasted(image: object) -> None:
    safe, (first, second) = prepare(make_frame(0, 640, 480), make_track(150, 240, 90, 0), make_track(450, 240, 90, 1))
    broken = unchecked_replacement(first, image)
    assert not is_usable(broken)
    result = PatchBlender().paste(safe, [broken, Replacement(second, noise_image())]).image
    assert np.array_equal(result[:, :280], safe.image[:, :280])
    assert (result[240, 430:470] != safe.image[240, 430:470]).any()


@pytest.mark.parametrize("feather", [-0.1, 0.5, float("nan")])
def test_the_feather_is_checked(feather: float) -> None:
    with pytest.raises(ValueError, match="feather"):
        PatchBlender(feather)


def test_diffusing_spreads_what_is_known() -> None:
    values, known = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32)
    values[:, :8], known[:, :8] = 10.0, 1.0
    values[:, -8:], known[:, -8:] = 30.0, 1.0
    spread = diffused(values, known, 16)
    assert spread is not None
    middle = spread[8, :, 0]
    assert middle[0] == pytest.approx(10, abs=1) and middle[-1] == pytest.approx(30, abs=1)
    assert (np.diff(middle) >= -1e-3).all()
    assert middle[7:9].mean() == pytest.approx(20, abs=0.5)
    assert diffused(values, np.zeros_like(known), 16) is None
