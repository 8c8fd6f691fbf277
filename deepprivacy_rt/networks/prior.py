"""What a generator's file says about its inputs, read without PyTorch, whose import takes seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from deepprivacy_rt.errors import WeightsError

FORMAT = "deepprivacy-rt generator 2"


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Patch size and latent distribution of a generator.

    :ivar size: side of the patches in pixels.
    :ivar mean: (latent,) float32.
    :ivar factor: (latent, latent) float32; latents are mean + factor · standard normal.
    :ivar portrait: channels of the hint of a portrait that it takes, 0: none.
    """

    size: int
    mean: NDArray[np.float32]
    factor: NDArray[np.float32]
    portrait: int = 0

    @property
    def latent(self) -> int:
        """Length of a latent."""
        return len(self.mean)


def read_prior(path: Path) -> Prior:
    """Read the prior of a file written by ``save_generator``. Raises WeightsError."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(f"{path}: not a generator of this version; cure: use the weights it shipped with")
            config = json.loads(header["config"])
            mean, factor = (file.get_tensor(f"prior_{part}").astype(np.float32) for part in ("mean", "factor"))
            size, latent, portrait = (int(config.get(name, 0)) for name in ("size", "latent", "portrait"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as generator weights: {str(error).splitlines()[0]}") from error
    if mean.shape != (latent,) or factor.shape != (latent, latent):
        raise WeightsError(f"{path}: cannot be read as generator weights: the prior does not fit latents of {latent}")
    return Prior(size, mean, factor, portrait)
