"""What a network painted around portraits, retouched where it is drawn, and remembered between."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from portrait_patches import patch_of

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.retouching import RetouchingGenerator, crisp
from deepprivacy_rt.types import FacePatch, Image, Replacement

SIZE, RATE = 128, 30.0
PALE, BROWN = (206, 168, 148), (138, 96, 76)


def test_hair_gets_crisp_edges_and_no_bright_rims() -> None:
    soft = np.tile(np.interp(np.arange(SIZE), [40, 52], [30, 220]), (SIZE, 1)).astype(np.uint8)
    face = cv2.merge((soft, cv2.GaussianBlur(soft, (0, 0), 1.5), soft))
    made = crisp(face)
    slopes = [np.abs(np.diff(one.astype(int), axis=1)).max() for one in (face, made)]
    assert slopes[1] > slopes[0]
    assert made.min() >= 30 and made.max() <= 220


@pytest.mark.parametrize("size", [64, 128, 256])
def test_single_dots_are_no_detail_and_a_hairline_is(size: int) -> None:
    face = np.full((size, size, 3), 150, np.uint8)
    dot = max(size // 128, 1)
    face[size // 4 : size // 4 + dot, size // 4 : size // 4 + dot] = 40
    cv2.line(face, (size // 2, 0), (size // 2, size), (40, 40, 40), 3 * dot)
    made = crisp(face)
    assert (made[: size // 2, : size // 2 - 3 * dot] == 150).all()
    assert (made[:, size // 2] == 40).all()


class Painter:
    """Paints a skin that it is told, or fails. Implements ``Generator``."""

    patch_size = SIZE

    def __init__(self) -> None:
        self.skin: Sequence[int] | None = PALE
        self.asked = 0

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        self.asked += 1
        if self.skin is None:
            raise StageError("out of paint")
        return [Replacement(one, self.painted()) for one in patches]

    def painted(self) -> Image:
        image = np.full((SIZE, SIZE, 3), (40, 32, 30), np.uint8)
        image[20:110, 30:98] = self.skin
        return image


def with_hint(patch: FacePatch) -> FacePatch:
    hint = np.zeros((2, SIZE, SIZE), np.float32)
    hint[1, 40:90, 40:88] = 1
    return dataclasses.replace(patch, hint=hint)


def seen(neck: bool = True) -> FacePatch:
    """Return a face before a grey wall, whose pale neck is to be seen or not."""
    one = patch_of()
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    if neck:
        image[-16:, 40:88] = PALE
    image[one.mask] = 0
    return with_hint(dataclasses.replace(one, image=image))


def red(answers: Sequence[Replacement]) -> float:
    (answer,) = answers
    return float(answer.image[60:80, 60:80, 0].mean())


def later(pause: int, patch: FacePatch) -> float:
    """Return the red of a face that is guessed brown after some frames in which it was not drawn."""
    painter = Painter()
    generator = RetouchingGenerator(painter, RATE)
    generator.generate([seen()])
    for _ in range(pause):
        assert generator.generate([]) == []
    painter.skin = BROWN
    return red(generator.generate([patch]))


def test_a_complexion_is_kept_over_frames_in_which_a_face_is_not_drawn() -> None:
    assert later(0, seen(neck=False)) == pytest.approx(PALE[0], abs=6)
    assert later(7, seen(neck=False)) == pytest.approx(PALE[0], abs=8)


def test_it_is_forgotten_after_half_a_second_and_with_another_track() -> None:
    assert later(20, seen(neck=False)) == pytest.approx(BROWN[0], abs=2)
    other = seen(neck=False)
    other = dataclasses.replace(other, track=dataclasses.replace(other.track, track_id=9))
    assert later(0, other) == pytest.approx(BROWN[0], abs=2)
    somebody = seen(neck=False)
    somebody = dataclasses.replace(somebody, track=dataclasses.replace(somebody.track, identity=9))
    assert later(0, somebody) == pytest.approx(BROWN[0], abs=2)


def test_what_is_remembered_fades_by_the_time_not_by_the_calls() -> None:
    painter = Painter()
    kept = []
    for every in (1, 5):
        generator = RetouchingGenerator(painter, RATE)
        for number in range(31):
            generator.generate([seen()] if number % every == 0 else [])
        weight = generator._memories[seen().track.track_id].skin.weight
        kept.append(weight / 31 * every)
    assert kept[0] == pytest.approx(kept[1], rel=0.25)  # a frame that is drawn counts as it is


def test_a_failure_is_passed_on_and_clears_the_memory() -> None:
    painter = Painter()
    generator = RetouchingGenerator(painter, RATE)
    generator.generate([seen()])
    painter.skin = None
    with pytest.raises(StageError, match="paint"):
        generator.generate([seen()])
    painter.skin = BROWN
    assert red(generator.generate([seen(neck=False)])) == pytest.approx(BROWN[0], abs=2)


def test_faces_without_a_portrait_and_broken_answers_are_left_alone() -> None:
    painter = Painter()
    generator = RetouchingGenerator(painter, RATE)
    plain = dataclasses.replace(seen(), hint=None)
    (answer,) = generator.generate([plain])
    assert answer.patch is plain and np.array_equal(answer.image, painter.painted())

    class Broken(Painter):
        def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
            return ["no face"]  # type: ignore[list-item]

    assert RetouchingGenerator(Broken(), RATE).generate([seen()]) == ["no face"]


def test_memory_does_not_grow_with_the_stream() -> None:
    generator = RetouchingGenerator(Painter(), RATE)
    for number in range(60):
        one = seen()
        generator.generate([dataclasses.replace(one, track=dataclasses.replace(one.track, track_id=number))])
    assert len(generator._memories) <= 17
