"""The trained generator: what goes in, what comes out, and on which runtime."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.build_generator import choose_model
from deepprivacy_rt.config import FaceConfig, ModelName, Precision
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.generators.gan_openvino import OpenVinoExecutor, load_float, load_quantized
from deepprivacy_rt.generators.gan_torch import TorchExecutor
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.prior import read_prior
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.runtimes.openvino import cpu_has_int8, load_openvino
from deepprivacy_rt.testing import make_detection
from deepprivacy_rt.tracking import OnlineTracker
from deepprivacy_rt.types import FacePatch, Frame
from deepprivacy_rt.weights import Weights


@pytest.fixture(scope="module")
def weights() -> Path:
    return Weights().path("face128")


@pytest.fixture(scope="module", params=["f32", "int8"])
def gan(request: pytest.FixtureRequest, weights: Path, conversions: Path) -> GanGenerator:
    quantized = None
    if request.param == "int8":
        if not cpu_has_int8():
            pytest.skip("this CPU has no AVX2: int8 is not used on it")
        quantized = Weights().path("face128-int8")
    return GanGenerator(weights, device="cpu", salt=b"salt", cache_dir=conversions, quantized=quantized)


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
    hint = random.uniform(0, 1, (1, 2, 128, 128)).astype(np.float32) * mask
    return [image, mask, points, latent, np.array([[0.5, 0.2, 0.9]], np.float32), hint]


def test_openvino_and_pytorch_agree(weights: Path, inputs: list[np.ndarray], conversions: Path) -> None:
    ours = load_float(weights, read_prior(weights), conversions)
    theirs = TorchExecutor(weights, "cpu")
    error = np.abs(ours.run(*inputs) - theirs.run(*inputs))
    assert error.mean() < (1e-4 if ours.precision == "f32" else 0.03)


def test_an_input_that_is_missing_is_no_garbage(weights: Path, inputs: list[np.ndarray], conversions: Path) -> None:
    with pytest.raises(StageError, match="takes 6 inputs, not 5"):
        load_float(weights, read_prior(weights), conversions).run(*inputs[:5])


def test_the_network_is_small_enough_for_live_use() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = Generator(GeneratorConfig()).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        patch = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
        network(*patch, torch.zeros(1, 6, 2), torch.zeros(1, 64), torch.zeros(1, 3))
    assert counter.get_total_flops() / 2 < 1.6e9


def test_conversion_is_kept_and_used_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def small(width: int) -> Path:
        path = tmp_path / "small.safetensors"
        save_generator(Generator(GeneratorConfig(size=32, width=width)), path)
        return path

    weights = small(8)
    first = load_float(weights, read_prior(weights), cache)
    (folder,) = cache.iterdir()
    stamp = (folder / "generator.bin").stat().st_mtime_ns
    second = load_float(weights, read_prior(weights), cache)
    assert (folder / "generator.bin").stat().st_mtime_ns == stamp
    assert first.precision == second.precision
    load_float(small(16), read_prior(weights), cache)
    assert len(list(cache.iterdir())) == 2  # other weights, though the file has the same name


def test_the_prior_is_read_without_pytorch_as_it_is_with(weights: Path) -> None:
    network, prior = load_generator(weights), read_prior(weights)
    assert prior.size == network.config.size and prior.latent == network.config.latent
    assert np.array_equal(prior.mean, network.prior_mean.numpy())
    assert np.array_equal(prior.factor, network.prior_factor.numpy())


@pytest.fixture(scope="module")
def quantized() -> Path:
    Weights().path("face128-int8-bin")
    return Weights().path("face128-int8")


@pytest.mark.parametrize("model", ["face128", "face256"])
def test_int8_was_made_from_the_weights_that_are_shipped(model: str) -> None:
    Weights().path(f"{model}-int8-bin")
    network = load_openvino().Core().read_model(Weights().path(f"{model}-int8"))
    source = network.get_rt_info(["deepprivacy_rt", "source_sha256"])
    assert source.astype(str) == hashlib.sha256(Weights().path(model).read_bytes()).hexdigest()


def test_both_models_share_the_generator_below_and_so_the_identities() -> None:
    ours, theirs = (load_generator(Weights().path(name)).state_dict() for name in ("face128", "face256"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert all(name.startswith("detail.") for name in set(theirs) - set(ours))


@pytest.mark.parametrize("precision", ["auto", "f32"])
def test_face256_draws_the_same_faces_with_more_detail(
    precision: Precision, make_face: Callable[..., np.ndarray]
) -> None:
    small, large = (make_face(model, precision) for model in ("face128", "face256"))
    assert small.shape == (128, 128, 3) and large.shape == (256, 256, 3)
    inner = np.s_[40:100, 36:92]
    shrunk = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(small[inner].astype(int) - shrunk[inner]).mean() < 16
    enlarged = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)
    detail = [cv2.Laplacian(face[80:200, 72:184], cv2.CV_32F).var() for face in (large, enlarged)]
    assert detail[0] > 2 * detail[1]


@pytest.fixture
def make_face() -> Callable[..., np.ndarray]:
    def make(model: ModelName, precision: Precision) -> np.ndarray:
        config = FaceConfig(model=model, precision=precision, device="cpu", seed=1, privacy="strict")
        generator = build_anonymizer(config, Weights()).generator
        (answer,) = generator.generate(make_patches(1, generator.patch_size))
        return answer.image

    return make


@pytest.mark.skipif(not cpu_has_int8(), reason="this CPU has no AVX2: int8 is not used on it")
@pytest.mark.parametrize(("colourfulness", "mean", "worst"), [(0.5, 4, 6), (1.0, 6, 9)], ids=["usual", "garish"])
def test_int8_is_close_to_float32(
    colourfulness: float, mean: float, worst: float, weights: Path, quantized: Path, conversions: Path
) -> None:
    """In grey levels, on surroundings of noise (held-out faces: 2 to 2.6). Clipped ranges are 10 off in garish ones."""
    prior, random = read_prior(weights), np.random.default_rng(2)
    coarse = torch.from_numpy(random.uniform(-colourfulness, colourfulness, (12, 3, 4, 4)).astype(np.float32))
    image = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(-1, 1).numpy()
    mask = np.zeros((12, 1, 128, 128), np.float32)
    mask[..., 16:112, 24:104] = 1
    points = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [0, 0.25], [-0.45, 0], [0.45, 0]])
    points = points + random.normal(0, 0.05, (12, 6, 2))
    latent = prior.mean + 0.9 * random.standard_normal((12, prior.latent)) @ prior.factor.T
    told = random.uniform(0, 1, (12, 3)).astype(np.float32)
    hint = np.zeros((12, 2, 128, 128), np.float32)
    hint[:, 0, 32:96, 32:96] = 0.2 * image[:, 0, 32:96, 32:96]
    hint[:, 1, 32:96, 32:96] = 1
    arrays = image * (1 - mask), mask, points.astype(np.float32), latent.astype(np.float32), told, hint
    int8, exact = (
        np.clip(executor.run(*arrays), -1, 1) * 127.5
        for executor in (load_quantized(quantized), load_float(weights, prior, conversions, exact=True))
    )
    error = np.abs(int8 - exact)[..., 16:112, 24:104].mean(axis=(1, 2, 3))
    # Not zero either: that would be float32 compared with itself.
    assert 0.1 < error.mean() < mean
    assert error.max() < worst


def precision_of(generator: GanGenerator) -> str:
    executor = generator._executor
    assert isinstance(executor, OpenVinoExecutor)
    return executor.precision


def test_int8_is_used_where_the_cpu_has_int8_and_not_where_float32_was_asked_for(
    weights: Path, quantized: Path, conversions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**options: str) -> GanGenerator:
        return GanGenerator(weights, device="cpu", salt=b"", cache_dir=conversions, quantized=quantized, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("deepprivacy_rt.generators.gan.cpu_has_int8", lambda: True)
    assert precision_of(make()) == "int8"
    assert precision_of(make(precision="f32")) == "f32"
    monkeypatch.setattr("deepprivacy_rt.generators.gan.cpu_has_int8", lambda: False)
    assert precision_of(make()) in ("f32", "bf16")


@pytest.mark.skipif(not cpu_has_int8(), reason="this CPU has no AVX2: int8 is not used on it")
def test_int8_needs_no_pytorch(weights: Path, quantized: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deepprivacy_rt.generators.gan import GanGenerator; "
        "GanGenerator(Path(sys.argv[1]), device='cpu', salt=b'', quantized=Path(sys.argv[2])); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(weights), str(quantized)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False"]


def test_latents_belong_to_identity_and_salt(weights: Path, gan: GanGenerator, conversions: Path) -> None:
    assert np.array_equal(gan.latent(3), gan.latent(3))
    assert not np.allclose(gan.latent(3), gan.latent(4), atol=0.05)
    other = GanGenerator(weights, device="cpu", salt=b"other", cache_dir=conversions)
    assert not np.allclose(gan.latent(3), other.latent(3), atol=0.05)
    assert np.array_equal(
        other.latent(3), GanGenerator(weights, device="cpu", salt=b"other", cache_dir=conversions).latent(3)
    )


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


@pytest.mark.parametrize(
    ("config", "live", "model"),
    [
        (FaceConfig(), False, "face256"),
        (FaceConfig(), True, "face128"),
        (FaceConfig(effort="fast"), False, "face128"),
        (FaceConfig(precision="f32"), False, "face128"),
        (FaceConfig(model="face256"), True, "face256"),
        (FaceConfig(model="face128"), False, "face128"),
    ],
)
def test_files_get_the_finer_generator_and_live_streams_the_faster_one(
    config: FaceConfig, live: bool, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepprivacy_rt.build_generator.cpu_has_int8", lambda: True)
    assert choose_model(config, "cpu", hurried=live).model == model
    monkeypatch.setattr("deepprivacy_rt.build_generator.cpu_has_int8", lambda: False)
    assert choose_model(config, "cpu", hurried=live).model == ("face128" if config.model == "auto" else model)


@pytest.mark.parametrize(("live", "model"), [(False, "face256"), (True, "face128")])
def test_an_anonymizer_has_the_generator_that_was_chosen_and_one_thread_of_pytorch(
    live: bool, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepprivacy_rt.build_generator.cpu_has_int8", lambda: True)
    torch.set_num_threads(2)
    anonymizer = build_anonymizer(FaceConfig(device="cpu"), Weights(), live=live)
    assert anonymizer.config.model == model and anonymizer.generator.patch_size == int(model[4:])
    assert torch.get_num_threads() == 1


def test_gpus_get_the_finer_generator_for_live_streams_too() -> None:
    assert choose_model(FaceConfig(), "cuda:1", hurried=True).model == "face256"
    assert choose_model(FaceConfig(effort="fast"), "cuda", hurried=False).model == "face128"
    assert choose_model(FaceConfig(), "mps", hurried=False).model == "face128"
