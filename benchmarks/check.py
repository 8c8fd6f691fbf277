"""Has it become slower? Compares the CPU time per frame with a baseline, as ratios within one run.

    python benchmarks/check.py [--runs 3] [--baseline benchmarks/baseline.json] [--update]

A ratio is that of ``deepprivacy-rt anonymize`` on the sample clip to decoding and encoding the same clip alone, both
measured in turns (``cpu_per_frame.py``), so that a slow or busy machine slows both. Even so ratios differ from machine
to machine, by the encoder's and the networks' use of its instructions, and by a quarter from run to run where others
compute beside it: the margins are wide, and find what doubles a stage, not what costs five percent. Compare on the
kind of machine that the baseline names, or write one of your own with ``--update``.

Exit code 1: something takes longer than its margin allows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cpu_per_frame import measure

from deepprivacy_rt.bench.machine import fingerprint

HERE = Path(__file__).resolve().parent
CLIP = HERE.parent / "samples" / "signing.mkv"
WHOLE = "whole"
MARGINS = {WHOLE: 1.4}
"""How many times its baseline a ratio may be."""
_STAGE_MARGIN = 1.8
_SMALLEST = 0.05
"""Stages with a smaller ratio say nothing."""
_LONGER = 4


def ratios(runs: int) -> dict[str, float]:
    """Return the ratio of a further frame as a whole, and of every stage."""
    result = measure(CLIP, runs, ["--no-audio"], longer=_LONGER)
    alone, stages = result["ms_decode_encode_alone"], result["ms_by_stage"]
    assert isinstance(alone, float) and isinstance(stages, dict)
    found = {WHOLE: result["ms_per_further_frame"], **stages}
    return {name: round(value / alone, 3) for name, value in found.items()}


def compare(now: dict[str, float], then: dict[str, float]) -> bool:
    """Print the table; return whether all is within its margin."""
    good = True
    print("| | baseline | now | now / baseline | allowed |\n|---|---|---|---|---|")
    for name, before in then.items():
        margin = MARGINS.get(name, _STAGE_MARGIN)
        change = now.get(name, 0.0) / before if before else 0.0
        slower = before >= _SMALLEST and change > margin
        good &= not slower
        mark = " **slower**" if slower else ""
        print(f"| {name} | {before:.2f} | {now.get(name, 0.0):.2f} | {change:.2f}{mark} | {margin} |")
    return good


def main() -> int:
    """Compare, or write a new baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--baseline", type=Path, default=HERE / "baseline.json")
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    now = ratios(options.runs)
    if options.update:
        machine = fingerprint("cpu")
        content = {"cpu": machine["cpu"], "cores": machine["cores"], "runs": options.runs, "ratios": now}
        options.baseline.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {options.baseline}: {now}")
        return 0
    baseline = json.loads(options.baseline.read_text())
    print(f"baseline of {baseline['cpu']}, {baseline['cores']} cores; ratios to decoding and encoding alone\n")
    if compare(now, baseline["ratios"]):
        return 0
    print("\nslower than the baseline allows", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
