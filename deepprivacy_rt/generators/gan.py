"""Faces from the trained network, on OpenVINO (CPU) or PyTorch (CUDA, MPS, and CPUs without OpenVINO).

All that enters the network is a patch's erased pixels, its mask, its keypoints, and a latent that is drawn from the
track's identity number and the session's salt: nothing of the face.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, cpu_has_bf16, is_installed
from deepprivacy_rt.types import FacePatch, Replacement

Floats = NDArray[np.float32]

TRUNCATION = 0.9
"""Latents are drawn with this share of the prior's deviation: its tails are where faces go wrong."""
_BF16_TOLERANCE = 0.03
"""Largest mean error of bf16 against f32, of outputs in -1..1, that is still used: about four grey levels."""


class Executor(Protocol):
    """Runs the network on one machine's hardware."""

    def run(self, image: Floats, mask: Floats, keypoints: Floats, latent: Floats) -> Floats:
        """Map (n, 3, s, s), (n, 1, s, s), (n, 6, 2), (n, latent) float32 to (n, 3, s, s) float32."""
        ...


class TorchExecutor:
    """The network in PyTorch: bfloat16 on CUDA, float32 elsewhere."""

    def __init__(self, network: Generator, device: str) -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device)
        self._autocast = self._device.type == "cuda"

    @torch.inference_mode()
    def run(self, image: Floats, mask: Floats, keypoints: Floats, latent: Floats) -> Floats:
        """See :class:`Executor`."""
        inputs = [torch.from_numpy(array).to(self._device) for array in (image, mask, keypoints, latent)]
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            output = self._network(*inputs)
        result: Floats = output.float().cpu().numpy()
        return result


class OpenVinoExecutor:
    """The network in OpenVINO on one CPU thread, one face at a time; bf16 where the CPU has it and it is exact enough.

    :param weights: the generator's file; its conversion is kept in ``cache_dir`` under its checksum.
    :param cache_dir: None converts anew.
    """

    def __init__(self, weights: Path, network: Generator, cache_dir: Path | None) -> None:
        if cache_dir is None:
            with tempfile.TemporaryDirectory() as scratch:
                self._network = self._compile(_converted(weights, network, Path(scratch)), network)
        else:
            self._network = self._compile(_converted(weights, network, cache_dir), network)
        self.precision = self._network.precision

    @staticmethod
    def _compile(model: Path, network: Generator) -> OpenVinoNetwork:
        exact = OpenVinoNetwork(model)
        if cpu_has_bf16():
            half = OpenVinoNetwork(model, precision="bf16")
            probe = [tensor.numpy() for tensor in _probe(network)]
            if np.abs(half.infer(probe)[0] - exact.infer(probe)[0]).mean() <= _BF16_TOLERANCE:
                return half
        return exact

    def run(self, image: Floats, mask: Floats, keypoints: Floats, latent: Floats) -> Floats:
        """See :class:`Executor`."""
        rows = zip(image, mask, keypoints, latent, strict=True)
        return np.concatenate([self._network.infer([array[None] for array in row])[0] for row in rows])


def _converted(weights: Path, network: Generator, cache_dir: Path) -> Path:
    """Return the network as OpenVINO's own file, converting it unless that was done before."""
    import openvino

    key = hashlib.sha256(weights.read_bytes() + openvino.__version__.encode()).hexdigest()[:16]
    folder = cache_dir / f"{weights.stem}-{key}"
    if not folder.is_dir():
        probe = _probe(network)
        model = openvino.convert_model(network, example_input=probe, input=[list(tensor.shape) for tensor in probe])
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            openvino.save_model(model, made / "generator.xml", compress_to_fp16=False)
            # Another process may have been faster; its folder holds the same.
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder / "generator.xml"


def _probe(network: Generator) -> tuple[torch.Tensor, ...]:
    """Return one plausible input, the same every time."""
    config, random = network.config, torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 1, config.size, config.size)
    mask[:, :, config.size // 4 : -config.size // 4, config.size // 4 : -config.size // 4] = 1
    image = torch.rand(1, 3, config.size, config.size, generator=random) * 2 - 1
    keypoints = torch.tensor([[[-0.2, -0.1], [0.2, -0.1], [0.0, 0.1], [0.0, 0.25], [-0.45, 0.0], [0.45, 0.0]]])
    return image * (1 - mask), mask, keypoints, torch.randn(1, config.latent, generator=random)


class GanGenerator:
    """Invents faces with a trained network (a :class:`deepprivacy_rt.stages.Generator`).

    :param weights: a file of :mod:`deepprivacy_rt.networks.serialization`, its checksum already verified.
    :param device: "cpu", "cuda", "cuda:N" or "mps"; it must exist.
    :param salt: the session's secret; the same salt and identity give the same face.
    :param cache_dir: for compiled networks.

    Raises WeightsError.
    """

    def __init__(self, weights: Path, *, device: str, salt: bytes, cache_dir: Path | None = None) -> None:
        network = load_generator(weights)
        self._config = network.config
        self._mean, self._factor = network.prior_mean.numpy(), network.prior_factor.numpy()
        self._salt = salt
        self._executor: Executor
        if device == "cpu" and is_installed():
            self._executor = OpenVinoExecutor(weights, network, cache_dir)
        else:
            self._executor = TorchExecutor(network, device)

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._config.size

    def latent(self, identity: int) -> Floats:
        """Return the identity's latent, (latent,) float32: the prior's, seeded by a hash of salt and identity."""
        seed = hashlib.sha256(self._salt + identity.to_bytes(8, "little", signed=True)).digest()
        random = np.random.default_rng(int.from_bytes(seed, "little"))
        drawn = self._mean + TRUNCATION * self._factor @ random.standard_normal(self._config.latent)
        return np.asarray(drawn, np.float32)

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return a replacement per patch. One whose output is not finite is left out, and so stays filled.

        Raises StageError when a patch has the wrong size or the network fails.
        """
        if not patches:
            return []
        size = self._config.size
        if any(patch.image.shape[0] != size for patch in patches):
            raise StageError(f"the generator takes patches of {size} pixels")
        mask = np.stack([patch.mask for patch in patches])[:, None].astype(np.float32)
        image = np.stack([patch.image for patch in patches]).transpose(0, 3, 1, 2).astype(np.float32)
        image = (image * np.float32(1 / 127.5) - 1) * (1 - mask)
        # Pixel centres → -1..1 over the outer edges of the patch.
        keypoints = (np.stack([patch.keypoints for patch in patches]) + 0.5) * np.float32(2 / size) - 1
        latent = np.stack([self.latent(patch.track.identity) for patch in patches])
        output = self._executor.run(np.ascontiguousarray(image), mask, keypoints.astype(np.float32), latent)
        return [
            Replacement(patch=patch, image=_to_image(face))
            for patch, face in zip(patches, output, strict=True)
            if np.isfinite(face).all()
        ]


def _to_image(face: Floats) -> NDArray[np.uint8]:
    """(3, s, s) -1..1 → (s, s, 3) uint8."""
    return np.ascontiguousarray(np.rint((np.clip(face, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0))
