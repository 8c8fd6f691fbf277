"""``deepprivacy-rt bench``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
import re
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deepprivacy_rt.cli.files import check_side_file, one_line, write_side_file
from deepprivacy_rt.config import (
    DetectorName,
    Effort,
    FaceConfig,
    Filter,
    ModelName,
    Precision,
    Preset,
    Privacy,
    Region,
)
from deepprivacy_rt.errors import UsageError

if TYPE_CHECKING:
    from deepprivacy_rt.bench.crowd import Scene
    from deepprivacy_rt.bench.results import Cell, Run
    from deepprivacy_rt.bench.running import Settings
    from deepprivacy_rt.build import Anonymizer
    from deepprivacy_rt.weights import Weights

_DESCRIPTION = """\
Measure how fast this machine anonymizes: the shipped pipeline on prepared frames, nothing decoded. Every cell (number
of faces x size of picture) is warmed up first, and says how many of the placed faces were really covered.

file: as fast as it goes, into x264 or nothing. live: frames come at --rate like a camera's; late ones are dropped.
What each number is, and the JSON: docs/bench.md."""
_FACE_OPTIONS = {
    "filter": Filter,
    "region": Region,
    "effort": Effort,
    "detector": DetectorName,
    "model": ModelName,
    "precision": Precision,
    "privacy": Privacy,
}
_FACES, _SIZES = (0, 1, 4, 16), ((640, 480), (1280, 720), (1920, 1080))
_LEAST_SIDE, _MOST_SIDE, _MOST_FACES, _MOST_STREAMS = 64, 8192, 64, 64


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure how fast this machine anonymizes",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mode", choices=("file", "live"), default="file", help="(default: file)")
    help_ = "cpu, cuda, cuda:N or mps: what computes; never another one in its place (default: cpu)"
    parser.add_argument("--device", default="cpu", metavar="D", help=help_)
    parser.add_argument("--faces", metavar="N,N", help="faces in a synthetic crowd (default: 0,1,4,16)")
    help_ = "inputs that one process anonymizes at once; faces of all share calls of the generator (default: 1)"
    parser.add_argument("--streams", metavar="N,N", default="1", help=help_)
    help_ = "(default: 640x480,1280x720,1920x1080; of a clip: its own)"
    parser.add_argument("--size", metavar="WxH,WxH", help=help_)
    parser.add_argument("--input", type=Path, metavar="CLIP", help="a video in place of synthetic crowds")
    parser.add_argument("--weights", type=Path, metavar="FILE.safetensors", help="generator (default: the shipped one)")
    help_ = "length of every cell's run, without its warm-up (default: 5)"
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help=help_)
    parser.add_argument("--warm-up", type=float, default=1.5, metavar="S", help="before every run (default: 1.5)")
    help_ = "frames per second of the camera (live) or the video (file) (default: 30)"
    parser.add_argument("--rate", type=float, default=30.0, metavar="FPS", help=help_)
    help_ = "file mode: x264, or none for the pipeline alone (default: x264)"
    parser.add_argument("--encoder", choices=("x264", "none"), help=help_)
    parser.add_argument("--preset", choices=typing.get_args(Preset), help="of x264 (default: veryfast)")
    for name, values in _FACE_OPTIONS.items():
        help_ = "as in the configuration of anonymize"
        parser.add_argument(f"--{name}", choices=typing.get_args(values), help=help_)
    parser.add_argument("--output", type=Path, metavar="F.json", help="write all numbers")
    parser.add_argument("--plot", type=Path, metavar="F.png", help="draw stages, and frames per second")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print ratios to an earlier --output")
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    parser.add_argument("--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises as ``build_anonymizer`` and ``run_cell`` do."""
    grid = _check(args)
    import cv2

    from deepprivacy_rt.bench.plot import png
    from deepprivacy_rt.bench.results import read_json, to_json
    from deepprivacy_rt.bench.table import comparison, text
    from deepprivacy_rt.build import build_anonymizer
    from deepprivacy_rt.weights import Weights

    old = read_json(args.compare) if args.compare else None
    cv2.setNumThreads(1)
    given = {name: getattr(args, name) for name in _FACE_OPTIONS if getattr(args, name)}
    config = FaceConfig(device=args.device, seed=0, **given)
    weights = Weights(report=_say)
    anonymizer = build_anonymizer(config, weights, generator_file=args.weights, live=args.mode == "live")
    if anonymizer.new_painter is not None:
        _say(f"frames stay on {anonymizer.device} from detection to pasting; tracking and encoding run on the CPU")
    elif anonymizer.device != "cpu":
        _say(f"the generator runs on {anonymizer.device}; detection, blending and encoding run on the CPU")
    result = _measure(args, anonymizer, weights, grid)
    print(text(result))
    if args.output:
        write_side_file(args.output, to_json(result).encode())
    if args.plot:
        write_side_file(args.plot, png(result))
    if old is not None:
        print(f"\n{comparison(result, old)}")
    return 0


class _Grid(NamedTuple):
    """What is measured: every combination. No sizes: the clip's own."""

    faces: list[int]
    sizes: list[tuple[int, int]]
    streams: list[int]


def _check(args: argparse.Namespace) -> _Grid:
    """Return what to measure. Raises UsageError."""
    _check_together(args)
    limits = {"seconds": (0.1, 3600.0), "warm_up": (0.0, 600.0), "rate": (1.0, 240.0)}
    for name, (least, most) in limits.items():
        value = getattr(args, name)
        if not (math.isfinite(value) and least <= value <= most):
            raise UsageError(f"--{name.replace('_', '-')} must lie in {least:g} to {most:g}, not {value:g}")
    _check_files(args)
    sizes = _sizes(args.size) if args.size else [] if args.input else list(_SIZES)
    faces = _numbers(args.faces, "faces", 0, _MOST_FACES) if args.faces else list(_FACES)
    return _Grid(faces, sizes, _numbers(args.streams, "streams", 1, _MOST_STREAMS))


def _check_together(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if args.device == "auto":
        raise UsageError("--device auto: a benchmark needs a device by name: cpu, cuda, cuda:N or mps")
    if args.device != "cpu" and args.filter in ("pixelate", "solid"):
        raise UsageError(f"--device {args.device}: --filter {args.filter} runs on the CPU only; leave one of them out")
    if args.input and args.faces:
        raise UsageError("--faces is for synthetic crowds: leave out --faces or --input")
    if args.mode == "live" and (args.encoder or args.preset):
        raise UsageError("--encoder and --preset are for --mode file: a live run has no output")


def _check_files(args: argparse.Namespace) -> None:
    """Refuse inputs that are not there, and outputs that cannot be."""
    for option in ("input", "weights"):
        path = getattr(args, option)
        if path and not path.is_file():
            raise UsageError(f"--{option} {path}: no such file")
    taken = [path for path in (args.input, args.weights, args.compare) if path]
    for option in ("output", "plot"):
        path = getattr(args, option)
        if path:
            check_side_file(path, f"--{option}", taken, overwrite=args.overwrite)
            taken.append(path)


def _numbers(text: str, option: str, least: int, most: int) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,4}", word) and least <= int(word) <= most for word in words):
        raise UsageError(f"--{option} must be numbers from {least} to {most} such as 1,4, not {text!r}")
    return sorted({int(word) for word in words})


def _sizes(text: str) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", word.strip()) for word in text.split(",")]
    sizes = [(int(match[1]), int(match[2])) for match in found if match]
    good = all(_LEAST_SIDE <= side <= _MOST_SIDE and side % 2 == 0 for size in sizes for side in size)
    if len(sizes) < len(found) or not good:
        rule = f"even sides from {_LEAST_SIDE} to {_MOST_SIDE}"
        raise UsageError(f"--size must be WIDTHxHEIGHT with {rule}, such as 640x480,1280x720, not {text!r}")
    return list(dict.fromkeys(sizes))


def _measure(
    args: argparse.Namespace,
    anonymizer: Anonymizer,
    weights: Weights,
    grid: _Grid,
) -> Run:
    from deepprivacy_rt.bench.crowd import clip, crowd
    from deepprivacy_rt.bench.machine import file_identity, fingerprint, versions
    from deepprivacy_rt.bench.results import Run
    from deepprivacy_rt.bench.running import Settings

    encoder = args.encoder or ("x264" if args.mode == "file" else "none")
    settings = Settings(args.mode, encoder, args.preset or "veryfast", args.rate, args.seconds, args.warm_up)
    machine = fingerprint(anonymizer.device)
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    if args.input:
        scenes = (clip(args.input, size) for size in (grid.sizes or (None,)))
    else:
        scenes = (crowd(number, size) for size in grid.sizes for number in grid.faces)
    cells = [_cell(anonymizer, scene, settings, streams) for scene in scenes for streams in grid.streams]
    config = anonymizer.config
    told = dataclasses.asdict(settings) | dataclasses.asdict(config)
    if config.filter == "gan":
        told["weights"] = file_identity(args.weights or weights.path(config.model))
    told |= {"input": file_identity(args.input) if args.input else None}
    return Run(created, told, machine, versions(), tuple(cells))


def _cell(anonymizer: Anonymizer, scene: Scene, settings: Settings, streams: int) -> Cell:
    from deepprivacy_rt.bench.running import run_cell

    cell = run_cell(anonymizer, scene, settings, streams)
    if sys.stderr.isatty():
        _say(f"{cell.label}: {cell.fps:.1f} fps")
    return cell


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
