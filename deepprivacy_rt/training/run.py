"""Running a recipe: chunks of limited length, checkpoints, metrics, sheets and the finished weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import DeviceError
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.training.config import TrainConfig
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.metrics import log_metrics
from deepprivacy_rt.training.prior import fit_prior
from deepprivacy_rt.training.sheets import write_sheet
from deepprivacy_rt.training.trainer import Trainer

_CHECKPOINT = "checkpoint.pt"


def choose_device(name: str) -> torch.device:
    """Return the device of that name ("auto": CUDA if there is one). Raises DeviceError when it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device {name}: PyTorch finds no CUDA GPU here; install a CUDA build of torch or use cpu")
    return torch.device(name)


def _load_data(pack: Path, device: torch.device) -> tuple[dict[Region, FaceData], dict[Region, FaceData]]:
    train = {r: load(pack, device, lambda n: not held_out(n), GEOMETRY[r].side) for r in Region}
    test = {r: load(pack, device, held_out, GEOMETRY[r].side) for r in Region}
    return train, test


def _atomically(path: Path, write: Callable[[Path], None]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    part.replace(path)


class Run:
    """A run's folder and its trainer. ``resume`` continues its checkpoint when there is one.

    :param pack: the packed faces.
    :param warm_start: a folder written by :meth:`export`, to begin from when there is no checkpoint.
    :param mesh: reads the expressions of generated faces; see :mod:`deepprivacy_rt.training.following`.
    """

    def __init__(
        self,
        config: TrainConfig,
        pack: Path,
        output: Path,
        *,
        device: torch.device,
        resume: bool = True,
        warm_start: Path | None = None,
        mesh: FaceMesh | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        self.config, self.output, self.report = config, output, report
        output.mkdir(parents=True, exist_ok=True)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        train, self.test = _load_data(pack, device)
        precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.trainer = Trainer(config, train, device, precision, mesh)
        report(f"{device}: {len(train[Region.FACE].units)} training, {len(self.test[Region.FACE].units)} held out")
        checkpoint = output / _CHECKPOINT
        if resume and checkpoint.is_file():
            self.trainer.restore(torch.load(checkpoint, map_location=device, weights_only=True))
            report(f"resumed at {self.trainer.pictures} pictures")
        elif warm_start is not None:
            self._warm_start(warm_start)

    def fit_length(self, minutes: float, steps: int = 60) -> None:
        """Set the recipe's length to what this machine shows in ``minutes``; call it before :meth:`run`.

        The steps it takes to find out count as training.
        """
        for _ in range(steps // 3):
            self.trainer.step()
        start, seen = self._clock(), self.trainer.pictures
        for _ in range(steps):
            self.trainer.step()
        rate = (self.trainer.pictures - seen) / (self._clock() - start)
        pictures = self.trainer.pictures + round(rate * 60 * minutes)
        self.config = self.trainer.config = replace(self.config, pictures=pictures)
        self.report(f"{rate:.0f} pictures per second: the run will be {pictures} pictures long")

    def _clock(self) -> float:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    def run(self, minutes: float | None = None, log_every: int = 100, sheet_every: float = 240.0) -> None:
        """Train until the recipe's end or for ``minutes``; checkpoint and draw sheets on the way and at the end."""
        start = last = sheet = time.monotonic()
        seen = self.trainer.pictures
        log: dict[str, Tensor] = {}
        try:
            while self.trainer.progress < 1 and (minutes is None or time.monotonic() - start < 60 * minutes):
                log |= self.trainer.step()
                if self.trainer.step_count % log_every == 0:
                    now = time.monotonic()
                    rate = (self.trainer.pictures - seen) / (now - last)
                    log_metrics(self.output / "metrics.csv", self.trainer.pictures, rate, log, self.report)
                    last, seen = now, self.trainer.pictures
                if time.monotonic() - sheet > sheet_every:
                    self.save()
                    sheet = time.monotonic()
        finally:
            self.save()

    def save(self) -> None:
        """Write the checkpoint and a sheet of each region."""
        trainer = self.trainer
        _atomically(self.output / _CHECKPOINT, lambda part: torch.save(trainer.state(), part))
        self._draw_sheets(self.output, f"_{trainer.pictures // 1000:06d}k")
        self.report(f"saved at {trainer.pictures} pictures")

    def _draw_sheets(self, folder: Path, suffix: str = "") -> None:
        for region, data in self.test.items():
            path = folder / f"sheet_{region.value}{suffix}.png"
            with self.trainer.autocast():
                write_sheet(path, self.trainer.average, data, GEOMETRY[region], self.config.generator.size)

    def export(self, folder: Path) -> None:
        """Fit the prior; write the average as ``average.safetensors``, its sheets, and the small training state.

        Half precision, no optimiser moments: what is worth carrying between machines, each file under 16 MiB.
        """
        folder.mkdir(parents=True, exist_ok=True)
        trainer = self.trainer
        data = trainer.samplers[Region.FACE].data
        mean, factor = fit_prior(trainer.average, trainer.encoder, data)
        trainer.average.prior_mean.copy_(mean)
        trainer.average.prior_factor.copy_(factor)
        save_generator(trainer.average, folder / "average.safetensors")
        save_file(half(trainer.generator), folder / "generator.safetensors")
        save_file(half(trainer.encoder), folder / "encoder.safetensors")
        for i, part in enumerate(halves(half(trainer.discriminator))):
            save_file(part, folder / f"discriminator{i}.safetensors")
        self._draw_sheets(folder)
        (folder / "progress.json").write_text(json.dumps({"step": trainer.step_count, "batch": trainer.config.batch}))

    def _warm_start(self, folder: Path) -> None:
        trainer = self.trainer
        trainer.average.load_state_dict(load_generator(folder / "average.safetensors").state_dict())
        # A state may be kept without the generator itself: its average is close enough to go on from.
        own = folder / "generator.safetensors"
        weights = load_file(own) if own.is_file() else trainer.average.state_dict()
        trainer.generator.load_state_dict(weights)
        trainer.encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
        prior = trainer.average
        trainer.prior.mean.copy_(prior.prior_mean)
        trainer.prior.covariance.copy_(prior.prior_factor @ prior.prior_factor.T)
        halves = [load_file(folder / f"discriminator{i}.safetensors") for i in range(2)]
        trainer.discriminator.load_state_dict(halves[0] | halves[1])
        progress = json.loads((folder / "progress.json").read_text())
        trainer.step_count = progress["step"] * progress["batch"] // trainer.config.batch
        self.report(f"warm start from {folder} at {trainer.pictures} pictures, without optimiser moments")


def half(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights in half precision."""
    return {name: value.half().contiguous() for name, value in network.state_dict().items()}


def halves(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Deal tensors, largest first, to the lighter of two heaps."""
    heaps: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, value in sorted(tensors.items(), key=lambda item: -item[1].numel()):
        min(heaps, key=lambda heap: sum(v.numel() for v in heap.values()))[name] = value
    return heaps
