"""``deepprivacy-rt audit ORIGINAL ANONYMIZED``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepprivacy_rt.cli.batch import MARK
from deepprivacy_rt.cli.files import check_side_file, one_line, write_side_file
from deepprivacy_rt.errors import DeepPrivacyError, UsageError
from deepprivacy_rt.sources import IMAGE_SUFFIXES, is_image, is_video

if TYPE_CHECKING:
    from deepprivacy_rt.audit.examine import Examiner
    from deepprivacy_rt.audit.faces import FaceFinder
    from deepprivacy_rt.audit.recogniser import Recogniser
    from deepprivacy_rt.audit.records import FileAudit
    from deepprivacy_rt.audit.summary import Summary
    from deepprivacy_rt.audit.thresholds import Threshold

_DESCRIPTION = """\
Compare an anonymized file with its original: which faces are still exposed, which are still found as faces, and
whether a recogniser still knows the people. Two folders are compared file by file. What is measured: docs/audit.md.

exit codes: 0 no face of 48 px or more is exposed; 1 some are, or the files do not fit together, or a failure;
2 wrong usage, or something missing here"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "audit",
        help="check an anonymized file against its original",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("original", type=Path, metavar="ORIGINAL", help="video, image or folder")
    parser.add_argument("anonymized", type=Path, metavar="ANONYMIZED", help="its anonymized copy")
    help_ = "YuNet (yunet_n_dynamic.onnx); default: fetched as 'weights fetch yunet' does"
    parser.add_argument("--detector-model", type=Path, metavar="FILE.onnx", help=help_)
    help_ = "face recogniser such as MobileFace; without one, recognition is not measured"
    parser.add_argument("--recogniser", type=Path, metavar="FILE.onnx", help=help_)
    help_ = "pictures of other people, one of each: the threshold is read from them, and they are decoys"
    parser.add_argument("--impostors", type=Path, action="append", metavar="FOLDER", help=help_)
    parser.add_argument("--score", type=float, default=0.6, help="lowest score of a face (default: 0.6)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="look at every N-th frame only")
    help_ = "keep what is found in originals for later audits; holds BIOMETRIC DATA of the original faces"
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help=help_)
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write all numbers")
    parser.add_argument("--html", type=Path, metavar="FILE.html", help="write a report; it shows ORIGINAL FACES")
    help_ = "write pairs of the worst cases as one picture; it shows ORIGINAL FACES"
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help=help_)
    parser.add_argument("--overwrite", action="store_true", help="replace existing reports")
    parser.add_argument("--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises UsageError, EnvironmentProblem, SourceError, SinkError."""
    pairs, lost = find_pairs(args.original, args.anonymized)
    _check(args, pairs)
    import cv2

    from deepprivacy_rt.audit.examine import Examiner
    from deepprivacy_rt.audit.summary import summarise, to_json

    cv2.setNumThreads(1)
    finder, recogniser, threshold = _networks(args)
    examiner = Examiner(finder, recogniser, every=args.every, cache_folder=args.cache)
    audits, failed = _examine(examiner, pairs, args.original)
    summary = summarise(audits, threshold)
    for line in (*lost, *failed):
        _say(f"error: {line}")
    _print(summary)
    if args.json:
        content = to_json(summary, audits) | {"not_audited": [*lost, *failed]}
        write_side_file(args.json, (json.dumps(content, indent=1) + "\n").encode())
    _write_pictures(args, summary, audits)
    return 0 if summary.passed and not lost and not failed else 1


def find_pairs(original: Path, anonymized: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Return the pairs of files to compare, and one line for each original without a copy. Raises UsageError."""
    for path in (original, anonymized):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    if not original.is_dir():
        copy = anonymized / original.name if anonymized.is_dir() else anonymized
        return [(original, copy)], []
    if not anonymized.is_dir():
        raise UsageError(f"{anonymized}: is a file, but {original} is a folder; give the folder of its copies")
    pairs, lost = [], []
    for path in sorted(original.rglob("*")):
        if path.is_file() and (is_image(path) or is_video(path)) and not path.stem.endswith(MARK):
            found = _copy_of(path, anonymized / path.relative_to(original))
            if found is None:
                lost.append(f"{path}: no anonymized copy in {anonymized}")
            else:
                pairs.append((path, found))
    if not pairs:
        raise UsageError(f"{original}: no video or image in it has a copy in {anonymized}")
    return pairs, lost


def _copy_of(path: Path, mirrored: Path) -> Path | None:
    candidates = (
        mirrored,
        mirrored.with_suffix(".mkv"),
        mirrored.with_name(f"{path.stem}{MARK}{path.suffix}"),
        mirrored.with_name(f"{path.stem}{MARK}.mkv"),
    )
    return next((found for found in candidates if found.is_file() and found.resolve() != path.resolve()), None)


def _check(args: argparse.Namespace, pairs: list[tuple[Path, Path]]) -> None:
    if args.every < 1:
        raise UsageError("--every must be at least 1")
    if not 0 < args.score < 1:
        raise UsageError("--score must lie between 0 and 1")
    if args.impostors and not args.recogniser:
        raise UsageError("--impostors needs --recogniser")
    if args.sheet and args.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--sheet {args.sheet}: must end in .png or .jpg")
    taken = [path for pair in pairs for path in pair]
    for option in ("json", "html", "sheet"):
        path = getattr(args, option)
        if path:
            check_side_file(path, f"--{option}", taken, overwrite=args.overwrite)
            taken.append(path)


def _networks(args: argparse.Namespace) -> tuple[FaceFinder, Recogniser | None, Threshold | None]:
    from deepprivacy_rt.audit.faces import FaceFinder
    from deepprivacy_rt.audit.recogniser import Recogniser
    from deepprivacy_rt.audit.thresholds import measured_threshold, stored_threshold
    from deepprivacy_rt.weights import Weights

    finder = FaceFinder(args.detector_model or Weights(report=_say).path("yunet"), score=args.score)
    if args.recogniser is None:
        return finder, None, None
    recogniser = Recogniser(args.recogniser)
    if not args.impostors:
        return finder, recogniser, stored_threshold(recogniser)
    pictures = [
        path
        for folder in args.impostors
        for path in ([folder] if folder.is_file() else sorted(folder.iterdir()))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    return finder, recogniser, measured_threshold(recogniser, finder, pictures)


def _examine(examiner: Examiner, pairs: list[tuple[Path, Path]], root: Path) -> tuple[list[FileAudit], list[str]]:
    audits, failed = [], []
    for original, copy in pairs:
        name = str(original.relative_to(root)) if root.is_dir() else original.name
        try:
            with _progress(name) as on_frame:
                audits.append(examiner.examine(original, copy, name=name, on_frame=on_frame))
        except DeepPrivacyError as error:
            if len(pairs) == 1:
                raise
            failed.append(one_line(error))
    return audits, failed


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(one_line(name)), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print(summary: Summary) -> None:
    from deepprivacy_rt.audit.text import rows

    lines = rows(summary)
    print(f"{summary.files} files, {summary.frames} frames looked at")
    widths = [max(len(row[column]) for row in lines) for column in (0, 1)]
    for what, value, detail in lines:
        print(f"{what:<{widths[0]}}  {value:>{widths[1]}}  {detail}".rstrip())
    for doubt in summary.doubts:
        _say(f"warning: {doubt}")


def _write_pictures(args: argparse.Namespace, summary: Summary, audits: list[FileAudit]) -> None:
    import cv2

    from deepprivacy_rt.audit.html import html_report
    from deepprivacy_rt.audit.sheet import draw_sheet

    if args.html:
        write_side_file(args.html, html_report(summary, audits).encode("utf-8", "backslashreplace"))
    if args.sheet:
        _, data = cv2.imencode(args.sheet.suffix.lower(), draw_sheet(audits)[..., ::-1])
        write_side_file(args.sheet, data.tobytes())


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
