"""Reading latents off training faces, so that what a latent says and what a picture shows go together."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.training.views import ViewSampler


def read_encoder(path: Path, latent: int) -> Encoder:
    """Return the encoder of a training state, frozen. Raises OSError, RuntimeError.

    :param latent: length of its latents.
    """
    encoder = Encoder(latent)
    encoder.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return encoder.requires_grad_(False)


@torch.no_grad()
def latents_of(faces: Tensor, covers: Tensor, encoder: Encoder, sampler: ViewSampler) -> Tensor:
    """Return a draw of each face's posterior, (n, latent).

    :param faces: (n, 3, s, s) -1 to 1. :param covers: (n, 1, s, s). :param sampler: what draws random numbers.
    """
    mean, logvar = encoder(recolored(faces, sampler), covers)
    return torch.as_tensor(mean + sampler.normal(*mean.shape) * (0.5 * logvar).exp())


def recolored(image: Tensor, sampler: ViewSampler) -> Tensor:
    """Disturb exposure and cast before encoding: the latent names a face, the surroundings its light and skin."""
    shape = (len(image), 1, 1, 1)
    offset = 0.3 * sampler.normal(*shape) + 0.1 * sampler.normal(len(image), 3, 1, 1)
    return image * sampler.uniform(*shape, low=0.6, high=1.4) + offset
