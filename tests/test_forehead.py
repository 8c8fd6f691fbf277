"""A forehead that the network painted pale is brought to the face below it, on the host and on a device."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from deepprivacy_rt.generators.forehead import CHEEKS, evened
from deepprivacy_rt.on_device.forehead import Foreheads
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import Image

BROWN, PALE, GREY, HAIR = (110, 84, 72), (176, 146, 130), (200, 202, 204), (36, 30, 28)


def places(size: int) -> tuple[Floats, np.ndarray, np.ndarray]:
    """Return how much of a portrait is to be seen, and where forehead and cover are."""
    shown = np.zeros((size, size), np.float32)
    cv2.ellipse(shown, (size // 2, int(0.55 * size)), (int(0.2 * size), int(0.25 * size)), 0, 0, 360, 1.0, cv2.FILLED)
    forehead, mask = np.zeros((size, size), bool), np.zeros((size, size), bool)
    forehead[int(0.2 * size) : int(0.27 * size), int(0.45 * size) : int(0.55 * size)] = True
    mask[int(0.08 * size) : int(0.9 * size), int(0.1 * size) : int(0.9 * size)] = True
    return shown, forehead, mask


def told(shown: Floats, light: float = 0.0) -> Floats:
    """The hint of a portrait whose upper half is lighter than its skin."""
    upper = np.arange(len(shown))[:, None] < 0.45 * len(shown)
    return np.stack([light * shown * upper, shown]).astype(np.float32)


def painted(size: int, above: tuple[int, ...], skin: tuple[int, ...] = BROWN) -> Image:
    """A face with something above it."""
    image = np.full((size, size, 3), skin, np.uint8)
    image[: int(0.3 * size)] = above
    return image


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_pale_forehead_comes_near_the_skin(size: int) -> None:
    shown, forehead, mask = places(size)
    made = evened(painted(size, PALE), mask, told(shown), np.array(BROWN, float))
    goal = CHEEKS * np.array(BROWN)
    before = np.array(PALE) - goal
    after = made[forehead].mean(axis=0) - goal
    assert (after < 0.5 * before).all() and (after > -2).all()
    assert np.array_equal(made[~mask], painted(size, PALE)[~mask])
    assert np.array_equal(made[int(0.4 * size) :], painted(size, PALE)[int(0.4 * size) :])  # the face itself
    beside = np.s_[int(0.15 * size) : int(0.25 * size), : int(0.2 * size)]
    assert np.array_equal(made[beside], painted(size, PALE)[beside])


def test_there_is_no_pale_seam_where_a_portrait_begins() -> None:
    shown, forehead, mask = places(128)
    soft = cv2.GaussianBlur(shown, (0, 0), 5.0)
    face = painted(128, PALE)
    face[:] = PALE
    made = evened(face, mask, told(soft), np.array(BROWN, float))
    rim = (soft > 0.2) & (soft < 0.7) & (np.arange(128)[:, None] < 50) & (np.abs(np.arange(128) - 64) < 10)
    assert abs(made[rim].mean() - made[forehead].mean()) < 0.15 * (face[rim].mean() - made[forehead].mean())


@pytest.mark.parametrize("light", [0.0, 0.2])
def test_a_forehead_is_as_light_as_the_portrait_where_that_ends(light: float) -> None:
    shown, forehead, mask = places(128)
    made = evened(painted(128, PALE), mask, told(shown, light), np.array(BROWN, float))
    goal = (1 + light) * CHEEKS * np.array(BROWN)
    left = (made[forehead].mean(axis=0) - goal) / (np.array(PALE) - goal)
    assert (left > 0.25).all() and (left < 0.5).all()


def test_grey_spots_get_the_hue_of_the_skin_and_keep_their_light() -> None:
    shown, forehead, mask = places(128)
    made = evened(painted(128, (92, 92, 92)), mask, told(shown), np.array(BROWN, float))
    before, after = (
        cv2.cvtColor(one, cv2.COLOR_RGB2YCrCb)[forehead].mean(axis=0) for one in (painted(128, (92,) * 3), made)
    )
    skin = cv2.cvtColor(np.array([[BROWN]], np.uint8), cv2.COLOR_RGB2YCrCb)[0, 0].astype(int)
    assert abs(after[0] - before[0]) < 4
    assert after[1] - 128 > 0.5 * (skin[1] - 128) and 128 - after[2] > 0.5 * (128 - skin[2])


@pytest.mark.parametrize("above", [(150, 170, 215), HAIR, BROWN, (104, 80, 70)])
def test_hats_and_hair_and_skin_that_goes_with_it_stay(above: tuple[int, ...]) -> None:
    shown, _, mask = places(128)
    face = painted(128, above)
    assert np.abs(evened(face, mask, told(shown), np.array(BROWN, float)).astype(int) - face).max() <= 2


def test_grey_light_is_skin_and_a_grey_wall_stays() -> None:
    shown, forehead, mask = places(128)
    face = painted(128, GREY)
    lit = evened(face, mask, told(shown), np.array(BROWN, float))
    assert lit[forehead].mean() < 0.75 * face[forehead].mean()
    assert evened(face, mask, told(shown), np.array(BROWN, float), np.ones((64, 64), np.float32)) is face


def test_nothing_is_known_of_a_skin_that_was_not_seen_nor_of_a_face_without_portrait() -> None:
    shown, _, mask = places(128)
    face = painted(128, PALE)
    assert evened(face, mask, told(shown), np.zeros(3)) is face
    assert evened(face, mask, told(np.zeros_like(shown)), np.array(BROWN, float)) is face


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("above", [PALE, GREY])
@pytest.mark.parametrize("skin", [BROWN, (0, 0, 0)])
@pytest.mark.parametrize("light", [0.0, 0.2])
def test_a_device_does_the_same(size: int, above: tuple[int, ...], skin: tuple[int, ...], light: float) -> None:
    where = np.zeros((64, 64), np.float32)
    where[:, 34:] = 0.7
    shown, _, mask = places(size)
    face = painted(size, above)
    expected = evened(face, mask, told(shown, light), np.array(skin, float), where).astype(int)
    levels = face.transpose(2, 0, 1).astype(np.float32)
    parts = levels, mask[None], told(shown, light), np.array(skin, np.float32), where[None]
    found = Foreheads(size, torch.device("cpu")).evened(*(torch.from_numpy(part)[None] for part in parts))
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() <= 2
    assert (np.abs(expected - face).max() > 20) == (skin == BROWN)
