"""Settling a trained generator: expressions change mouth and eyes alone, and lids shut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.training.dataset import load
from deepprivacy_rt.training.following import face_box
from deepprivacy_rt.training.lids import LidCloser, shut_lids
from deepprivacy_rt.training.settle import Settler, acting, drawn_doings, goal, settle, tidied
from deepprivacy_rt.training.sheets import plain_views
from deepprivacy_rt.types import REST
from deepprivacy_rt.weights import Weights

CPU = torch.device("cpu")
SMALL = GeneratorConfig(size=32, width=16, latent=8, style=32)
SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "face128.safetensors"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(Weights().path("face-landmark"))


def test_an_expression_acts_at_mouth_and_eyes_alone(packed: Path) -> None:
    region = GEOMETRY[Region.FACE]
    views = plain_views(load(packed, CPU, lambda _: True, region.side), region, 64, torch.arange(4))
    mouth_acts, eyes_act = acting(views.keypoints, 64, region)
    act = torch.maximum(mouth_acts, eyes_act)
    places = ((views.keypoints + 1) * 32 - 0.5).round().long()
    for row, points in enumerate(places.tolist()):
        right, left, nose, mouth, *_ = points
        assert all(act[row, 0, y, x] > 0.9 for x, y in (right, left, mouth))
        assert act[row, 0, nose[1] - 2, nose[0]] < 0.5
        assert act[row, 0, 2].max() == 0  # the forehead
        assert eyes_act[row, 0, mouth[1], mouth[0]] == 0
        assert mouth_acts[row, 0, right[1], right[0]] == 0


def test_the_goal_has_the_tone_of_the_face_at_rest() -> None:
    act, cover = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    act[..., 40:56, 24:40] = 1
    rest = torch.full((1, 3, 64, 64), 0.2)
    doing = rest + 0.3
    doing[..., 44:48, 28:36] -= 1.0
    wanted = goal(rest, doing, act, cover)
    assert torch.equal(wanted[..., :40, :], rest[..., :40, :])
    assert torch.allclose(wanted[..., 50:54, 26:38], rest[..., 50:54, 26:38], atol=1e-4)  # the skin has its tone again
    assert torch.allclose(wanted[..., 45, 30], rest[..., 45, 30] - 1.0, atol=1e-4)  # and the mouth is open


def test_tidied_faces_have_their_colours_blurred_and_no_grid_behind_the_head() -> None:
    keypoints = torch.tensor([[[-0.25, -0.1], [0.25, -0.1], [0.0, 0.1], [0.0, 0.4], [-0.5, 0.0], [0.5, 0.0]]])
    grid = torch.tensor([[0.3, -0.3], [-0.3, 0.3]]).repeat(32, 32).expand(1, 3, 64, 64)
    out = tidied(grid, keypoints, GEOMETRY[Region.FACE])
    assert torch.allclose(out[0, :, 36:40, 30:34], grid[0, :, 36:40, 30:34], atol=0.01)  # within the face
    assert out[0, :, 4:60, 4:8].abs().max() < 0.15
    colours = torch.cat([grid[:, :1], -grid[:, 1:2] * 0.299 / 0.587, grid[:, 2:] * 0], dim=1)  # all of one brightness
    out = tidied(colours, keypoints, GEOMETRY[Region.FACE])
    assert out[0, :, 8:56, 8:56].abs().max() < 0.02
    even = torch.full((1, 3, 64, 64), 0.25)
    assert torch.allclose(tidied(even, keypoints, GEOMETRY[Region.FACE]), even, atol=1e-5)


def test_settling_brings_the_pupil_nearer_to_the_goal(packed: Path) -> None:
    torch.manual_seed(3)
    teacher = Generator(SMALL)
    with torch.no_grad():  # it takes expressions for much, and shows them everywhere
        teacher.style[0].weight[:, SMALL.latent + 12 : SMALL.latent + 15] *= 20
    settler = Settler(teacher, {r: load(packed, CPU, lambda _: True, GEOMETRY[r].side) for r in Region}, CPU)
    before = [p.clone() for p in teacher.parameters()]
    errors = [float(settler.step()) for _ in range(40)]
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_settling_refuses_a_network_with_a_head(packed: Path, tmp_path: Path) -> None:
    save_generator(Generator(replace(SMALL, size=64, detail=8)), tmp_path / "whole.safetensors")
    with pytest.raises(TrainingError, match="detail head"):
        settle(tmp_path / "whole.safetensors", packed, tmp_path / "out.safetensors", tmp_path / "none", 0.01)
    assert not (tmp_path / "out.safetensors").exists()


def _eye(openness: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face of 64 pixels: skin, two dark eyes 16 pixels wide; and the mesh's points on it."""
    picture = np.full((64, 64, 3), 200, np.uint8)
    points = np.zeros((468, 2), np.float32)
    upper = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
    lower = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
    for x0, above, below, brow in ((8, upper[0], lower[0], (52, 65)), (40, upper[1], lower[1], (282, 295))):
        x = np.linspace(x0, x0 + 16, 9)
        arch = openness / 2 * np.sin(np.linspace(0, np.pi, 9))
        points[list(above)] = np.stack([x, 30 - arch], axis=1)
        points[list(below)] = np.stack([x, 30 + arch], axis=1)
        points[list(brow)] = [[x0 + 6, 20], [x0 + 10, 20]]
        for column in range(x0, x0 + 17):
            half = openness / 2 * np.sin(np.pi * (column - x0) / 16)
            picture[int(np.ceil(30 - half)) : int(30 + half) + 1, column] = 20
    return picture, points


def test_a_shut_lid_is_skin_and_leaves_the_rest_alone() -> None:
    picture, points = _eye()
    shut = shut_lids(picture, points, (1.0, 0.0))
    assert (picture[28:33, 12:21] == 20).any() and (shut[:, 8:25] > 150).all()
    assert np.array_equal(shut[:, 32:], picture[:, 32:])  # the other eye
    assert np.array_equal(shut[:19], picture[:19]) and np.array_equal(shut[40:], picture[40:])
    both = shut_lids(picture, points, (1.0, 1.0))
    assert (both > 150).all()


def test_a_lid_half_down_covers_the_upper_half() -> None:
    picture, points = _eye()
    half = shut_lids(picture, points, (0.5, 0.5))
    assert (half[27:29, 16] > 150).all() and (half[32, 16] < 60).all()
    assert np.array_equal(shut_lids(picture, points, (0.0, 0.0)), picture)


def test_an_eye_in_profile_is_left_alone() -> None:
    picture, points = _eye()
    points[:, 0] *= 0.2
    assert np.array_equal(shut_lids(picture, points, (1.0, 1.0)), picture)


def test_face_mesh_finds_the_lids_of_photographs_lower(packed: Path, mesh: FaceMesh) -> None:
    region = GEOMETRY[Region.FACE]
    views = plain_views(load(packed, CPU, lambda _: True, region.side), region, 128, torch.arange(8))
    told = torch.tensor([[0.1, 0.0, 0.0]]).expand(8, -1)
    shut = LidCloser(mesh).close(views.target, views.keypoints, told, region)

    def eyes(pictures: torch.Tensor) -> np.ndarray:
        found = []
        for row, picture in enumerate(pictures):
            places = ((views.keypoints[row].numpy() + 1) * 64 - 0.5).astype(np.float32)
            image = ((picture.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
            found.append(to_expression(openings(mesh.points(image, crop_of(face_box(128, region), places))))[1:])
        return np.mean(found, axis=1)

    before, after = eyes(views.target), eyes(shut)
    assert before.mean() > 0.5
    assert after.mean() < 0.75 * before.mean()  # in pictures this small it never reads 0
    assert ((shut - views.target).abs().amax(dim=(1, 2, 3)) > 0).all()
    wide = LidCloser(mesh).close(views.target, views.keypoints, torch.ones(8, 3), region)
    assert torch.equal(wide, views.target)  # lids are lowered, never lifted


def test_faces_are_told_to_shut_and_to_narrow_their_eyes() -> None:
    pictures = torch.tensor([[0.3, 0.8, 0.6]]).expand(400, -1)
    told = drawn_doings(torch.tensor(REST), pictures, torch.Generator().manual_seed(0))
    assert told.shape == (400, 3) and told.min() >= 0 and told.max() <= 1
    shut = (told[:, 1:] == 0).all(dim=1).float().mean()
    assert 0.1 < shut < 0.3
    winking = (told[:, 1] - told[:, 2]).abs() > 0.25
    assert 0.02 < winking.float().mean() < 0.15
    assert ((told[:, 0] - 0.3).abs() > 0.01).float().mean() == pytest.approx(0.5, abs=0.1)


def test_the_shipped_generator_shuts_its_eyes(packed: Path, mesh: FaceMesh) -> None:
    region = GEOMETRY[Region.FACE]
    views = plain_views(load(packed, CPU, lambda _: True, region.side), region, 128, torch.arange(8))
    generator = load_generator(SHIPPED).eval()
    read = []
    with torch.no_grad():
        latent = generator.prior_mean + torch.randn(8, generator.config.latent) @ generator.prior_factor.T
        for eyes in (0.0, 0.35, 0.7):
            told = torch.tensor([[0.1, eyes, eyes]]).expand(8, -1)
            out = generator(views.image, views.mask, views.keypoints, latent, told)
            whole = views.mask * out + (1 - views.mask) * views.target
            for row, picture in enumerate(whole):
                places = ((views.keypoints[row].numpy() + 1) * 64 - 0.5).astype(np.float32)
                image = ((picture.clamp(-1, 1).permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
                read.append(to_expression(openings(mesh.points(image, crop_of(face_box(128, region), places))))[1:])
    shut, narrow, wide = np.reshape(read, (3, -1)).mean(axis=1)
    assert shut < narrow < wide
    assert shut < 0.75 * wide
