"""The trained network in OpenVINO on one CPU thread: int8, bf16 or float32."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.generators.batching import BatchCounts, Batcher
from deepprivacy_rt.networks.prior import Prior
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, cpu_has_bf16, load_openvino

Floats = NDArray[np.float32]

_BF16_TOLERANCE = 0.03
"""Largest mean error of bf16 against f32, of outputs in -1..1, that is still used: about four grey levels."""


class OpenVinoExecutor:
    """Runs a compiled network, one face at a time: a batch takes as long. So nobody is waited for to fill one.

    :ivar precision: ``int8``, ``bf16`` or ``f32``.
    """

    def __init__(self, network: OpenVinoNetwork, precision: str) -> None:
        self._network = network
        self._batcher = Batcher(self._one_by_one, np.concatenate)
        self.precision = precision

    @property
    def batches(self) -> BatchCounts:
        """See :class:`deepprivacy_rt.generators.gan.Executor`."""
        return self._batcher.counts

    def run(self, *inputs: Floats) -> Floats:
        """See :class:`deepprivacy_rt.generators.gan.Executor`."""
        return self._batcher(*inputs)

    def _one_by_one(self, *inputs: Floats) -> Floats:
        rows = zip(*inputs, strict=True)
        return np.concatenate([self._network.infer([array[None] for array in row])[0] for row in rows])


def load_quantized(model: Path) -> OpenVinoExecutor:
    """Return the int8 network, made and checked by ``training.quantize``; its ``.bin`` lies beside it.

    Raises WeightsError.
    """
    return OpenVinoExecutor(OpenVinoNetwork(model), "int8")


def load_float(weights: Path, prior: Prior, cache_dir: Path | None, *, exact: bool = False) -> OpenVinoExecutor:
    """Return the network in bf16 where the CPU has it and it is exact enough, else in float32. Raises WeightsError.

    :param cache_dir: where conversions are kept under their checksum, so that later starts need no PyTorch; None
        converts anew.
    :param exact: float32 everywhere.
    """
    if cache_dir is None:
        with tempfile.TemporaryDirectory() as scratch:
            return _compile(_converted(weights, prior, Path(scratch)), prior, exact)
    return _compile(_converted(weights, prior, cache_dir), prior, exact)


def _compile(model: Path, prior: Prior, exact: bool) -> OpenVinoExecutor:
    single = OpenVinoNetwork(model)
    if not exact and cpu_has_bf16():
        half = OpenVinoNetwork(model, precision="bf16")
        probe = _probe(prior)
        if np.abs(half.infer(probe)[0] - single.infer(probe)[0]).mean() <= _BF16_TOLERANCE:
            return OpenVinoExecutor(half, "bf16")
    return OpenVinoExecutor(single, "f32")


def convert(weights: Path, prior: Prior) -> Any:
    """Return the network as an ``openvino.Model`` for one face, in float32. Takes seconds. Raises WeightsError."""
    import torch

    from deepprivacy_rt.networks.serialization import load_generator

    network = load_generator(weights)
    probe = _probe(prior)
    example = tuple(torch.from_numpy(array) for array in probe)
    return load_openvino().convert_model(network, example_input=example, input=[list(array.shape) for array in probe])


def _converted(weights: Path, prior: Prior, cache_dir: Path) -> Path:
    """Return the network as OpenVINO's own file, converting it unless that was done before."""
    openvino = load_openvino()
    key = hashlib.sha256(weights.read_bytes() + openvino.__version__.encode()).hexdigest()[:16]
    folder = cache_dir / f"{weights.stem}-{key}"
    if not folder.is_dir():
        model = convert(weights, prior)
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            openvino.save_model(model, made / "generator.xml", compress_to_fp16=False)
            # Another process may have been faster; its folder holds the same.
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder / "generator.xml"


def _probe(prior: Prior) -> list[Floats]:
    """Return one plausible input, the same every time."""
    random, size = np.random.default_rng(0), prior.size
    mask = np.zeros((1, 1, size, size), np.float32)
    mask[:, :, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    image = random.uniform(-1, 1, (1, 3, size, size)).astype(np.float32) * (1 - mask)
    keypoints = [[[-0.2, -0.1], [0.2, -0.1], [0.0, 0.1], [0.0, 0.25], [-0.45, 0.0], [0.45, 0.0]]]
    latent = random.standard_normal((1, prior.latent)).astype(np.float32)
    told = [np.array(keypoints, np.float32), latent, np.array([[0.3, 0.6, 0.7]], np.float32)]
    hint = random.uniform(0, 1, (1, prior.portrait, size, size)).astype(np.float32) * mask
    return [image, mask, *told, *([hint] if prior.portrait else [])]
