"""``deepprivacy-rt anonymize INPUT... [-o OUT]``."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import typing
from pathlib import Path

from deepprivacy_rt.cli.batch import Plan, make_plan
from deepprivacy_rt.cli.files import check_side_file
from deepprivacy_rt.config import (
    Config,
    DetectorName,
    Effort,
    Filter,
    ModelName,
    Portraits,
    Preset,
    Privacy,
    Region,
    load,
    override,
    to_toml,
)
from deepprivacy_rt.errors import UsageError

_DESCRIPTION = """\
Replace every face in video files and images. Inputs are files, folders (searched through, structure kept in OUT) and
patterns such as 'day1/*.mp4'. Inputs are never overwritten, and nothing half done gets a final name.

exit codes: 0 all done; 1 failed or interrupted; 2 wrong usage, or something missing here; 3 some of the batch failed"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command. Options that are not given leave the configuration alone."""
    parser = subparsers.add_parser(
        "anonymize",
        help="replace every face in video files and images by a face of nobody",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="video, image, folder or pattern")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="file or folder; default: NAME_anonymized.EXT beside NAME"
    )
    _add_faces(parser.add_argument_group("faces"))
    _add_output(parser.add_argument_group("output"))
    _add_run(parser.add_argument_group("run"))


def _add_faces(group: argparse._ArgumentGroup) -> None:
    def choice(name: str, values: object, text: str) -> None:
        group.add_argument(f"--{name}", dest=f"faces.{name}", choices=typing.get_args(values), help=text)

    choice("filter", Filter, "what covers a face: a generated one, a mosaic, one colour (default: gan)")
    choice("region", Region, "cover the face, or the head with hair and ears (default: face)")
    choice("model", ModelName, "generator: faces of 128 pixels, or of 256 for more time (default: auto, mostly 256)")
    choice("effort", Effort, "how hard to look for faces (default: balanced)")
    choice("detector", DetectorName, "who looks for faces (default: blazeface)")
    choice("privacy", Privacy, "mouth, eyelids and smile follow the original's, or stay at rest (default: standard)")
    choice("portraits", Portraits, "whose faces are drawn (default: any, by what surrounds a face)")
    help_ = "auto, cpu, cuda, cuda:N or mps, for the generator (default: auto); one that is missing is an error"
    group.add_argument("--device", dest="faces.device", metavar="DEVICE", help=help_)
    help_ = "random, or a name or number of `deepprivacy-rt identities`, for all faces (default: random)"
    group.add_argument("--identity", dest="faces.identity", metavar="NAME", help=help_)
    help_ = "the same synthetic faces in every run; anybody who knows it can draw them too, so for tests only"
    group.add_argument("--seed", dest="faces.seed", type=int, metavar="N", help=help_)


def _add_output(group: argparse._ArgumentGroup) -> None:
    def switch(name: str, text: str) -> None:
        dest = f"output.{name.replace('-', '_')}"
        group.add_argument(f"--{name}", dest=dest, action=argparse.BooleanOptionalAction, help=text)

    group.add_argument("--codec", dest="output.codec", help="h264, hevc, vp9, av1, or an encoder of FFmpeg")
    help_ = "0 (best) to 51 or 63, by codec (default for h264: 22)"
    group.add_argument("--quality", dest="output.quality", type=int, metavar="N", help=help_)
    help_ = "speed of the encoder, ultrafast to veryslow (default: veryfast)"
    group.add_argument("--preset", dest="output.preset", choices=typing.get_args(Preset), metavar="PRESET", help=help_)
    switch("audio", "keep audio tracks (default: yes; voices are not changed)")
    switch("keep-metadata", "keep location, device, date and comments (default: no)")
    switch("overwrite", "replace existing outputs (default: no)")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--config", type=Path, metavar="FILE.toml", help="options from a file; the command line wins")
    group.add_argument("--print-config", action="store_true", help="print the configuration in force, and stop")
    help_ = "before/after contact sheet; it shows ORIGINAL FACES, so do not share it"
    group.add_argument("--preview", type=Path, metavar="OUT.jpg", help=help_)
    help_ = "write what was covered in which frames, how, and what was uncertain"
    group.add_argument("--report", type=Path, metavar="FILE.json", help=help_)
    group.add_argument("--json", action="store_true", help="progress as JSON lines on standard output")
    group.add_argument("--verbose", action="store_true", help="say more; show where errors come from")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    config = _config(args)
    if args.print_config:
        print(to_toml(config), end="")
        return 0
    if not args.inputs:
        raise UsageError("no INPUT given; name a video, an image, a folder or a pattern")
    plan = make_plan(args.inputs, args.output, overwrite=config.output.overwrite)
    _check_side_files(args, plan, config)
    if not plan.jobs and not plan.refusals:
        skipped, ignored = len(plan.skipped), len(plan.ignored)
        raise UsageError(f"nothing to do: {skipped} outputs of earlier runs, {ignored} files of other kinds")
    return _run_batch(args, config, plan)


def _config(args: argparse.Namespace) -> Config:
    config = load(Config, args.config) if args.config else Config()
    given = {name: value for name, value in vars(args).items() if "." in name and value is not None}
    return override(config, given)


def _check_side_files(args: argparse.Namespace, plan: Plan, config: Config) -> None:
    taken = [path for job in plan.jobs for path in (job.source, job.target)]
    taken += [Path(refusal.source) for refusal in plan.refusals]
    overwrite = config.output.overwrite
    if args.preview:
        if args.preview.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise UsageError(f"--preview {args.preview}: must end in .jpg or .png")
        check_side_file(args.preview, "--preview", taken, overwrite=overwrite)
        taken.append(args.preview)
    if args.report:
        check_side_file(args.report, "--report", taken, overwrite=overwrite)


def _run_batch(args: argparse.Namespace, config: Config, plan: Plan) -> int:
    from deepprivacy_rt.cli.interrupt import UnresponsiveError, run_interruptibly
    from deepprivacy_rt.cli.runner import BatchRunner

    runner = BatchRunner(config, plan, args)

    def work(stop: threading.Event) -> int:
        return runner.run(stop)

    try:
        return run_interruptibly(work)
    except UnresponsiveError:
        runner.abandon()
        sys.stderr.flush()
        os._exit(1)  # a library call that does not return cannot be ended in any other way
