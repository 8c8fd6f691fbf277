"""The recipe of a training run, read from TOML."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deepprivacy_rt.errors import ConfigError
from deepprivacy_rt.networks.generator import GeneratorConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class LossWeights:
    """What each loss counts; 0 switches it off."""

    adversarial: float = 1.0
    reconstruction: float = 6.0
    feature: float = 4.0
    kl: float = 0.008
    ring: float = 4.0
    consistency: float = 4.0
    latent: float = 1.0
    expression: float = 6.0
    penalty_start: float = 1.0
    penalty_end: float = 0.5


@dataclass(frozen=True)
class TrainConfig:
    """One run. Lengths are counted in pictures shown to the discriminator, so that the batch size may change.

    :ivar pack: the packed pictures (see ``train --pack``), relative to the configuration file.
    :ivar output: the run's folder, relative to the working directory.
    :ivar head_share: share of batches that erase the whole head.
    :ivar judge_every: the discriminator learns on every k-th step.
    :ivar penalty_every: gradient penalties are computed on every k-th step and scaled by k.
    :ivar probe_steps: steps of the expression probe alone before everything else.
    :ivar ema: pictures after which an old weight counts half in the average.
    """

    pack: str
    output: str
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    discriminator_width: int = 64
    batch: int = 128
    pictures: int = 2_000_000
    head_share: float = 0.25
    learning_rate: float = 2.5e-4
    final_learning_rate: float = 3e-5
    augment: float = 0.5
    judge_every: int = 1
    penalty_every: int = 2
    probe_steps: int = 400
    ema: float = 20_000.0
    seed: int = 0


@dataclass(frozen=True)
class DetailConfig:
    """The recipe of a detail head over a generator that stays as it is.

    :ivar pack: the packed pictures, relative to the configuration file.
    :ivar output: the run's folder, relative to the working directory.
    :ivar generator: weights without a detail head, relative to the configuration file.
    :ivar encoder: its encoder, the same.
    :ivar width: of the head.
    :ivar crop: side of the crops in pixels, a multiple of 16.
    :ivar reuse: crops taken of a view, some steps apart: views cost as much as learning.
    :ivar ema: pictures after which an old weight counts half in the average.
    """

    pack: str
    output: str
    generator: str
    encoder: str
    width: int = 24
    judge_width: int = 32
    crop: int = 128
    batch: int = 8
    reuse: int = 4
    pictures: int = 30_000
    head_share: float = 0.25
    learning_rate: float = 2e-4
    final_learning_rate: float = 3e-5
    ema: float = 3000.0
    adversarial: float = 0.04
    reconstruction: float = 10.0
    feature: float = 4.0
    coarse: float = 10.0
    seed: int = 0


def _build(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; valid keys: {', '.join(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def read_config(path: Path) -> TrainConfig:
    """Read a recipe. Raises ConfigError on a missing file, bad TOML or an unknown key."""
    values = _read(path)
    values["generator"] = _build(GeneratorConfig, values.get("generator", {}), f"{path}: [generator]")
    values["weights"] = _build(LossWeights, values.get("weights", {}), f"{path}: [weights]")
    config: TrainConfig = _build(TrainConfig, values, str(path))
    return config


def read_detail_config(path: Path) -> DetailConfig:
    """Read a recipe for a detail head. Raises ConfigError on a missing file, bad TOML or an unknown key."""
    config: DetailConfig = _build(DetailConfig, _read(path), str(path))
    return config
