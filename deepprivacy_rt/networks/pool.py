"""Latents that were looked at: what random identities are drawn from, where a generator has them.

A prior gives good faces and bad ones. Those of the pool were drawn from it, and kept because they gave good faces on
several people (:mod:`deepprivacy_rt.evaluation.pool`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.networks.prior import Prior

FORMAT = "deepprivacy-rt latents 1"
Floats = NDArray[np.float32]


def write_pool(path: Path, latents: Floats) -> None:
    """Write (n, latent) as float16, atomically."""
    part = path.with_name(path.name + ".part")
    save_file({"latents": latents.astype(np.float16)}, part, metadata={"format": FORMAT})
    part.chmod(0o644)
    part.replace(path)


def read_pool(path: Path, latent: int) -> Floats:
    """Return the latents of a file, (n, latent) float32.

    :param latent: length that they must have.
    Raises WeightsError for a file that is missing, unreadable, or made for another network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise WeightsError(f"{path}: not latents of this version; cure: use those that came with the weights")
            latents = file.get_tensor("latents").astype(np.float32)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as latents: {str(error).splitlines()[0]}") from error
    if latents.ndim != 2 or not len(latents) or latents.shape[1] != latent or not np.isfinite(latents).all():
        raise WeightsError(f"{path}: its latents do not fit a network that takes {latent} numbers")
    return np.asarray(latents, np.float32)


class LatentSource:
    """Gives each identity its latent: the same for the same salt and identity, in this session and any other.

    From a pool, the latents are dealt in an order that the salt decides, so that two faces of one stream are two of
    them until all are dealt, and each is moved a little, so that no session shows a face of a known list.

    :param prior: of the generator.
    :param spread: deviations of the prior that latents are drawn with; those of a pool are moved by so many.
    :param pool: (n, latent) float32; None: latents are drawn from the prior alone.
    """

    def __init__(self, prior: Prior, salt: bytes, spread: float, pool: Floats | None = None) -> None:
        self._prior, self._salt, self._spread = prior, salt, spread
        self._pool = pool
        if pool is not None:
            self._order = _random(salt, b"order").permutation(len(pool))

    def latent(self, identity: int) -> Floats:
        """Return the identity's latent, (latent,) float32."""
        random = _random(self._salt, identity.to_bytes(8, "little", signed=True))
        moved = self._spread * self._prior.factor @ random.standard_normal(self._prior.latent)
        if self._pool is None:
            return np.asarray(self._prior.mean + moved, np.float32)
        return np.asarray(self._pool[self._order[identity % len(self._order)]] + moved, np.float32)


def _random(salt: bytes, what: bytes) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(salt + what).digest(), "little"))
