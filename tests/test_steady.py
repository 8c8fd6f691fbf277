"""Faces calmed over time: quieter at rest, nothing trails behind, and nothing is inherited that should not be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.steady import SteadyGenerator
from deepprivacy_rt.testing import FailingGenerator, make_frame, make_track, unchecked_replacement
from deepprivacy_rt.types import Box, FacePatch, FaceTrack, Frame, Image, Points, Replacement

SIZE = 64


def a_patch(track: FaceTrack | None = None, keypoints: Points | None = None) -> FacePatch:
    frame, track = make_frame(), track or make_track(160, 120, 90)
    cropper = AlignedCropper(SIZE, Region.FACE)
    patch = cropper.cut(cropper.erase(frame, [track]), track)
    return patch if keypoints is None else dataclasses.replace(patch, keypoints=keypoints)


def waves(shift: float = 0.0) -> Image:
    """Return a picture with soft detail everywhere."""
    y, x = np.mgrid[:SIZE, :SIZE]
    tones = [np.sin((x - shift) / 5 + channel) + np.cos(y / 6) for channel in range(3)]
    return np.round(120 + 30 * np.dstack(tones)).astype(np.uint8)


class Painter:
    """Paints what it is told for each call. Implements ``Generator``."""

    patch_size = SIZE

    def __init__(self, *pictures: Image) -> None:
        self._pictures = list(pictures)

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        picture = self._pictures.pop(0)
        return [Replacement(patch, picture) for patch in patches]


def shown(steady: SteadyGenerator, patch: FacePatch) -> Image:
    [answer] = steady.generate([patch])
    assert answer.patch is patch
    return answer.image


def moved(track: FaceTrack, dx: float) -> FaceTrack:
    box = Box(track.box.x0 + dx, track.box.y0, track.box.x1 + dx, track.box.y1)
    return dataclasses.replace(track, box=box, keypoints=track.keypoints + np.array([dx, 0], np.float32))


def test_a_still_face_is_calmer_than_it_was_made() -> None:
    random, patch = np.random.default_rng(0), a_patch()
    noisy = [np.clip(waves() + random.normal(0, 8, waves().shape), 0, 255).astype(np.uint8) for _ in range(12)]
    steady = SteadyGenerator(Painter(*noisy))
    calm = [shown(steady, patch) for _ in noisy]

    def unrest(pictures: Sequence[Image]) -> float:
        changes = [np.abs(later.astype(float) - now) for now, later in itertools.pairwise(pictures)]
        return float(np.mean([change[patch.mask].mean() for change in changes]))

    assert unrest(calm[4:]) < 0.4 * unrest(noisy[4:])
    assert np.abs(calm[-1][patch.mask] - waves()[patch.mask].astype(float)).mean() < 4
    assert np.array_equal(calm[-1][~patch.mask], noisy[-1][~patch.mask])


@pytest.mark.parametrize("change", [60, -60])
def test_a_part_that_changes_much_leaves_no_ghost(change: int) -> None:
    patch, first = a_patch(), waves()
    second = first.copy()
    second[36:48, 24:40] = np.clip(second[36:48, 24:40].astype(int) + change, 0, 255).astype(np.uint8)
    steady = SteadyGenerator(Painter(first, second))
    shown(steady, patch)
    left = np.abs(shown(steady, patch).astype(int) - second)
    assert left[38:46, 26:38].max() <= 3
    assert left.max() <= abs(change) // 5  # along the edge of what changed, a soft rest


def test_what_moves_with_the_keypoints_is_followed() -> None:
    patch = a_patch()
    ahead = a_patch(keypoints=patch.keypoints + np.array([3, 0], np.float32))
    steady = SteadyGenerator(Painter(waves(), waves(3.0)))
    shown(steady, patch)
    assert np.abs(shown(steady, ahead).astype(int) - waves(3.0))[ahead.mask].mean() < 1.5


def test_another_pose_is_taken_over_at_once() -> None:
    patch = a_patch()
    turned = patch.keypoints.copy()
    turned[[2, 4, 5], 0] += np.array([12, 8, 25], np.float32)
    dim = (waves() * 0.9).astype(np.uint8)
    steady = SteadyGenerator(Painter(waves(), dim))
    shown(steady, patch)
    assert np.array_equal(shown(steady, a_patch(keypoints=turned)), dim)


OTHERS: dict[str, Callable[[FaceTrack], FaceTrack]] = {
    "another track": lambda track: dataclasses.replace(track, track_id=7),
    "another identity": lambda track: dataclasses.replace(track, identity=7),
    "elsewhere": lambda track: moved(track, 70),
    "another size": lambda track: make_track(160, 120, 45),
}


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_inherited_by(name: str) -> None:
    track, dim = make_track(160, 120, 90), (waves() * 0.95).astype(np.uint8)
    steady = SteadyGenerator(Painter(waves(), dim, dim))
    shown(steady, a_patch(track))
    assert np.array_equal(shown(steady, a_patch(OTHERS[name](track))), dim)
    again = SteadyGenerator(Painter(waves(), dim))
    shown(again, a_patch(track))
    assert not np.array_equal(shown(again, a_patch(moved(track, 3))), dim)  # the same face, a step on


def test_a_cut_shows_the_new_face_alone() -> None:
    patch, other = a_patch(), 255 - waves()
    other[patch.mask] //= 2
    steady = SteadyGenerator(Painter(waves(), other))
    shown(steady, patch)
    assert np.array_equal(shown(steady, patch), other)


def test_a_face_that_was_left_out_stays_out_and_is_forgotten() -> None:
    patch, dim = a_patch(), (waves() * 0.95).astype(np.uint8)
    answers = [[Replacement(patch, waves())], [], [Replacement(patch, dim)]]
    steady = SteadyGenerator(FailingGenerator(lambda _: answers.pop(0), SIZE))
    assert len(steady.generate([patch])) == 1
    assert steady.generate([patch]) == []
    assert np.array_equal(shown(steady, patch), dim)


def test_an_error_is_passed_on_and_clears_the_memory() -> None:
    patch, dim = a_patch(), (waves() * 0.95).astype(np.uint8)
    answers: list[Image | StageError] = [waves(), StageError("no"), dim]

    def answer(patches: Sequence[FacePatch]) -> list[Replacement]:
        now = answers.pop(0)
        if isinstance(now, StageError):
            raise now
        return [Replacement(one, now) for one in patches]

    steady = SteadyGenerator(FailingGenerator(answer, SIZE))
    shown(steady, patch)
    with pytest.raises(StageError, match="no"):
        steady.generate([patch])
    assert np.array_equal(shown(steady, patch), dim)


def test_broken_answers_are_left_for_the_pipeline_to_refuse() -> None:
    patch, stranger = a_patch(), a_patch()
    broken: list[Any] = [
        None,
        unchecked_replacement(patch, np.zeros((3, 3), np.uint8)),
        unchecked_replacement(patch, waves().astype(np.float32)),
        Replacement(stranger, waves()),
    ]
    steady = SteadyGenerator(FailingGenerator(lambda _: broken, SIZE))
    for _ in range(2):
        assert all(a is b for a, b in zip(steady.generate([patch]), broken, strict=True))


def test_patches_of_another_size_start_anew() -> None:
    steady = SteadyGenerator(FailingGenerator(lambda patches: [Replacement(p, 200 - p.image // 2) for p in patches]))
    track = make_track(160, 120, 90)
    for size in (64, 96, 64):
        cropper = AlignedCropper(size, Region.FACE)
        patch = cropper.cut(cropper.erase(make_frame(), [track]), track)
        assert np.array_equal(shown(steady, patch), 200 - patch.image // 2)


def test_memory_does_not_grow_with_the_stream() -> None:
    steady = SteadyGenerator(FailingGenerator(lambda patches: [Replacement(p, waves()) for p in patches], SIZE))
    patch = a_patch()
    for number in range(50):
        steady.generate([dataclasses.replace(patch, track=make_track(160, 120, 90, number))])
    assert len(steady._memories) == 1
    steady.generate([])
    assert not steady._memories


def test_the_frame_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="frame_rate"):
        SteadyGenerator(Painter(), 0.0)


def test_the_mask_of_a_face_that_moves_by_parts_of_a_pixel_stays_the_same() -> None:
    """What makes a network restless most: see docs/adr/0008."""
    random = np.random.default_rng(0)
    cropper = AlignedCropper(128, Region.FACE)
    frame = Frame(np.full((400, 400, 3), 90, np.uint8), 0, make_frame().pts)
    for size in (26, 40, 60, 75, 110, 150):
        masks = []
        for _ in range(8):
            track = make_track(200 + random.uniform(-3, 3), 200 + random.uniform(-3, 3), size)
            patch = cropper.cut(cropper.erase(frame, [track]), track)
            assert (patch.image[~patch.mask] == 90).all()
            masks.append(patch.mask)
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
