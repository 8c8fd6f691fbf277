"""A plain wall goes on behind a head, on the host and on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from portrait_patches import patch_of

from deepprivacy_rt.generators.backdrop import with_backdrop
from deepprivacy_rt.generators.portraying import PortraitGenerator
from deepprivacy_rt.generators.retouching import RetouchingGenerator
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.on_device.backdrop import Backdrop
from deepprivacy_rt.on_device.cutting import Patches
from deepprivacy_rt.portraits.bank import read_portraits
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import FacePatch, Image, Replacement
from deepprivacy_rt.weights import Weights

SIZE = 128
SKIN, HAIR, WALL, BLUE = (206, 168, 148), (40, 32, 30), (206, 208, 210), (90, 110, 170)
HALO = 22
"""How much brighter a network smears behind a head."""


def patch(left: Sequence[int] = WALL, right: Sequence[int] = WALL, rough: float = 0.0) -> FacePatch:
    """A face before walls. :param rough: deviation of the brightness of their stones."""
    one = patch_of()
    image = np.full((SIZE, SIZE, 3), left, np.float32)
    image[:, SIZE // 2 :] = right
    image += np.random.default_rng(0).normal(0, rough, (SIZE // 8, SIZE // 8, 1)).repeat(8, 0).repeat(8, 1)
    image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    image[one.mask] = 0
    return dataclasses.replace(one, image=image)


def head() -> np.ndarray:
    """Where a network draws a head, (s, s) bool."""
    oval = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(oval, (SIZE // 2, SIZE // 2), (30, 46), 0, 0, 360, 1, -1)
    return oval > 0


def smeared(left: Sequence[int] = WALL, right: Sequence[int] = WALL, skin: Sequence[int] = SKIN) -> Image:
    """What a network draws: a head before a halo."""
    image = np.full((SIZE, SIZE, 3), left, np.float32)
    image[:, SIZE // 2 :] = right
    image += HALO
    image[head()] = skin
    return np.clip(image, 0, 255).astype(np.uint8)


def behind(one: FacePatch) -> np.ndarray:
    """Where the wall is to go on: under the cover, some pixels off the head and off the border between two walls."""
    near = cv2.dilate(head().astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    places = one.mask & ~near
    places[:, SIZE // 2 - 14 : SIZE // 2 + 14] = False
    assert places.sum() > 300
    return places


@pytest.mark.parametrize("right", [WALL, BLUE])
def test_a_halo_before_a_wall_becomes_wall(right: Sequence[int]) -> None:
    given, drawn = patch(right=right), smeared(right=right)
    result = with_backdrop(drawn, given, np.array(SKIN))[0].astype(int)
    wall = np.full((SIZE, SIZE, 3), WALL)
    wall[:, SIZE // 2 :] = right
    places = behind(given)
    assert np.abs(drawn.astype(int) - wall)[places].mean() > HALO - 2
    assert np.abs(result - wall)[places].mean() < 2
    inner = cv2.erode(head().astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert np.array_equal(result[inner], drawn[inner])


def test_what_is_not_about_the_colour_of_the_wall_stays() -> None:
    drawn = smeared()
    drawn[~head()] = HAIR
    assert np.array_equal(with_backdrop(drawn, patch(), np.array(SKIN))[0], drawn)


def test_shadows_and_hair_are_darker_than_a_wall_and_stay() -> None:
    drawn = smeared()
    drawn[~head()] = np.array(WALL) - 45
    assert np.array_equal(with_backdrop(drawn, patch(), np.array(SKIN))[0], drawn)


def test_only_plain_surroundings_go_on() -> None:
    drawn = smeared()
    changes = []
    for rough in (4.0, 60.0):
        given = patch(rough=rough)
        made = with_backdrop(drawn, given, np.array(SKIN))[0].astype(int)
        changes.append(np.abs(made - drawn)[behind(given)].mean())
    assert changes[0] > HALO / 2 and changes[1] < 0.1


def test_a_wall_of_the_skins_colour_eats_no_cheeks() -> None:
    drawn = smeared(SKIN, SKIN)
    assert with_backdrop(drawn, patch(SKIN, SKIN), np.array(SKIN))[0] is drawn


def test_nothing_is_known_of_a_face_that_fills_the_patch() -> None:
    given = dataclasses.replace(patch(), image=np.zeros((SIZE, SIZE, 3), np.uint8), mask=np.ones((SIZE, SIZE), bool))
    drawn = smeared()
    assert with_backdrop(drawn, given, np.array(SKIN))[0] is drawn


def test_faces_with_portraits_have_it() -> None:
    class Smearing:
        patch_size = SIZE

        def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
            return [Replacement(one, smeared()) for one in patches]

    bank = read_portraits(Weights().path("portraits"))
    given = patch()
    (made,) = PortraitGenerator(RetouchingGenerator(Smearing(), 30.0), Wardrobe(bank, b"test"), 30.0).generate([given])
    image = cv2.resize(made.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(image - WALL)[behind(given)].mean() < 4


def test_a_wall_comes_and_goes_by_and_by() -> None:
    drawn, given, skin = smeared(), patch(), np.array(SKIN)
    _, full, _ = with_backdrop(drawn, given, skin)
    _, begun, _ = with_backdrop(drawn, given, skin, np.zeros_like(full), 0.25)
    assert np.allclose(begun, 0.25 * full, atol=1e-6) and full.max() > 0.9
    rough = patch(rough=60)
    fading, left, _ = with_backdrop(drawn, rough, skin, full, 0.25)
    assert left.max() > 0.7 and not np.array_equal(fading, drawn)


def test_a_wall_that_is_hidden_fades_without_a_shadow() -> None:
    drawn, skin = smeared(), np.array(SKIN)
    _, full, _ = with_backdrop(drawn, patch(), skin)
    covered = patch(SKIN, SKIN)  # by a hand, say
    made, _, _ = with_backdrop(drawn, covered, skin, full, 0.3)
    assert np.abs(made[behind(covered)].astype(int) - SKIN).mean() < 40
    nothing = dataclasses.replace(patch(), image=np.zeros_like(drawn), mask=np.ones((SIZE, SIZE), bool))
    made, left, _ = with_backdrop(drawn, nothing, skin, full, 0.3)
    assert np.array_equal(made, drawn) and not left.any()
    levels, unseen = torch.from_numpy(drawn).permute(2, 0, 1)[None].float(), torch.ones(1, 1, SIZE, SIZE, dtype=bool)
    backdrop, earlier = Backdrop(SIZE, torch.device("cpu")), [torch.from_numpy(full)[None]]
    patches = Patches(torch.zeros(1, 3, SIZE, SIZE), unseen)
    found, _, _ = backdrop.behind(levels, patches, torch.tensor([SKIN], dtype=torch.float32), earlier, 0.3)
    assert torch.equal(found, levels)


def oval(across: int, down: int) -> Floats:
    """Return how much of a portrait is to be seen, in the middle of a patch."""
    shown = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(shown, (SIZE // 2, SIZE // 2), (across, down), 0, 0, 360, 1.0, cv2.FILLED)
    return shown


def dull(given: FacePatch, shown: Floats | None = None) -> Image:
    """Return what becomes of a cover that is painted dark all over."""
    drawn = np.where(given.mask[..., None], np.uint8(60), given.image)
    return with_backdrop(drawn, given, np.array(SKIN), shown=shown)[0].astype(int)


def test_far_from_a_small_head_all_is_wall_whatever_was_painted() -> None:
    given = patch()
    made, plain = dull(given, oval(14, 18)), dull(given)
    middle, chin = SIZE // 2, SIZE // 2 + 18
    columns = np.flatnonzero(given.mask[middle])
    columns = columns[(columns > middle - 50) & (columns < middle + 50)]
    far = made[middle - 8 : middle + 8, columns[0] + 2 : columns[0] + 8]
    assert np.abs(far - WALL).mean() < 6
    assert made[middle - 16 : middle + 10, middle - 12 : middle + 12].max() <= 62
    assert np.array_equal(made[chin + 8 :], plain[chin + 8 :])  # shoulders may be there


def test_hair_above_and_a_face_that_fills_its_cover_are_left_alone() -> None:
    given = patch()
    made = dull(given, oval(14, 18))
    assert (made[SIZE // 2 - 18 - 8 : SIZE // 2, SIZE // 2 - 6 : SIZE // 2 + 6] == 60).all()
    cover = np.s_[24:104, 30:98]  # around it lies what is outside of the frame
    assert np.abs(dull(given, oval(32, 40)) - dull(given))[cover].max() <= 2


def test_before_a_busy_background_nothing_is_continued_far_away() -> None:
    given = patch(rough=60)
    drawn = np.where(given.mask[..., None], np.uint8(60), given.image)
    assert np.array_equal(with_backdrop(drawn, given, np.array(SKIN), shown=oval(14, 18))[0], drawn)


@pytest.mark.parametrize("right", [WALL, BLUE, HAIR])
@pytest.mark.parametrize("rough", [0.0, 6.0, 60.0])
@pytest.mark.parametrize("shown", [None, oval(14, 18), oval(20, 30)], ids=["unknown", "small", "large"])
def test_a_device_does_the_same(right: Sequence[int], rough: float, shown: Floats | None) -> None:
    given, drawn = patch(right=right, rough=rough), smeared(right=right)
    image, mask, faces = (
        torch.from_numpy(part.copy()).permute(2, 0, 1)[None] for part in (given.image, given.mask[..., None], drawn)
    )
    patches, skins = Patches(image.float(), mask), torch.tensor([SKIN], dtype=torch.float32)
    backdrop, was, before = Backdrop(SIZE, torch.device("cpu")), None, None
    for part in (1.0, 0.3):
        expected, was, _ = with_backdrop(drawn, given, np.array(SKIN), None if was is None else 0 * was, part, shown)
        oval_there = None if shown is None else torch.from_numpy(shown)[None, None]
        found, shares, _ = backdrop.behind(faces.float(), patches, skins, [before], part, oval_there)
        before = 0 * shares[0]
        difference = np.abs(found[0].permute(1, 2, 0).numpy() - expected.astype(int))[given.mask]
        assert difference.mean() < 0.5 and np.quantile(difference, 0.99) < 8
        assert rough > 10 or np.abs(expected.astype(int) - drawn)[behind(given)].mean() > 1
