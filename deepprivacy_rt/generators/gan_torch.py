"""The trained network in PyTorch: on GPUs, and on CPUs without OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepprivacy_rt.networks.serialization import load_generator

Floats = NDArray[np.float32]


class TorchExecutor:
    """bfloat16 on CUDA, float32 elsewhere.

    :param weights: the generator's file.
    :param exact: float32 on CUDA too.

    Raises WeightsError.
    """

    def __init__(self, weights: Path, device: str, *, exact: bool = False) -> None:
        self._device = torch.device(device)
        self._network = load_generator(weights).to(self._device)
        self._autocast = self._device.type == "cuda" and not exact

    @torch.inference_mode()
    def run(self, image: Floats, mask: Floats, keypoints: Floats, latent: Floats, expression: Floats) -> Floats:
        """See :class:`deepprivacy_rt.generators.gan.Executor`."""
        inputs = [torch.from_numpy(array).to(self._device) for array in (image, mask, keypoints, latent, expression)]
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            output = self._network(*inputs)
        result: Floats = output.float().cpu().numpy()
        return result
