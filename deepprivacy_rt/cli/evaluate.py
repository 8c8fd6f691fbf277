"""``deepprivacy-rt evaluate INPUT...``."""

from __future__ import annotations

import argparse
import json
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepprivacy_rt.cli.batch import make_plan
from deepprivacy_rt.cli.files import check_side_file, one_line, write_side_file
from deepprivacy_rt.config import DetectorName, Effort, FaceConfig, ModelName, Portraits, Precision, Privacy, Region
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.sources import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from deepprivacy_rt.evaluation.evaluate import Evaluation, Job, Networks

_DESCRIPTION = """\
Anonymize clips and pictures with a generator, and measure the result: are people safe, and are the faces any good?
The same files are encoded again, pixelated and filled, as floors for every number. Meanings: docs/evaluate.md.

exit codes: 0 measured; 1 a failure, or with --check a target missed; 2 wrong usage, or something missing here"""
_FACE_OPTIONS = {
    "region": Region,
    "effort": Effort,
    "detector": DetectorName,
    "model": ModelName,
    "precision": Precision,
    "privacy": Privacy,
    "portraits": Portraits,
}
_SCRATCH = "deepprivacy-rt-evaluate-"
_RECOGNISER, _DETECTOR = "mobileface_v3_112.onnx", "yunet_n_dynamic.onnx"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure how good and how safe the generated faces are",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="video, image, folder or pattern")
    help_ = f"folder with the judges: {_RECOGNISER}, and {_DETECTOR} unless it is fetched"
    parser.add_argument("--models", type=Path, metavar="FOLDER", required=True, help=help_)
    help_ = "generator to evaluate (default: the shipped one)"
    parser.add_argument("--weights", type=Path, metavar="FILE.safetensors", help=help_)
    for name, values in _FACE_OPTIONS.items():
        help_ = "as in the configuration of anonymize"
        parser.add_argument(f"--{name}", choices=typing.get_args(values), help=help_)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the synthetic identities (default: 0)")
    help_ = "as many draws of identities, of successive seeds, count alike: one says little (default: 1)"
    parser.add_argument("--draws", type=int, default=1, metavar="N", help=help_)
    help_ = "look at every N-th frame, and at the one after it (default: 1)"
    parser.add_argument("--every", type=int, default=1, metavar="N", help=help_)
    help_ = "pictures of other people, one of each: the threshold is read from them, and they join the gallery"
    parser.add_argument("--impostors", type=Path, action="append", metavar="PATH", help=help_)
    help_ = "training pack: its held-out faces are what the distances are measured to"
    parser.add_argument("--pack", type=Path, metavar="FILE.npz", help=help_)
    help_ = "table of people (first column; files are named PERSON or PERSON_...) and their groups (other columns)"
    parser.add_argument("--groups", type=Path, metavar="FILE.csv", help=help_)
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write all numbers")
    help_ = "write a report with contact sheets; it shows ORIGINAL FACES"
    parser.add_argument("--html", type=Path, metavar="FILE.html", help=help_)
    help_ = "keep the copies and what was found in originals there (default: nothing is kept): ORIGINAL FACES"
    parser.add_argument("--work", type=Path, metavar="FOLDER", help=help_)
    parser.add_argument("--reuse", action="store_true", help="measure the copies in --work again, make missing ones")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a target is missed")
    parser.add_argument("--overwrite", action="store_true", help="replace existing reports")
    parser.add_argument("--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises UsageError, EnvironmentProblem, SourceError, SinkError."""
    _check(args)
    import cv2

    from deepprivacy_rt.evaluation.page import html_page
    from deepprivacy_rt.evaluation.report import text, to_json

    cv2.setNumThreads(1)
    with _work_folder(args) as work:
        evaluation = _evaluate(args, work)
    print(text(evaluation.results))
    for line in evaluation.results.doubts:
        _say(f"warning: {line}")
    title = args.weights.name if args.weights else "shipped weights"
    if args.json:
        content = {"weights": title, "every": args.every, "seed": args.seed} | to_json(evaluation.results)
        write_side_file(args.json, (json.dumps(content, indent=1) + "\n").encode())
    if args.html:
        write_side_file(args.html, html_page(evaluation, title).encode("utf-8", "backslashreplace"))
    missed = [key for key in evaluation.results.targets if evaluation.results.met(key) is False]
    return 1 if evaluation.failed or (args.check and missed) else 0


def _check(args: argparse.Namespace) -> None:
    if args.every < 1:
        raise UsageError("--every must be at least 1")
    if args.draws < 1:
        raise UsageError("--draws must be at least 1")
    if args.reuse and not args.work:
        raise UsageError("--reuse needs --work, the folder of the earlier run")
    if not (args.models / _RECOGNISER).is_file():
        raise UsageError(f"--models {args.models}: no {_RECOGNISER} in it; none is shipped with this package")
    if args.weights and not args.weights.is_file():
        raise UsageError(f"--weights {args.weights}: no such file")
    taken = [Path(path) for path in args.inputs]
    for option in ("json", "html"):
        path = getattr(args, option)
        if path:
            check_side_file(path, f"--{option}", taken, overwrite=args.overwrite)
            taken.append(path)


@contextmanager
def _work_folder(args: argparse.Namespace) -> Iterator[Path]:
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
        yield args.work
        return
    from deepprivacy_rt.cli.scratch import remove_abandoned, scratch_folder

    removed = remove_abandoned(_SCRATCH)
    if removed:
        _say(f"note: removed what {removed} run(s) that were killed had left: it showed original faces")
    with scratch_folder(_SCRATCH) as folder:
        yield folder


def _evaluate(args: argparse.Namespace, work: Path) -> Evaluation:
    from deepprivacy_rt.evaluation.copies import CopyMaker
    from deepprivacy_rt.evaluation.distribution import held_out_embeddings
    from deepprivacy_rt.evaluation.evaluate import evaluate
    from deepprivacy_rt.evaluation.groups import read_groups
    from deepprivacy_rt.weights import Weights

    attributes = read_groups(args.groups) if args.groups else {}
    jobs = find_jobs(args.inputs, work, args.draws)
    weights = Weights(report=_say)
    networks = _networks(args, weights)
    reference = held_out_embeddings(args.pack, networks.finder, networks.recogniser) if args.pack else None
    given = {name: getattr(args, name) for name in _FACE_OPTIONS if getattr(args, name)}
    makers = [
        CopyMaker(FaceConfig(seed=args.seed + draw, **given), weights, args.weights) for draw in range(args.draws)
    ]
    with _progress(len(jobs) + 1) as on_step:
        return evaluate(
            jobs,
            makers,
            networks,
            every=args.every,
            cache_folder=work / "found",
            reference=reference,
            attributes=attributes,
            reuse=args.reuse,
            on_step=on_step,
        )


def find_jobs(inputs: Sequence[str], work: Path, draws: int = 1) -> list[Job]:
    """Return the files to evaluate. Raises UsageError for an input that is none."""
    from deepprivacy_rt.evaluation.copies import TREATMENTS, copy_name
    from deepprivacy_rt.evaluation.evaluate import Job

    names = (*TREATMENTS, *(copy_name(draw) for draw in range(1, draws)))
    plans = {name: make_plan(inputs, f"{work / name}/", overwrite=True) for name in names}
    refusals = next(iter(plans.values())).refusals
    if refusals:
        raise UsageError(f"{refusals[0].source}: {refusals[0].cause}")
    jobs = []
    for copies in zip(*(plan.jobs for plan in plans.values()), strict=True):
        targets = {name: copy.target for name, copy in zip(plans, copies, strict=True)}
        name, target = next(iter(targets.items()))
        place = target.relative_to(work / name)
        source = copies[0].source
        label = place.parts[0] if len(place.parts) > 1 else source.resolve().parent.name
        jobs.append(Job(f"{label}/{place.name}", label, source, targets))
    if not jobs:
        raise UsageError("no video or image among the inputs")
    return jobs


def _networks(args: argparse.Namespace, weights: typing.Any) -> Networks:
    from deepprivacy_rt.audit.faces import FaceFinder
    from deepprivacy_rt.audit.recogniser import Recogniser
    from deepprivacy_rt.audit.thresholds import measured_threshold, stored_threshold
    from deepprivacy_rt.evaluation.evaluate import Networks
    from deepprivacy_rt.expressions.face_mesh import FaceMesh

    detector = args.models / _DETECTOR
    finder = FaceFinder(detector if detector.is_file() else weights.path("yunet"))
    recogniser = Recogniser(args.models / _RECOGNISER)
    mesh = FaceMesh(weights.path("face-landmark"))
    if not args.impostors:
        return Networks(finder, recogniser, mesh, stored_threshold(recogniser))
    pictures = [
        path
        for place in args.impostors
        for path in ([place] if place.is_file() else sorted(place.iterdir()))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    return Networks(finder, recogniser, mesh, measured_threshold(recogniser, finder, pictures))


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=steps, completed=-1)
        yield lambda what: progress.update(task, advance=1, description=escape(one_line(what)))


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
