"""An int8 form of a trained generator for CPUs: post-training quantization by NNCF, checked before use.

    python -m deepprivacy_rt.training.quantize weights/face128.safetensors PACK weights/ --sheet int8.png

Only convolutions are quantized, and not the first: their inputs, colours and keypoint maps, share no scale. Squared
keypoint distances, FiLM and residual sums lose too much in eight bits.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import EnvironmentProblem, TrainingError
from deepprivacy_rt.generators.gan_openvino import OpenVinoExecutor, convert, load_float, load_quantized
from deepprivacy_rt.networks.prior import Prior, read_prior
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.runtimes.openvino import load_openvino
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.portrait_hints import HintPainter
from deepprivacy_rt.training.settle import drawn_doings
from deepprivacy_rt.training.sheets import plain_views
from deepprivacy_rt.training.views import Views, ViewSampler
from deepprivacy_rt.types import REST
from deepprivacy_rt.weights import Weights

MEAN_LIMITS = {"white": 3.0, "magenta": 4.0, "blue": 4.0}
"""Largest mean error under the cover by light, over held-out faces, in grey levels of 0..255.

Those for coloured light were set after the first measurements, to refuse clipped ranges (5 and more)."""
WORST_LIMITS = {"white": 6.0, "magenta": 8.0, "blue": 8.0}
"""The same for the worst single face."""
LIGHTS = {"white": (1.0, 1.0, 1.0), "magenta": (1.0, 0.1, 0.9), "blue": (0.1, 0.2, 1.0)}
"""Lights that held-out faces are checked in: factors of red, green and blue. A stage is harder than a day."""
_SPREAD = 1.8
"""Deviations of the prior at which latents of a pool lie."""
_OUTLIERS = 1e-4
"""Share of a sample's values that its range may leave out, at either end."""
SOURCE_KEY = ["deepprivacy_rt", "source_sha256"]
"""Where the model file says which weights it was made from."""

Arrays = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Error:
    """Deviation from float32 under the cover, in grey levels: the mean over faces, and the worst face's mean."""

    mean: float
    worst: float

    def __str__(self) -> str:
        return f"mean {self.mean:.2f}, worst face {self.worst:.2f} grey levels"


def _latents(prior: Prior, count: int, seed: int) -> NDArray[np.float32]:
    """Return latents as far from the mean as those of a pool."""
    normal = np.random.default_rng(seed).standard_normal((count, prior.latent))
    return np.asarray(prior.mean + _SPREAD * normal @ prior.factor.T, np.float32)


def _rows(data: FaceData, region: Region, prior: Prior, count: int, bank: PortraitBank) -> list[Arrays]:
    """Return inputs with all the disturbances of training, one list of arrays per face."""
    sampler = ViewSampler(data, GEOMETRY[region], prior.size, torch.Generator().manual_seed(3))
    index = sampler.choose(count)
    geometry = sampler.geometry(index)
    views = sampler.views(index, geometry, sampler.look(count))
    expression = drawn_doings(torch.tensor(REST.openings), views.expression, sampler.random)
    told = [_latents(prior, count, seed=5), expression.numpy(), *_hints(prior, views, geometry.mirror, bank)]
    batch = [*_seen(views), *told]
    return [[array[i : i + 1] for array in batch] for i in range(count)]


def _hints(prior: Prior, views: Views, mirror: Tensor, bank: PortraitBank) -> Arrays:
    """Return hints of portraits, where the network takes them; one face in four has none."""
    if not prior.portrait:
        return []
    hints = HintPainter(bank, [], prior.size).hints(torch.arange(len(mirror)), views, mirror)
    hints[::4] = 0
    return [hints.numpy()]


def _seen(views: Views) -> Arrays:
    return [views.image.numpy(), views.mask.numpy(), views.keypoints.numpy()]


def quantize(weights: Path, pack: Path, model: Path, *, samples: int = 300) -> None:
    """Write the int8 form of a generator as an OpenVINO model, ``.xml`` and ``.bin``.

    :param pack: packed faces; those not held out set the ranges of activations, half as faces, half as heads.
    :param samples: how many.

    Raises EnvironmentProblem without NNCF and OpenVINO, WeightsError, TrainingError.
    """
    openvino = load_openvino()  # before NNCF, which would report its use as well
    try:
        import nncf
    except ImportError as error:
        raise EnvironmentProblem("NNCF is not installed; cure: pip install 'deepprivacy-rt[quantize]'") from error
    prior, bank = read_prior(weights), read_portraits(Weights().path("portraits"))
    rows = []
    for region in Region:
        data = load(pack, torch.device("cpu"), lambda name: not held_out(name), GEOMETRY[region].side)
        rows += _rows(data, region, prior, samples // len(Region), bank)
    with tempfile.TemporaryDirectory() as scratch:
        # The weights were half precision: so they stay, where they stay floats.
        half = Path(scratch) / "half.xml"
        openvino.save_model(convert(weights, prior), half, compress_to_fp16=True)
        network = openvino.Core().read_model(half)
        made = nncf.quantize(
            network,
            nncf.Dataset(rows),
            subset_size=len(rows),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=_kept_in_float(network, nncf),
            advanced_parameters=_options(nncf),
        )
    made.set_rt_info(hashlib.sha256(weights.read_bytes()).hexdigest(), SOURCE_KEY)
    openvino.save_model(made, model, compress_to_fp16=False)


def _options(nncf: Any) -> Any:
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    # The widest of the samples' ranges, each without its rarest values. The mean over samples, NNCF's own choice, is
    # finer on usual faces, but clips what coloured light makes, which spoils whole faces.
    widest = RangeEstimatorParameters(
        min=StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MIN, quantile_outlier_prob=_OUTLIERS),
        max=StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MAX, quantile_outlier_prob=_OUTLIERS),
    )
    # Nothing saturates even where sums are kept in 16 bits (CPUs without VNNI: the check below was run on one).
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.DISABLE, activations_range_estimator_params=widest
    )


def _kept_in_float(network: Any, nncf: Any) -> Any:
    """Return the scope of everything but convolutions, and of the first of these: of patch, hint and head."""
    operations = network.get_ordered_ops()
    kinds = {operation.get_type_name() for operation in operations}
    convolutions = [operation for operation in operations if operation.get_type_name() == "Convolution"]
    names = [one.get_friendly_name() for one in convolutions]
    first = [name for name in names if any(f"__module.{part}/" in name for part in ("stem", "hint", "detail.stem"))]
    others = sorted(kinds - {"Convolution", "Parameter", "Result", "Constant"})
    return nncf.IgnoredScope(names=first, types=others)


@dataclass(frozen=True)
class Comparison:
    """Held-out faces from both forms.

    :ivar exact: (n, s, s, 3) float32, 0..255, from float32.
    :ivar int8: the same from int8.
    :ivar cover: (s, s) bool.
    :ivar mask: (n, s, s) bool, where the generator saw nothing.
    :ivar target: (n, s, s, 3) float32, the pictures themselves.
    """

    exact: NDArray[np.float32]
    int8: NDArray[np.float32]
    cover: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    target: NDArray[np.float32]

    def error(self) -> Error:
        """Return how far int8 is off."""
        per_face = np.abs(self.int8 - self.exact)[:, self.cover].mean(axis=(1, 2))
        return Error(float(per_face.mean()), float(per_face.max()))


def compare(
    forms: tuple[OpenVinoExecutor, OpenVinoExecutor],
    prior: Prior,
    data: FaceData,
    region: Region,
    light: tuple[float, ...],
    *,
    faces: int = 60,
) -> Comparison:
    """Run float32 and int8 on held-out faces, each with its own latent. Raises StageError.

    :param forms: the network in float32 and in int8.
    """
    count = min(faces, len(data.units))
    views = plain_views(data, GEOMETRY[region], prior.size, torch.linspace(0, len(data.units) - 1, count).long())
    tint = torch.tensor(light).reshape(1, 3, 1, 1)
    image = ((views.image + 1) * tint - 1) * (1 - views.mask)
    bank = read_portraits(Weights().path("portraits"))
    hints = _hints(prior, views, torch.zeros(count, dtype=torch.bool), bank)
    inputs = [*_seen(replace(views, image=image)), _latents(prior, count, seed=7), views.expression.numpy(), *hints]
    exact, int8 = (_grey(form.run(*inputs)) for form in forms)
    return Comparison(
        exact=exact,
        int8=int8,
        cover=views.cover[0, 0].numpy() > 0,
        mask=views.mask[:, 0].numpy() > 0,
        target=_grey(((views.target + 1) * tint - 1).numpy()),
    )


def _compare_all(weights: Path, model: Path, pack: Path) -> dict[tuple[Region, str], Comparison]:
    prior = read_prior(weights)
    forms = load_float(weights, prior, None, exact=True), load_quantized(model)
    comparisons: dict[tuple[Region, str], Comparison] = {}
    for region in Region:
        data = load(pack, torch.device("cpu"), held_out, GEOMETRY[region].side)
        for name, light in LIGHTS.items():
            comparisons[region, name] = compare(forms, prior, data, region, light)
    return comparisons


def _grey(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 3, s, s) -1..1 → (n, s, s, 3) 0..255."""
    return np.asarray((np.clip(images, -1, 1) + 1).transpose(0, 2, 3, 1) * 127.5, np.float32)


def _write_sheet(path: Path, comparisons: list[Comparison], columns: int = 12) -> None:
    """Write a PNG: for each comparison, float32 above int8 above their difference times eight."""
    rows = []
    for one in comparisons:
        n, mask = min(columns, len(one.mask)), one.mask[:columns, ..., None]
        rows += [np.hstack(list(np.where(mask, made[:n], one.target[:n]))) for made in (one.exact, one.int8)]
        rows.append(np.hstack(list(128 + 8 * (one.int8 - one.exact)[:n] * mask)))
    sheet = np.clip(np.vstack(rows), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def make(
    weights: Path,
    pack: Path,
    folder: Path,
    *,
    samples: int = 300,
    sheet: Path | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Quantize and check; put ``NAME-int8.xml`` and ``.bin`` into the folder only when the error is within bounds.

    Raises TrainingError when it is not, and what :func:`quantize` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{weights.stem}-int8.xml"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / target.name
        quantize(weights, pack, made, samples=samples)
        comparisons = _compare_all(weights, made, pack)
        if sheet is not None:
            _write_sheet(sheet, list(comparisons.values()))
        for (region, light), comparison in comparisons.items():
            error = comparison.error()
            said = f"{region.value}, {light} light: {error}"
            report(said)
            if not (error.mean <= MEAN_LIMITS[light] and error.worst <= WORST_LIMITS[light]):
                raise TrainingError(f"{target}: not written: {said}; int8 is too far from float32")
        for suffix in (".bin", ".xml"):
            path = made.with_suffix(suffix)
            path.chmod(0o644)
            path.replace(target.with_suffix(suffix))
            content = target.with_suffix(suffix).read_bytes()
            report(f"{target.stem}{suffix}: size = {len(content)}, sha256 = {hashlib.sha256(content).hexdigest()}")
    return target


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.quantize", description=__doc__)
    parser.add_argument("weights", type=Path, help="a generator, such as weights/face128.safetensors")
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write float32 and int8 faces, one above the other")
    args = parser.parse_args()
    make(args.weights, args.pack, args.folder, sheet=args.sheet)


if __name__ == "__main__":
    main()
