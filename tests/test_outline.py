"""Smoke along a head's outline becomes an edge where a wall is near, on the host and on a device."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from deepprivacy_rt.generators.outline import outlined
from deepprivacy_rt.on_device.outline import Outliner
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import Image

GRID = 64
SKIN, HAIR, GREY, BLACK = (206, 168, 148), (40, 32, 30), (206, 208, 210), (24, 26, 30)


def scene(
    size: int, inside: tuple[int, ...], wall: tuple[int, ...], soft: float = 0.035
) -> tuple[Image, Floats, Floats]:
    """A head as a network paints it, where a wall was continued, and its colours.

    :param soft: deviation of the head's edge, in sides.
    """
    oval = np.zeros((size, size), np.float32)
    cv2.ellipse(oval, (size // 2, size // 2), (round(0.25 * size), round(0.36 * size)), 0, 0, 360, 1.0, cv2.FILLED)
    there = cv2.GaussianBlur(oval, (0, 0), soft * size)
    image = np.array(wall, np.float32) + there[..., None] * (np.array(inside, np.float32) - np.array(wall, np.float32))
    coarse = cv2.resize(there, (GRID, GRID), interpolation=cv2.INTER_AREA)
    color = np.full((GRID, GRID, 3), wall, np.float32)
    return np.rint(image).astype(np.uint8), np.asarray(coarse < 0.15, np.float32), color


def everywhere(size: int) -> np.ndarray:
    return np.ones((size, size), bool)


def way(image: Image, inside: tuple[int, ...], wall: tuple[int, ...]) -> np.ndarray:
    """Return how far from the wall's colour to the head's it is, to the left of the middle: 0 to 1."""
    level = int(np.argmax(np.abs(np.subtract(inside, wall))))
    row = image[len(image) // 2, : len(image) // 2, level].astype(float)
    return (row - wall[level]) / (inside[level] - wall[level])


def width(image: Image, inside: tuple[int, ...], wall: tuple[int, ...]) -> float:
    """Return how wide the slope beside the middle is: pixels between a fifth and four fifths of the way."""
    off = way(image, inside, wall)
    return float(((off > 0.2) & (off < 0.8)).sum())


@pytest.mark.parametrize(("inside", "wall"), [(HAIR, GREY), (SKIN, BLACK), (SKIN, GREY)])
@pytest.mark.parametrize("size", [128, 256])
def test_smoke_before_a_wall_becomes_an_edge(size: int, inside: tuple[int, ...], wall: tuple[int, ...]) -> None:
    soft, where, color = scene(size, inside, wall)
    made = outlined(soft, where, color, everywhere(size))
    assert width(made, inside, wall) <= 0.65 * width(soft, inside, wall)
    halves = [int((way(one, inside, wall) > 0.5).argmax()) for one in (soft, made)]
    assert abs(halves[0] - halves[1]) <= size // 64  # it stays where it is
    for level in range(3):  # and no colour is new
        assert made[..., level].min() >= soft[..., level].min() and made[..., level].max() <= soft[..., level].max()


def test_what_is_far_from_a_wall_and_what_was_not_covered_stay() -> None:
    soft, where, color = scene(128, HAIR, GREY)
    assert outlined(soft, np.zeros_like(where), color, everywhere(128)) is soft
    left = where.copy()
    left[:, GRID // 2 :] = 0
    made = outlined(soft, left, color, everywhere(128))
    assert np.array_equal(made[:, 96:], soft[:, 96:]) and not np.array_equal(made[:, :60], soft[:, :60])
    covered = np.zeros((128, 128), bool)
    covered[:64] = True
    made = outlined(soft, where, color, covered)
    assert np.array_equal(made[64:], soft[64:]) and not np.array_equal(made[:64], soft[:64])


def test_an_edge_that_trembles_becomes_smooth() -> None:
    """Teeth along a jaw of a pixel's height are gone: the slope that counts is a blurred picture's."""
    soft, where, color = scene(128, HAIR, GREY)
    ragged = soft.copy()
    ragged[::2, 2:] = soft[::2, :-2]
    made = outlined(ragged, where, color, everywhere(128))
    steps = [np.abs(np.diff((one[48:80, :64, 0] < 120).argmax(axis=1).astype(int))).mean() for one in (ragged, made)]
    assert steps[0] > 1.5 and steps[1] < 0.7 * steps[0]


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize(("inside", "wall"), [(HAIR, GREY), (SKIN, BLACK), (SKIN, GREY)])
def test_a_device_does_the_same(size: int, inside: tuple[int, ...], wall: tuple[int, ...]) -> None:
    soft, where, color = scene(size, inside, wall)
    mask = everywhere(size)
    mask[: size // 4] = False
    expected = outlined(soft, where, color, mask).astype(int)
    parts = soft.transpose(2, 0, 1).astype(np.float32), where[None], color.transpose(2, 0, 1).copy(), mask[None]
    found = Outliner(size, torch.device("cpu")).outlined(*(torch.from_numpy(part)[None] for part in parts))
    difference = np.abs(found[0].permute(1, 2, 0).numpy() - expected)
    assert difference.mean() < 0.1 and difference.max() <= 6
    assert np.abs(expected - soft).max() > 10
