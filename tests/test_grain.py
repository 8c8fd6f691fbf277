"""Foreheads have grain where skin was painted, which goes with the head, on the host and on a device."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from deepprivacy_rt.generators.grain import SIZE, grained, in_map, made
from deepprivacy_rt.on_device.forehead import Foreheads
from deepprivacy_rt.on_device.grain import Grainer
from deepprivacy_rt.portraits.canonical import Floats, to_map
from deepprivacy_rt.types import Image

SKIN, HAIR = (190, 150, 132), (36, 30, 28)


def head(size: int, yaw: float = 0.0, right: float = 0.0) -> np.ndarray:
    """A pose, from canonical points to patch pixels."""
    pose = np.zeros((2, 4))
    pose[0, :3] = 0.32 * size * np.array([np.cos(yaw), 0.0, np.sin(yaw)])
    pose[1, 1] = 0.32 * size
    pose[:, 3] = size / 2 + right, 0.55 * size
    return pose


def portrait(size: int, right: int = 0) -> Floats:
    """How much of a portrait is to be seen."""
    shown = np.zeros((size, size), np.float32)
    middle = size // 2 + right, int(0.55 * size)
    cv2.ellipse(shown, middle, (int(0.2 * size), int(0.25 * size)), 0, 0, 360, 1.0, cv2.FILLED)
    return shown


def painted(size: int) -> Image:
    face = np.full((size, size, 3), SKIN, np.uint8)
    face[: size // 8] = HAIR
    return face


def enlarged(face: Image, zoom: int) -> Image:
    return np.asarray(face.repeat(zoom, axis=0).repeat(zoom, axis=1))


def test_the_map_repeats_without_a_seam_and_is_the_same_each_time() -> None:
    grain = made()
    assert np.array_equal(grain, made()) and abs(grain.mean()) < 1e-4
    inner = np.abs(np.diff(grain, axis=0)).mean()
    assert np.abs(grain[0] - grain[-1]).mean() < 1.2 * inner


def test_there_is_as_much_of_it_as_on_foreheads_of_portraits() -> None:
    fine = cv2.resize(np.tile(made(), (2, 2)), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    blurs = [fine, *(cv2.GaussianBlur(fine, (0, 0), deviation) for deviation in (1.0, 2.0, 4.0))]
    bands = [(one - other).std() for one, other in pairwise(blurs)]
    assert bands == pytest.approx([0.0070, 0.0059, 0.0050], rel=0.1)


@pytest.mark.parametrize(("size", "zoom"), [(128, 1), (128, 2), (256, 1)])
def test_skin_above_a_portrait_has_grain_and_nothing_else_has(size: int, zoom: int) -> None:
    face, shown = painted(size), portrait(size)
    picture = enlarged(face, zoom)
    result = grained(picture, face, shown, head(size), made())
    change = np.abs(result.astype(int) - picture).max(axis=2)[::zoom, ::zoom]
    middle = slice(int(0.45 * size), int(0.55 * size))
    forehead = change[int(0.2 * size) : int(0.27 * size), middle]
    assert forehead.mean() > 0.5 and forehead.max() < 0.08 * 255
    inside = cv2.erode(shown, np.ones((size // 16 + 1,) * 2)) > 0
    below, beside = np.s_[int(0.85 * size) :], np.abs(np.arange(size) / size - 0.5) > 0.3
    for place in (np.s_[: size // 12], inside, below, (slice(None), beside)):
        assert not change[place].any()


def test_grain_goes_with_the_head() -> None:
    size, grain = 128, made()
    face = painted(size)
    still = grained(face, face, portrait(size), head(size), grain).astype(int) - face
    moved = grained(face, face, portrait(size, 6), head(size, right=6.0), grain).astype(int) - face
    part = np.s_[int(0.2 * size) : int(0.27 * size), 58:70]
    later = np.s_[int(0.2 * size) : int(0.27 * size), 64:76]
    assert np.abs(moved[later] - still[part]).max() <= 1
    assert np.abs(moved[part] - still[part]).mean() > 1


@pytest.mark.parametrize("zoom", [1, 2])
def test_pixels_of_a_head_lie_in_the_map_where_portraits_have_them(zoom: int) -> None:
    pose, canonical = head(128, yaw=0.4, right=3.0), np.array([0.2, -0.7], np.float32)
    patch = pose[:, :2] @ canonical + pose[:, 3]
    pixel = (patch + 0.5) * zoom - 0.5
    texel = in_map(pose, zoom) @ np.append(pixel, 1.0)
    assert texel == pytest.approx(to_map(canonical, 192) + 0.5, abs=1e-3)


def test_no_portrait_no_grain() -> None:
    face = painted(64)
    assert grained(face, face, np.zeros((64, 64), np.float32), head(64), made()) is face


@pytest.mark.parametrize(("size", "zoom"), [(128, 1), (128, 2), (256, 1)])
def test_a_device_does_the_same(size: int, zoom: int) -> None:
    face, poses = painted(size), [head(size), head(size, yaw=0.5, right=-3.0 * SIZE)]
    picture, shown = enlarged(face, zoom), portrait(size)
    expected = np.stack([grained(picture, face, shown, pose, made()) for pose in poses]).astype(int)

    def batch(part: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(part, np.float32)).expand(2, -1, -1, -1)

    cpu = torch.device("cpu")
    grainer = Grainer(size, size * zoom, Foreheads(size, cpu), cpu)
    fine = enlarged(shown[..., None], zoom).transpose(2, 0, 1)
    found = grainer.grained(
        batch(picture.transpose(2, 0, 1)), batch(face.transpose(2, 0, 1)), batch(fine), batch(shown[None]), poses
    )
    off = np.abs(found.permute(0, 2, 3, 1).numpy() - expected)
    assert off.max() <= 2 and off.mean() < 0.02
    assert np.abs(expected - picture).max() > 3
