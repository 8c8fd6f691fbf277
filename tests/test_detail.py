"""The detail head and its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import ConfigError
from deepprivacy_rt.networks.blocks import keypoint_maps
from deepprivacy_rt.networks.detail import halve
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.training.config import DetailConfig, read_detail_config
from deepprivacy_rt.training.dataset import load
from deepprivacy_rt.training.detail import DetailTrainer, gaussian
from deepprivacy_rt.training.detail_run import DetailRun

CPU = torch.device("cpu")
SMALL = GeneratorConfig(size=32, width=16, latent=8, style=32)
RECIPE = DetailConfig(pack="", output="", generator="", encoder="", width=8, judge_width=8, crop=32, batch=6)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make_trainer(packed: Path) -> DetailTrainer:
    torch.manual_seed(0)
    data = {r: load(packed, CPU, lambda _: True, GEOMETRY[r].side) for r in Region}
    return DetailTrainer(RECIPE, Generator(SMALL), Encoder(SMALL.latent), data, CPU)


def test_an_erased_patch_is_halved_without_what_is_erased() -> None:
    image, mask = torch.rand(1, 3, 8, 8) + 1, torch.zeros(1, 1, 8, 8)
    mask[..., 3:5, 2:6] = 1
    small, small_mask = halve(image * (1 - mask), mask)
    assert torch.equal(small_mask[0, 0], torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0.0]]))
    assert not (small * small_mask).any()
    assert torch.allclose(small * (1 - small_mask), F.avg_pool2d(image, 2) * (1 - small_mask))


def test_a_network_with_a_head_draws_what_the_one_below_draws_and_adds_to_it() -> None:
    below = Generator(SMALL).eval()
    whole = Generator(replace(SMALL, size=64, detail=8)).eval()
    whole.load_state_dict(below.state_dict(), strict=False)
    image, mask = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    told = torch.zeros(2, 6, 2), torch.randn(2, 8), torch.full((2, 3), 0.5)
    with torch.no_grad():
        drawn = below(image[..., ::2, ::2] * 0, mask[..., ::2, ::2], *told)
        made = whole(image * 0, mask, *told)
        assert whole.detail is not None
        whole.detail.to_luma.weight.zero_()
        plain = whole(image * 0, mask, *told)
    assert made.shape == (2, 3, 64, 64)
    assert torch.allclose(plain, F.interpolate(drawn, scale_factor=2.0, mode="bilinear"), atol=1e-5)
    assert not torch.allclose(made, plain, atol=1e-4)


def test_keypoint_maps_are_gaussians_around_the_keypoints() -> None:
    points = torch.tensor([[[-0.5, 0.25], [0.9, -0.9]]])
    maps = keypoint_maps(points, 16, sigma=1.5)
    place = (points + 1) * 8 - 0.5
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for row, (px, py) in enumerate(place[0]):
        assert torch.allclose(maps[0, row], torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 1.5**2)), atol=1e-5)


def test_a_blur_keeps_the_mean_and_takes_the_detail() -> None:
    image = torch.rand(3, 32, 32)
    soft = gaussian(image, 1.0)
    assert soft.shape == image.shape and abs(float(soft.mean() - image.mean())) < 0.01
    assert soft.std() < 0.5 * image.std()


def test_the_head_learns_and_the_generator_below_stays(packed: Path) -> None:
    trainer = make_trainer(packed)
    below = [p.clone() for name, p in trainer.generator.named_parameters() if not name.startswith("detail.")]
    logs = [trainer.step() for _ in range(35)]
    early, late = (sum(log["near"].item() for log in part) / 10 for part in (logs[:10], logs[-10:]))
    assert late < 0.9 * early
    assert all(np.isfinite(value.item()) for log in logs for value in log.values())
    after = [p for name, p in trainer.generator.named_parameters() if not name.startswith("detail.")]
    assert all(torch.equal(a, b) for a, b in zip(below, after, strict=True))


def test_a_run_is_resumed_and_exported(packed: Path, tmp_path: Path) -> None:
    save_generator(Generator(SMALL), tmp_path / "below.safetensors")
    from safetensors.torch import save_file

    save_file(Encoder(SMALL.latent).state_dict(), tmp_path / "encoder.safetensors")
    recipe = replace(RECIPE, pack=str(packed), generator="below.safetensors", encoder="encoder.safetensors", ema=20.0)
    first = DetailRun(recipe, tmp_path, tmp_path / "run", device=CPU, report=lambda _: None)
    first.run(0.02, log_every=1)
    assert first.trainer.step_count > 0
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 1 + first.trainer.step_count
    assert list((tmp_path / "run").glob("sheet_face_*.png"))
    second = DetailRun(recipe, tmp_path, tmp_path / "run", device=CPU, report=lambda _: None)
    assert second.trainer.step_count == first.trainer.step_count
    for ours, theirs in zip(first.trainer.head.parameters(), second.trainer.head.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    save_generator(second.trainer.generator, tmp_path / "whole.safetensors")
    assert load_generator(tmp_path / "whole.safetensors").config == replace(SMALL, size=64, detail=8)


def test_a_wrong_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('pack = "a"\noutput = "b"\ngenerator = "c"\nencoder = "d"\nwidht = 3\n')
    with pytest.raises(ConfigError, match="'widht'"):
        read_detail_config(path)
    path.write_text('pack = "a"\n')
    with pytest.raises(ConfigError, match="output"):
        read_detail_config(path)


def test_the_shipped_recipe_is_read() -> None:
    root = Path(__file__).resolve().parents[1]
    recipe = read_detail_config(root / "configs/train_face256.toml")
    assert (root / "configs" / recipe.generator).is_file() and (root / "configs" / recipe.encoder).is_file()
