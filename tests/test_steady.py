"""Faces calmed over time: quieter at rest, nothing trails behind, and nothing is inherited that should not be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.steady import PORTRAYED, SteadyGenerator
from deepprivacy_rt.testing import FailingGenerator, make_frame, make_track, unchecked_replacement
from deepprivacy_rt.types import Box, Expression, FacePatch, FaceTrack, Frame, Image, Points, Replacement

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


# --- drawing in turns ------------------------------------------------------------------------------------------------


class Counting:
    """Paints every face another shade at every call, and notes whom it was asked for. Implements ``Generator``."""

    patch_size = SIZE

    def __init__(self) -> None:
        self.asked: list[set[int]] = []

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        self.asked.append({patch.track.track_id for patch in patches})
        shade = (waves() + 2 * (len(self.asked) % 2)).astype(np.uint8)
        return [Replacement(patch, shade) for patch in patches]


def faces(count: int) -> list[FacePatch]:
    return [a_patch(make_track(160, 120, 90, track_id=number)) for number in range(count)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_faces_at_rest_are_drawn_in_turns_and_all_are_shown(count: int) -> None:
    generator, patches = Counting(), faces(count)
    steady = SteadyGenerator(generator)
    shown_by_frame = []
    for _ in range(9):
        answers = steady.generate(patches)
        assert sorted(id(one.patch) for one in answers) == sorted(id(patch) for patch in patches)
        shown_by_frame.append({one.patch.track.track_id: one.image for one in answers})
    everybody = set(range(count))
    assert generator.asked[0] == everybody
    for earlier, later in itertools.pairwise(generator.asked[1:]):
        assert earlier | later == everybody  # nobody waits twice in a row
        assert abs(len(later) - count / 2) < 1
    for asked, (before, now) in zip(generator.asked[1:], itertools.pairwise(shown_by_frame), strict=True):
        for number in everybody - asked:
            assert np.array_equal(before[number], now[number])  # it did not move


def test_one_face_and_slow_video_are_drawn_at_every_frame() -> None:
    for patches, rate in ((faces(1), 30.0), (faces(3), 15.0)):
        generator = Counting()
        steady = SteadyGenerator(generator, rate)
        for _ in range(4):
            steady.generate(patches)
        assert generator.asked == [{patch.track.track_id for patch in patches}] * 4


def test_one_face_takes_turns_with_itself_when_told_to() -> None:
    generator, patches = Counting(), faces(1)
    steady = SteadyGenerator(generator)
    steady.generate(patches)
    steady.take_turns(1)
    shown = [steady.generate(patches) for _ in range(6)]
    assert generator.asked == [{0}, set(), {0}, set(), {0}, set(), {0}]
    assert all(len(answers) == 1 for answers in shown)
    steady.take_turns(2)
    steady.generate(patches)
    assert generator.asked[-1] == {0}


def brighter(patch: FacePatch) -> FacePatch:
    image = np.where(patch.mask[..., None], 0, np.minimum(patch.image.astype(int) + 12, 255)).astype(np.uint8)
    return dataclasses.replace(patch, image=image)


def turned(patch: FacePatch) -> FacePatch:
    keypoints = patch.keypoints.copy()
    keypoints[2, 0] += 6
    return dataclasses.replace(patch, keypoints=keypoints)


def with_track(patch: FacePatch, **changes: Any) -> FacePatch:
    return dataclasses.replace(patch, track=dataclasses.replace(patch.track, **changes))


NOT_AT_REST: dict[str, Callable[[FacePatch], FacePatch]] = {
    "speaks": lambda patch: with_track(patch, expression=Expression(0.2, 0.7, 0.7)),
    "blinks": lambda patch: with_track(patch, expression=Expression(0.08, 0.7, 0.3)),
    "turns": turned,
    "moves": lambda patch: dataclasses.replace(patch, keypoints=patch.keypoints + np.float32([0.6, 0])),
    "is lit": brighter,
    "is somebody else": lambda patch: with_track(patch, identity=9),
    "is elsewhere": lambda patch: with_track(patch, box=moved(patch.track, 80).box),
    "is new": lambda patch: with_track(patch, track_id=9),
}


@pytest.mark.parametrize("name", NOT_AT_REST)
def test_a_face_is_drawn_at_once_when_it(name: str) -> None:
    generator, patches = Counting(), faces(4)
    steady = SteadyGenerator(generator)
    steady.generate(patches)
    changed = NOT_AT_REST[name](patches[0])
    steady.generate([changed, *patches[1:]])
    assert generator.asked[1] == {changed.track.track_id, 3}
    again = SteadyGenerator(generator)
    again.generate(patches)
    again.generate(patches)
    assert generator.asked[3] == {2, 3}  # it would have waited


def test_a_face_that_waits_stays_where_it_is_when_keypoints_tremble() -> None:
    generator, patches = Counting(), faces(2)
    steady = SteadyGenerator(generator)
    first = {one.patch.track.track_id: one.image for one in steady.generate(patches)}
    tremble = a_patch(patches[0].track, keypoints=patches[0].keypoints + np.array([0.3, -0.2], np.float32))
    second = {one.patch.track.track_id: one.image for one in steady.generate([tremble, patches[1]])}
    assert generator.asked[1] == {1}
    assert np.abs(second[0].astype(int) - first[0]).max() <= 2


def test_a_face_that_waits_stays_on_its_place_in_the_frame_when_its_box_trembles() -> None:
    generator, patches = Counting(), faces(2)
    steady = SteadyGenerator(generator)
    first = {one.patch.track.track_id: one.image for one in steady.generate(patches)}
    track = patches[0].track
    box = Box(track.box.x0 - 1, track.box.y0 - 1, track.box.x1 + 1, track.box.y1 + 1)
    wider = a_patch(dataclasses.replace(track, box=box))
    second = {one.patch.track.track_id: one.image for one in steady.generate([wider, patches[1]])}
    assert generator.asked[1] == {1}
    way = wider.transform @ np.linalg.inv(np.vstack([patches[0].transform, [0, 0, 1]]))
    expected = cv2.warpAffine(first[0], way, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(second[0].astype(int) - expected)[wider.mask].mean() < 1.0


@pytest.mark.parametrize(("rate", "period"), [(60.0, 12), (30.0, 6), (25.0, 5), (15.0, 1)])
def test_a_face_with_a_portrait_is_drawn_every_few_frames(rate: float, period: int) -> None:
    generator, patches = Counting(), faces(1)
    steady = SteadyGenerator(generator, rate, PORTRAYED)
    for _ in range(3 * period):
        assert len(steady.generate(patches)) == 1
    assert [bool(asked) for asked in generator.asked] == [number % period == 0 for number in range(3 * period)]


def test_many_faces_with_portraits_are_drawn_one_after_the_other() -> None:
    generator, patches = Counting(), faces(4)
    steady = SteadyGenerator(generator, 30.0, PORTRAYED)
    for _ in range(17):
        assert len(steady.generate(patches)) == 4
    assert generator.asked[0] == {0, 1, 2, 3}
    assert all(len(asked) <= 1 for asked in generator.asked[1:])
    assert all(set().union(*generator.asked[start : start + 8]) == {0, 1, 2, 3} for start in range(1, 10))


def test_a_face_with_a_portrait_is_drawn_less_often_where_time_is_short() -> None:
    generator, patches = Counting(), faces(1)
    steady = SteadyGenerator(generator, 30.0, PORTRAYED)
    steady.take_turns(1)
    for _ in range(16):
        steady.generate(patches)
    assert [bool(asked) for asked in generator.asked] == [True, *[False] * 7] * 2
    steady.take_turns(2)
    for _ in range(12):
        steady.generate(patches)
    assert [bool(asked) for asked in generator.asked[16:]] == [True, *[False] * 5] * 2


@pytest.mark.parametrize(("mouth", "drawn"), [(0.3, False), (0.4, True)])
def test_a_face_with_a_portrait_is_drawn_at_once_only_when_its_mouth_opens_wide(mouth: float, drawn: bool) -> None:
    generator, patches = Counting(), faces(1)
    steady = SteadyGenerator(generator, 30.0, PORTRAYED)
    steady.generate(patches)
    steady.generate([with_track(patches[0], expression=Expression(mouth, 0.7, 0.7))])
    assert bool(generator.asked[1]) == drawn


def test_an_error_fills_those_that_wait_too_and_nothing_old_survives_it() -> None:
    generator, patches = Counting(), faces(2)
    steady = SteadyGenerator(generator)
    steady.generate(patches)
    generator.generate = lambda given: (_ for _ in ()).throw(RuntimeError("gone"))  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="gone"):
        steady.generate(patches)
    del generator.generate
    steady.generate(patches)
    assert generator.asked == [{0, 1}, {0, 1}]


def in_part(first: Image, change: int) -> Image:
    """Return a picture that is darker or brighter at a hairline."""
    second = first.copy()
    second[12:22, 20:44] = np.clip(second[12:22, 20:44].astype(int) + change, 0, 255).astype(np.uint8)
    return second


def drawn_anew(second: Callable[[FacePatch], FacePatch]) -> int:
    """Return by how much a hairline that is drawn otherwise changes at once, of 60 levels; the face: in ``second``."""
    patch, first = a_patch(), waves()
    steady = SteadyGenerator(Painter(first, in_part(first, -60)), 30.0, dataclasses.replace(PORTRAYED, faces=2))
    shown(steady, patch)
    changed = second(patch)
    return round(float((first[14:20, 26:38].astype(int) - shown(steady, changed)[14:20, 26:38]).mean()))


def test_hair_that_is_drawn_otherwise_around_a_portrait_at_rest_comes_slowly() -> None:
    assert 1 <= drawn_anew(lambda patch: patch) <= 8


@pytest.mark.parametrize("name", ["turns", "moves", "is lit"])
def test_hair_that_is_drawn_otherwise_is_there_at_once_when_a_face(name: str) -> None:
    assert drawn_anew(NOT_AT_REST[name]) >= 50


def test_hair_that_is_drawn_otherwise_is_there_after_a_second() -> None:
    patch, first = a_patch(), waves()
    second = in_part(first, -60)
    steady = SteadyGenerator(Painter(first, *[second] * 45), 30.0, dataclasses.replace(PORTRAYED, faces=2))
    pictures = [shown(steady, patch) for _ in range(46)]
    assert np.abs(pictures[-1].astype(int) - second)[patch.mask].max() <= 5
    left = [float(np.abs(one.astype(int) - second)[14:20, 26:38].mean()) for one in pictures]
    assert all(later <= earlier for earlier, later in itertools.pairwise(left))  # it does not pulse
