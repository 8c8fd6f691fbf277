"""Training for a few steps on a handful of real (synthetic-people) pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import ConfigError, DeviceError, TrainingError
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.networks.generator import GeneratorConfig
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.training.config import TrainConfig, read_config
from deepprivacy_rt.training.dataset import held_out, load, pack
from deepprivacy_rt.training.following import Follower, drawn_expressions
from deepprivacy_rt.training.run import Run, choose_device
from deepprivacy_rt.training.sheets import plain_views
from deepprivacy_rt.training.views import warp_between

CPU = torch.device("cpu")


@pytest.fixture
def config() -> TrainConfig:
    generator = GeneratorConfig(size=32, width=16, latent=8, style=32)
    return TrainConfig(
        pack="", output="", generator=generator, discriminator_width=8, batch=4, pictures=4000, probe_steps=3
    )


def make_run(config: TrainConfig, packed: Path, output: Path, **options: object) -> Run:
    return Run(config, packed, output, device=CPU, report=lambda _: None, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_losses_move_and_the_networks_with_them(config: TrainConfig, packed: Path, tmp_path: Path) -> None:
    trainer = make_run(config, packed, tmp_path).trainer
    before = [p.clone() for p in trainer.generator.parameters()]
    logs = [trainer.step() for _ in range(45)]
    early, late = (np.mean([log["reconstruction"].item() for log in part]) for part in (logs[:15], logs[-10:]))
    assert late < 0.95 * early
    assert all(np.isfinite(value.item()) for log in logs for value in log.values())
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.generator.parameters(), strict=True)]
    assert all(moved)


def test_a_resumed_run_continues_exactly(config: TrainConfig, packed: Path, tmp_path: Path) -> None:
    whole = make_run(config, packed, tmp_path / "whole").trainer
    for _ in range(4):
        whole.step()
    first = make_run(config, packed, tmp_path / "parts")
    for _ in range(2):
        first.trainer.step()
    first.save()
    second = make_run(config, packed, tmp_path / "parts").trainer
    assert second.step_count == 2
    for _ in range(2):
        second.step()
    for name in ("generator", "encoder", "discriminator", "average"):
        ours, theirs = getattr(whole, name).state_dict(), getattr(second, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_a_chunk_leaves_checkpoint_sheets_metrics_and_weights(
    config: TrainConfig, packed: Path, tmp_path: Path
) -> None:
    run = make_run(replace(config, pictures=40), packed, tmp_path)
    run.run(log_every=5)
    assert run.trainer.pictures == 40
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 2
    assert list(tmp_path.glob("sheet_face_*.png")) and list(tmp_path.glob("sheet_head_*.png"))
    run.export(tmp_path / "export")
    loaded = load_generator(tmp_path / "export/average.safetensors")
    assert loaded.config == config.generator
    for ours, theirs in zip(run.trainer.average.parameters(), loaded.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-3)
    warm = make_run(config, packed, tmp_path / "warm", warm_start=tmp_path / "export")
    assert warm.trainer.pictures == 40


def test_the_kept_state_can_be_continued(packed: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    config = read_config(root / "configs/train_face128.toml")
    trainer = make_run(config, packed, tmp_path, warm_start=root / "weights/training/face128").trainer
    kept = json.loads((root / "weights/training/face128/progress.json").read_text())
    assert 0 <= kept["step"] * kept["batch"] - trainer.pictures < config.batch
    shipped = load_generator(root / "weights/face128.safetensors").state_dict()
    assert all(torch.equal(shipped[name], value) for name, value in trainer.generator.state_dict().items())


def test_the_discriminator_alone_sees_what_is_erased(config: TrainConfig, packed: Path) -> None:
    data = load(packed, CPU, lambda _: True, GEOMETRY[Region.FACE].side)
    views = plain_views(data, GEOMETRY[Region.FACE], 64, torch.arange(len(data.units)))
    assert not (views.image * views.mask).any()
    eyes = ((views.keypoints[:, :2] + 1) * 32 - 0.5).round().long()
    for row, points in enumerate(eyes):
        assert all(views.mask[row, 0, y, x] == 1 for x, y in points.tolist())


def test_views_of_one_face_warp_onto_each_other(packed: Path, config: TrainConfig, tmp_path: Path) -> None:
    sampler = make_run(config, packed, tmp_path).trainer.samplers[Region.FACE]
    index = torch.arange(8)
    geometry, look = sampler.geometry(index), sampler.look(8, strength=0.0)
    later = sampler.nudge(geometry)
    ours, theirs = (sampler.views(index, g, look, jitter=0.0).target for g in (geometry, later))
    moved, known = warp_between(ours, geometry, later, GEOMETRY[Region.FACE])
    inside = known * (moved.abs() > 0) * (theirs.abs() > 0)
    aligned = ((moved - theirs).abs() * inside).sum() / inside.sum()
    unaligned = ((ours - theirs).abs() * inside).sum() / inside.sum()
    assert aligned < 0.6 * unaligned


def test_a_probe_learns_expressions_and_has_a_picture_follow_them(
    packed: Path, model_file: Callable[[str], Path]
) -> None:
    """It reads faces that it knows, and its gradient opens a mouth as Face Mesh, which it never saw, says too."""
    data, region = load(packed, CPU, lambda _: True, GEOMETRY[Region.FACE].side), GEOMETRY[Region.FACE]
    views = plain_views(data, region, 128, torch.arange(10))
    follower = Follower(CPU, FaceMesh(model_file("face-landmark")))
    errors = [follower.learn(views.target, views.keypoints, views.expression).item() for _ in range(25)]
    assert errors[-1] < 0.5 * errors[0]
    told = views.expression + 0.3
    image = views.target.clone().requires_grad_()
    loss = follower.loss(image, views.keypoints, told)
    loss.backward()  # type: ignore[no-untyped-call]
    moved = views.target - 40 * image.grad  # type: ignore[operator]
    assert follower.loss(moved, views.keypoints, told) < loss
    labels, read = follower.label(views.target, views.keypoints, region)
    assert len(labels) == read.sum() == len(views.target)
    # The same faces, cut at another size and turned upright: what Face Mesh said when they were packed.
    assert (labels[:, 0] - views.expression[:, 0]).abs().median() < 0.05


def test_drawn_expressions_open_mouths_more_than_photographs_do() -> None:
    calm = torch.tensor([[0.05, 0.7, 0.7]]).repeat(2000, 1)
    drawn = drawn_expressions(calm, torch.Generator().manual_seed(0))
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert 0.15 < (drawn[:, 0] > 0.4).float().mean() < 0.3
    assert torch.equal(drawn[:, 1:], calm[:, 1:])


def test_held_out_faces_are_a_tenth() -> None:
    assert 0.07 < np.mean([held_out(f"sfhq/{i:05d}.jpg") for i in range(3000)]) < 0.13


def test_bad_input_is_named(tmp_path: Path, config: TrainConfig) -> None:
    with pytest.raises(TrainingError, match="nowhere.npz"):
        make_run(config, tmp_path / "nowhere.npz", tmp_path)
    with pytest.raises(TrainingError, match="manifest.jsonl"):
        pack(tmp_path, tmp_path / "x.npz", None, None, lambda _: None)  # type: ignore[arg-type]
    recipe = tmp_path / "r.toml"
    recipe.write_text('pack = "a"\noutput = "b"\nbatches = 3\n')
    with pytest.raises(ConfigError, match="batches"):
        read_config(recipe)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="CUDA"):
            choose_device("cuda")


def test_light_is_as_warm_as_lamps_and_as_dim_as_rooms_and_a_plain_look_changes_nothing(
    packed: Path, config: TrainConfig, tmp_path: Path
) -> None:
    sampler = make_run(config, packed, tmp_path).trainer.samplers[Region.FACE]
    gain = sampler.look(4000, rooms=True).gain.squeeze()
    assert gain.shape == (4000, 3)
    warmth = torch.log(gain[:, 0] / gain[:, 2])
    lit = gain @ torch.tensor([0.299, 0.587, 0.114])
    assert 0.15 < (warmth > 0.3).float().mean() < 0.3 and 0.05 < (warmth < -0.3).float().mean() < 0.15
    assert 0.1 < (lit < 0.7).float().mean() < 0.3 and (lit > 1.3).float().mean() < 0.15
    assert warmth.abs().max() < 1.1 and lit.min() > 0.3
    studio = sampler.look(4000).gain.squeeze()
    assert torch.log(studio[:, 0] / studio[:, 2]).std() < 0.1
    plain = sampler.look(8, strength=0.0, rooms=True)
    assert torch.allclose(plain.gain, torch.ones(8, 3, 1, 1), atol=1e-6) and torch.equal(
        plain.gamma, torch.ones(8, 1, 1, 1)
    )
