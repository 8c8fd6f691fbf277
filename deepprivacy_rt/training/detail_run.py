"""Running the recipe of a detail head: chunks, checkpoints, metrics, sheets and the finished weights.

python -m deepprivacy_rt.training.detail_run configs/train_face256.toml --minutes 10 --export FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.training.config import DetailConfig, read_detail_config
from deepprivacy_rt.training.dataset import held_out, load
from deepprivacy_rt.training.detail import DetailTrainer
from deepprivacy_rt.training.encoding import read_encoder
from deepprivacy_rt.training.metrics import log_metrics
from deepprivacy_rt.training.run import choose_device
from deepprivacy_rt.training.sheets import write_sheet

_CHECKPOINT = "checkpoint.pt"


class DetailRun:
    """A run's folder and its trainer. Continues its checkpoint when there is one.

    :param folder: what the recipe's paths are relative to.

    Raises TrainingError and WeightsError.
    """

    def __init__(
        self,
        config: DetailConfig,
        folder: Path,
        output: Path,
        *,
        device: torch.device,
        report: Callable[[str], None] = print,
    ) -> None:
        self.output, self.report = output, report
        output.mkdir(parents=True, exist_ok=True)
        body = load_generator(folder / config.generator)
        encoder = read_encoder(folder / config.encoder, body.config.latent)
        pack = folder / config.pack
        train = {r: load(pack, device, lambda name: not held_out(name), GEOMETRY[r].side) for r in Region}
        self.test = {r: load(pack, device, held_out, GEOMETRY[r].side) for r in Region}
        self.trainer = DetailTrainer(config, body, encoder, train, device)
        checkpoint = output / _CHECKPOINT
        if checkpoint.is_file():
            self.trainer.restore(torch.load(checkpoint, map_location=device, weights_only=True))
            report(f"resumed at {self.trainer.pictures} crops")

    def run(self, minutes: float, log_every: int = 50, save_every: float = 300.0) -> None:
        """Train for ``minutes``; checkpoint and draw sheets on the way and at the end."""
        start = saved = last = time.monotonic()
        while time.monotonic() - start < 60 * minutes:
            log = self.trainer.step()
            now = time.monotonic()
            if self.trainer.step_count % log_every == 0:
                rate = log_every * self.trainer.config.batch / (now - last)
                log_metrics(self.output / "metrics.csv", self.trainer.pictures, rate, log, self.report)
                last = now
            if now - saved > save_every:
                self.save()
                saved = now
        self.save()

    def save(self) -> None:
        """Write the checkpoint and a sheet of each region."""
        part = self.output / (_CHECKPOINT + ".part")
        torch.save(self.trainer.state(), part)
        part.replace(self.output / _CHECKPOINT)
        for region, data in self.test.items():
            path = self.output / f"sheet_{region.value}_{self.trainer.pictures // 1000:06d}k.png"
            size = self.trainer.generator.config.size
            write_sheet(path, self.trainer.generator, data, GEOMETRY[region], size, count=10, latents=2)
        self.report(f"saved at {self.trainer.pictures} crops")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.detail_run", description=__doc__)
    parser.add_argument("config", type=Path, help="such as configs/train_face256.toml")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long to train (default: not at all)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write generator and averaged head as one network")
    args = parser.parse_args()
    config = read_detail_config(args.config)
    run = DetailRun(config, args.config.parent, Path(config.output), device=choose_device(args.device))
    run.run(args.minutes)
    if args.export is not None:
        save_generator(run.trainer.generator, args.export)


if __name__ == "__main__":
    main()
