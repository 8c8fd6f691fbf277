"""The trained generator: what goes in, what comes out, and on which runtime."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.generators.gan import GanGenerator, OpenVinoExecutor, TorchExecutor
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.testing import make_detection
from deepprivacy_rt.tracking import OnlineTracker
from deepprivacy_rt.types import FacePatch, Frame
from deepprivacy_rt.weights import Weights


@pytest.fixture(scope="module")
def weights() -> Path:
    return Weights().path("face128")


@pytest.fixture(scope="module")
def gan(weights: Path) -> GanGenerator:
    return GanGenerator(weights, device="cpu", salt=b"salt")


def make_patches(count: int = 1, size: int = 128) -> list[FacePatch]:
    image = np.random.default_rng(0).integers(90, 160, (400, 700, 3), np.uint8)
    detections = [make_detection(180 + 300 * i, 200, 120) for i in range(count)]
    cropper, tracks = AlignedCropper(size), OnlineTracker().update(0, detections)
    safe = cropper.erase(Frame(image, 0, Fraction(0)), tracks)
    return [cropper.cut(safe, track) for track in tracks]


@pytest.fixture
def inputs(weights: Path) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    mask = np.zeros((1, 1, 128, 128), np.float32)
    mask[..., 16:112, 24:104] = 1
    image = random.uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32) * (1 - mask)
    points = np.array([[[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [0, 0.25], [-0.45, 0], [0.45, 0]]], np.float32)
    latent = load_generator(weights).prior_mean.numpy()[None]
    return [image, mask, points, latent]


def test_openvino_and_pytorch_agree(weights: Path, inputs: list[np.ndarray]) -> None:
    ours = OpenVinoExecutor(weights, load_generator(weights), None)
    theirs = TorchExecutor(load_generator(weights), "cpu")
    error = np.abs(ours.run(*inputs) - theirs.run(*inputs))
    assert error.mean() < (1e-4 if ours.precision == "f32" else 0.03)


def test_the_network_is_small_enough_for_live_use() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = Generator(GeneratorConfig()).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128), torch.zeros(1, 6, 2), torch.zeros(1, 64))
    assert counter.get_total_flops() / 2 < 1.6e9


def test_conversion_is_kept_and_used_again(weights: Path, tmp_path: Path) -> None:
    first = OpenVinoExecutor(weights, load_generator(weights), tmp_path)
    (folder,) = tmp_path.iterdir()
    stamp = (folder / "generator.bin").stat().st_mtime_ns
    second = OpenVinoExecutor(weights, load_generator(weights), tmp_path)
    assert (folder / "generator.bin").stat().st_mtime_ns == stamp
    assert first.precision == second.precision
    other = tmp_path / "other.safetensors"
    save_generator(Generator(GeneratorConfig(width=16)), other)
    OpenVinoExecutor(other, load_generator(other), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_latents_belong_to_identity_and_salt(weights: Path, gan: GanGenerator) -> None:
    assert np.array_equal(gan.latent(3), gan.latent(3))
    assert not np.allclose(gan.latent(3), gan.latent(4), atol=0.05)
    other = GanGenerator(weights, device="cpu", salt=b"other")
    assert not np.allclose(gan.latent(3), other.latent(3), atol=0.05)
    assert np.array_equal(other.latent(3), GanGenerator(weights, device="cpu", salt=b"other").latent(3))


def test_two_identities_are_two_faces_in_the_same_place(gan: GanGenerator) -> None:
    first, second = gan.generate(make_patches(2))
    assert first.image.shape == (128, 128, 3) and first.image.dtype == np.uint8
    (again, _) = gan.generate(make_patches(2))
    assert np.array_equal(first.image, again.image)
    inside = first.patch.mask
    # The contexts are the same noise up to the position: what differs under the mask is the latent's work.
    assert np.abs(first.image[inside].astype(int) - second.image[inside].astype(int)).mean() > 4
    # It is no flat fill: a face has structure.
    assert first.image[inside].std() > 15


def test_what_is_not_finite_is_left_out(gan: GanGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def run(self, *arrays: np.ndarray) -> np.ndarray:
            output = np.zeros_like(arrays[0])
            output[0, 0, 0, 0] = np.nan
            return output

    monkeypatch.setattr(gan, "_executor", Broken())
    patches = make_patches(2)
    (only,) = gan.generate(patches)
    assert only.patch is patches[1]


def test_no_patches_and_wrong_patches(gan: GanGenerator) -> None:
    assert gan.generate([]) == []
    with pytest.raises(StageError, match="128"):
        gan.generate(make_patches(1, size=64))


@pytest.mark.parametrize("kind", ["missing", "text", "foreign", "wrong shape"])
def test_bad_weights_are_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    if kind == "text":
        path.write_text("not weights")
    elif kind == "foreign":
        save_file({"a": torch.zeros(1)}, path)
    elif kind == "wrong shape":
        header = {"format": "deepprivacy-rt generator 1", "config": json.dumps(GeneratorConfig().to_dict())}
        save_file({"a": torch.zeros(1)}, path, metadata=header)
    with pytest.raises(WeightsError, match="bad.safetensors"):
        GanGenerator(path, device="cpu", salt=b"")
