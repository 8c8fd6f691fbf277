"""``deepprivacy-rt train``: pack faces, run a recipe in chunks, write the weights."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from deepprivacy_rt.errors import UsageError

if typing.TYPE_CHECKING:
    from deepprivacy_rt.expressions.face_mesh import FaceMesh
    from deepprivacy_rt.weights import Weights


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train",
        help="train a face generator",
        description="Train a generator from a recipe. A run continues its own checkpoint, so it may be cut into "
        "chunks of any length.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, such as configs/train_face128.toml")
    parser.add_argument(
        "--pack", type=Path, metavar="FOLDER", help="first pack this folder of faces (with its manifest.jsonl)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after M minutes; the next call continues")
    parser.add_argument(
        "--fit-minutes", type=float, metavar="M", help="set the length of a new run to what M minutes allow here"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew even where there is a checkpoint")
    parser.add_argument("--warm-start", type=Path, metavar="FOLDER", help="begin from an exported state")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="afterwards write the averaged weights here")
    parser.add_argument("--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the command. Raises ConfigError, TrainingError, DeviceError, WeightsError."""
    from deepprivacy_rt.expressions.face_mesh import FaceMesh
    from deepprivacy_rt.training.config import read_config
    from deepprivacy_rt.training.run import Run, choose_device
    from deepprivacy_rt.weights import Weights

    if args.minutes is not None and args.minutes <= 0:
        raise UsageError("--minutes must be positive")
    config = read_config(args.config)
    pack = args.config.parent / config.pack
    weights = Weights(report=print)
    mesh = FaceMesh(weights.path("face-landmark"))
    if args.pack is not None:
        _pack(args.pack, pack, mesh, weights)
    training = Run(
        config,
        pack,
        Path(config.output),
        device=choose_device(args.device),
        resume=not args.fresh,
        warm_start=args.warm_start,
        mesh=mesh,
    )
    if args.fit_minutes is not None and training.trainer.step_count == 0:
        training.fit_length(args.fit_minutes)
    training.run(args.minutes)
    if args.export is not None:
        training.export(args.export)
    return 0


def _pack(folder: Path, output: Path, mesh: FaceMesh, weights: Weights) -> None:
    from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
    from deepprivacy_rt.training.dataset import pack

    detector = BlazeFaceDetector(
        weights.path("blazeface-full-range"), weights.path("blazeface-short-range"), effort="thorough"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    pack(folder, output, detector, mesh)
