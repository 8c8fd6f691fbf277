"""Anonymizes the evaluation clips through the command line, audits them, and prints the acceptance table.

    python benchmarks/acceptance.py SHARED_DIR [--out runs/acceptance] [--sets asl previews talking] [--every N]
        [--reuse] [--json F] [--html F] [--sheet F] [-- ANONYMIZE OPTIONS]

SHARED_DIR holds ``data/eval`` and ``models``. All that is written under --out shows or describes original faces, the
cache of their embeddings included: keep it private. ``--reuse`` audits the outputs of the last run again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2

from deepprivacy_rt.audit.bootstrap import Share
from deepprivacy_rt.audit.examine import Examiner
from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.html import html_report
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.audit.records import FileAudit
from deepprivacy_rt.audit.sheet import draw_sheet
from deepprivacy_rt.audit.summary import Summary, share_json, summarise, to_json
from deepprivacy_rt.audit.text import rows
from deepprivacy_rt.audit.thresholds import Threshold, measured_threshold
from deepprivacy_rt.cli.audit import find_pairs

SETS = ("asl", "previews", "talking")


class Criterion(NamedTuple):
    """One row of the acceptance table; passed is None where nothing was measured."""

    what: str
    limit: str
    measured: Share | None
    passed: bool | None


def anonymize(source: Path, target: Path, options: Sequence[str]) -> None:
    """Run the command on a folder. Ends the program when the command fails."""
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "deepprivacy_rt", "anonymize", str(source), "-o", str(target), "--seed", "0"]
    command += ["--overwrite", "--report", str(target.parent / f"{target.name}_report.json"), *options]
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"error: anonymize {source} ended with code {code}")


def impostor_pictures(evaluation: Path) -> list[Path]:
    """Return one picture of each person: the neutral ones of London, and all stills."""
    return sorted((evaluation / "london").glob("*_neutral.jpg")) + sorted((evaluation / "stills").glob("*.jpg"))


def criteria(summary: Summary) -> list[Criterion]:
    """Return the rows of the table."""
    large, medium = ">=48 px", "24-48 px"
    same = None if summary.recognition is None else summary.recognition.same
    return [
        _criterion(f"exposed face-frames, {large}", "0", summary.exposed[large], most=0.0),
        _criterion(f"exposed face-frames, {medium}", "<=1 %", summary.exposed[medium], most=0.01),
        _criterion(f"still detected as faces, {large}", ">=90 %", summary.kept[large], least=0.9),
        _criterion("same person at FAR 1e-3", "<=2 %", same, most=0.02),
    ]


def _criterion(
    what: str, limit: str, measured: Share | None, *, most: float = math.inf, least: float = -math.inf
) -> Criterion:
    if measured is None or not measured.total:
        return Criterion(what, limit, None, None)
    return Criterion(what, limit, measured, least <= measured.value <= most)


def show(table: Sequence[Criterion]) -> None:
    """Print the table."""
    print("| what | at least | measured | 95 % interval | passed |\n|---|---|---|---|---|")
    for row in table:
        if row.measured is None:
            print(f"| {row.what} | {row.limit} | none seen | | not measured |")
            continue
        share = row.measured
        value = f"{share.value:.2%} ({share.hits} of {share.total})"
        print(f"| {row.what} | {row.limit} | {value} | {share.low:.2%} to {share.high:.2%} | {_verdict(row.passed)} |")


def _verdict(passed: bool | None) -> str:
    return "not measured" if passed is None else "yes" if passed else "NO"


def audit(options: argparse.Namespace) -> tuple[dict[str, list[FileAudit]], Threshold, list[str]]:
    """Audit all sets; return the files by set, the recogniser's threshold, and originals without a copy."""
    evaluation, models = options.shared / "data" / "eval", options.shared / "models"
    finder = FaceFinder(models / "yunet_n_dynamic.onnx", score=options.score)
    recogniser = Recogniser(models / "mobileface_v3_112.onnx")
    threshold = measured_threshold(recogniser, finder, impostor_pictures(evaluation))
    examiner = Examiner(finder, recogniser, every=options.every, cache_folder=options.out / "cache")
    by_set: dict[str, list[FileAudit]] = {}
    lost: list[str] = []
    for name in options.sets:
        pairs, missing = find_pairs(evaluation / name, options.out / name)
        lost += missing
        by_set[name] = [examiner.examine(*pair, name=f"{name}/{pair[0].name}") for pair in pairs]
        print(f"audited {name}: {len(pairs)} files", file=sys.stderr, flush=True)
    return by_set, threshold, lost


def report(
    options: argparse.Namespace, by_set: dict[str, list[FileAudit]], threshold: Threshold, lost: list[str]
) -> bool:
    """Print and write everything; return whether all was measured and passed."""
    audits = [audit for part in by_set.values() for audit in part]
    summary = summarise(audits, threshold)
    table = criteria(summary)
    show(table)
    for name, part in (*by_set.items(), ("all", audits)):
        print(f"\n{name}")
        for row in rows(summarise(part, threshold)):
            print("  " + "  ".join(cell for cell in row if cell))
    for line in (*summary.doubts, *lost):
        print(f"warning: {line}")
    if options.json:
        content = {
            "criteria": [
                {
                    "what": c.what,
                    "limit": c.limit,
                    "passed": c.passed,
                    "measured": c.measured and share_json(c.measured),
                }
                for c in table
            ],
            "not_audited": lost,
            "sets": {name: to_json(summarise(part, threshold), part) for name, part in by_set.items()},
            "all": to_json(summary, []),
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.html:
        options.html.write_text(html_report(summary, audits))
    if options.sheet:
        cv2.imwrite(str(options.sheet), draw_sheet(audits)[..., ::-1])
    return all(row.passed for row in table) and not summary.doubts and not lost


def main() -> None:
    """Run everything; exit code 1 where a row is missed, not measured or in doubt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/acceptance"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--score", type=float, default=0.6)
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--html", type=Path)
    parser.add_argument("--sheet", type=Path)
    own, extra = split_options(sys.argv[1:])
    options = parser.parse_args(own)
    cv2.setNumThreads(1)
    if not options.reuse:
        for name in options.sets:
            anonymize(options.shared / "data" / "eval" / name, options.out / name, extra)
    sys.exit(0 if report(options, *audit(options)) else 1)


def split_options(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before ``--``, and what stands after it."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


if __name__ == "__main__":
    main()
