"""From configuration to what invents faces: generator, portraits, identities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.generators.pixelate import PixelateGenerator
from deepprivacy_rt.generators.portraying import PortraitGenerator
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.networks.bank import Identity, pick, read_bank
from deepprivacy_rt.networks.pool import read_pool
from deepprivacy_rt.networks.prior import read_prior
from deepprivacy_rt.portraits.bank import read_portraits
from deepprivacy_rt.runtimes.openvino import cpu_has_int8, is_installed
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.weights import Weights

_DETAIL = {"face128": 1.05, "face256": 1.12}
"""How much more detail portraits get, as far as flicker allows: what is drawn at 256 pixels flickers less."""


def make_wardrobes(config: FaceConfig, weights: Weights, salt: bytes) -> Callable[[float], Wardrobe]:
    """Return what makes the wardrobe of one stream of a frame rate; 1 and below: a picture, or a show of pictures."""
    bank = read_portraits(weights.path("portraits"))
    wanted = None if config.identity == "random" else pick(read_identities(weights), config.identity).number
    group = None if config.portraits == "any" else config.portraits
    detail = _DETAIL.get(config.model, 1.0)
    return lambda frame_rate: Wardrobe(bank, salt, wanted, group=group, still=frame_rate <= 1, detail=detail)


def portraying(wardrobes: Callable[[float], Wardrobe]) -> Callable[[Generator, Generator, float], Generator]:
    """Return what gives the faces of one stream, calmed and as they are drawn, the features of portraits."""
    return lambda calmed, drawn, frame_rate: PortraitGenerator(calmed, wardrobes(frame_rate), frame_rate, first=drawn)


def choose_model(config: FaceConfig, device: str, *, hurried: bool) -> FaceConfig:
    """Return the configuration with a generator by name in place of ``auto``.

    GPUs and files on CPUs that are fast at int8 get the finer one. Live on a CPU, a face that moves is drawn at every
    frame, and there are 33 ms for all of it.

    :param hurried: whether a CPU has no time for the finer one.
    """
    if config.model != "auto":
        return config
    fast_cpu = device == "cpu" and not hurried and config.precision == "auto" and cpu_has_int8() and is_installed()
    fine = config.effort != "fast" and (fast_cpu or device.startswith("cuda"))
    return dataclasses.replace(config, model="face256" if fine else "face128")


def make_generator(
    config: FaceConfig, weights: Weights, device: str, file: Path | None, salt: bytes, *, in_torch: bool
) -> Generator:
    if config.filter == "solid":
        return SolidGenerator()
    if config.filter == "pixelate":
        return PixelateGenerator(seed=int.from_bytes(salt, "big"))
    from deepprivacy_rt.generators.gan import GanGenerator

    cache = platformdirs.user_cache_path("deepprivacy-rt") / "compiled"
    quantized = None
    if device == "cpu" and config.precision == "auto" and file is None and not in_torch:
        weights.path(f"{config.model}-int8-bin")  # OpenVINO reads it beside the other, so it is verified here
        quantized = weights.path(f"{config.model}-int8")
    generator = GanGenerator(
        weights.path(config.model) if file is None else file,
        device=device,
        salt=salt,
        cache_dir=cache,
        quantized=quantized,
        precision=config.precision,
        pool=_pool(weights) if file is None else None,
        runtime="torch" if in_torch else "auto",
    )
    if config.identity == "random":
        return generator
    if file is not None:
        raise UsageError(f"identity {config.identity!r} belongs to the shipped generator; choose random")
    return generator.as_identity(pick(read_identities(weights), config.identity).latent)


def _pool(weights: Weights) -> NDArray[np.float32]:
    return read_pool(weights.path("face128-latents"), read_prior(weights.path("face128")).latent)


def read_identities(weights: Weights) -> list[Identity]:
    """Return the bank of the shipped generators, which share their latents. Raises WeightsError."""
    return read_bank(weights.path("face128-identities"), read_prior(weights.path("face128")).latent)
