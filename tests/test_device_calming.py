"""Faces calmed on a device, as they are on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.on_device.calming import FaceCalmer
from deepprivacy_rt.on_device.cutting import PatchCutter, Patches
from deepprivacy_rt.on_device.erasing import erase
from deepprivacy_rt.on_device.shapes import FaceShape
from deepprivacy_rt.testing import make_frame, make_track
from deepprivacy_rt.types import Expression, FaceTrack

SIZE = 64
FACE = make_track(160, 120, 90)


def cut(track: FaceTrack, brighter: int = 0) -> tuple[Patches, FaceShape]:
    """Return the patch of a face that is erased, and its shape."""
    shape = FaceShape.of(track, GEOMETRY[Region.FACE], SIZE)
    image = torch.from_numpy(np.minimum(make_frame().image.astype(int) + brighter, 255).astype(np.uint8))
    cover = torch.zeros(image.shape[:2], dtype=torch.bool)
    erase(image, cover, [shape])
    return PatchCutter(GEOMETRY[Region.FACE], SIZE, torch.device("cpu")).cut(image, cover, [shape]), shape


def changed(track: FaceTrack, *, portrayed: bool = True, brighter: int = 0) -> float:
    """Return by how much a face that is drawn 60 levels darker in a part changes at once."""
    calmer, whole = FaceCalmer(30.0, portrayed=portrayed), torch.full((1, 3, SIZE, SIZE), 150.0)
    good = torch.ones(1, dtype=torch.bool)
    patches, shape = cut(FACE)
    calmer.calmed(whole, good, patches, [shape])
    darker = whole.clone()
    darker[..., 12:22, 20:44] -= 60
    patches, shape = cut(track, brighter)
    found = calmer.calmed(darker, good, patches, [shape])
    return float((150 - found[..., 14:20, 26:38]).mean())


def test_at_rest_all_that_changes_around_a_portrait_is_mixed() -> None:
    assert 1 <= changed(FACE) <= 8
    assert changed(FACE, portrayed=False) >= 50


def turned(track: FaceTrack) -> FaceTrack:
    keypoints = track.keypoints.copy()
    keypoints[2, 0] += 8
    return dataclasses.replace(track, keypoints=keypoints)


OTHERWISE: dict[str, Callable[[FaceTrack], FaceTrack]] = {
    "turns": turned,
    "moves": lambda track: make_track(162, 120, 90),
    "speaks": lambda track: dataclasses.replace(track, expression=Expression(0.6, 0.7, 0.7)),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_changes_is_there_at_once_when_a_face(name: str) -> None:
    assert changed(OTHERWISE[name](FACE)) >= 45


def test_what_changes_is_there_at_once_when_the_light_changes() -> None:
    assert changed(FACE, brighter=12) >= 45


def test_a_face_that_creeps_is_compared_with_where_it_was_some_frames_ago() -> None:
    calmer, good = FaceCalmer(30.0, portrayed=True), torch.ones(1, dtype=torch.bool)
    left = []
    for step in range(10):  # a fifth of a patch pixel per frame
        patches, shape = cut(make_track(160 + 0.5 * step, 120, 90))
        face = torch.full((1, 3, SIZE, SIZE), 150.0)
        face[..., 12:22, 20:44] -= 6 * step
        found = calmer.calmed(face, good, patches, [shape])
        left.append(float((found - face)[..., 14:20, 26:38].mean()))
    assert max(left[4:]) < 25  # with nothing but the frame before to compare with, 39
