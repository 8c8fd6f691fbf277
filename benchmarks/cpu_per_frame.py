"""CPU time per frame of ``deepprivacy-rt anonymize`` on one file, end to end. The documentation's are of 1280x720.

    python benchmarks/cpu_per_frame.py CLIP [--runs 5] [--json F] [-- ANONYMIZE OPTIONS]

Each run is a child process; its CPU time (user and system, all threads) is what the operating system charged for it.
Two lengths are run, the clip and the clip twice in a row: their difference is the cost of a further frame, without
starting Python and loading networks. Decoding and encoding alone (PyAV, x264 veryfast, nothing between) runs in turns
with it, for on a shared machine the same work costs more at some times than at others. Medians over the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av

DECODE_ENCODE = """
import sys, av
with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w") as sink:
    stream = source.streams.video[0]
    out = sink.add_stream("libx264", rate=stream.average_rate, options={"preset": "veryfast"})
    out.width, out.height, out.pix_fmt = stream.codec_context.width, stream.codec_context.height, "yuv420p"
    out.time_base = stream.time_base
    for frame in source.decode(stream):
        sink.mux(out.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")))
    sink.mux(out.encode())
"""


class Cost(NamedTuple):
    """What one child process cost, its own children included: CPU seconds (user and system), and seconds elapsed."""

    cpu: float
    wall: float


def cost(command: Sequence[str]) -> Cost:
    """Run a command and return what it cost. Ends the program when it fails."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            sys.exit(f"error: {' '.join(command)}: {errors.read().decode(errors='replace')[-500:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - begin)


def repeat(clip: Path, target: Path, times: int) -> int:
    """Write a clip several times in a row without encoding it again; return the number of frames."""
    with av.open(str(clip)) as source:
        if not source.streams.video:
            sys.exit(f"error: {clip}: has no video")
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", str(times - 1), "-i", str(clip)]
    subprocess.run([*command, "-map", "0:v:0", "-c", "copy", str(target)], check=True)
    with av.open(str(target)) as copy:
        return sum(1 for packet in copy.demux(video=0) if packet.size)


def anonymize(source: Path, folder: Path, options: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return CPU seconds of one run, and the program's own account by stage."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "deepprivacy_rt", "anonymize", str(source), "-o", str(folder / "out.mp4")]
    command += ["--seed", "0", "--preset", "veryfast", "--overwrite", "--report", str(report), *options]
    seconds = cost(command).cpu
    return seconds, json.loads(report.read_text())["files"][0]["stage_cpu_seconds"]


def measure(clip: Path, runs: int, options: Sequence[str], longer: int = 2) -> dict[str, object]:
    """Return milliseconds per frame. :param longer: how often the clip is repeated in the longer of both runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once, many = folder / "once.mkv", folder / "many.mkv"
        frames = repeat(clip, once, 1)
        further = repeat(clip, many, longer) - frames
        whole, marginal, reference, stages = [], [], [], []
        for number in range(runs):
            short, _ = anonymize(once, folder, options)
            long, by_stage = anonymize(many, folder, options)
            whole.append(long / (frames + further) * 1e3)
            marginal.append((long - short) / further * 1e3)
            stages.append({stage: seconds / (frames + further) * 1e3 for stage, seconds in by_stage.items()})
            both = [
                cost([sys.executable, "-c", DECODE_ENCODE, str(p), str(folder / "r.mp4")]).cpu for p in (once, many)
            ]
            reference.append((both[1] - both[0]) / further * 1e3)
            print(f"run {number + 1}: {marginal[-1]:.1f} ms, alone {reference[-1]:.1f} ms", file=sys.stderr, flush=True)
    return {
        "frames": frames + further,
        "runs": runs,
        "ms_per_frame_with_start": round(statistics.median(whole), 2),
        "ms_per_further_frame": round(statistics.median(marginal), 2),
        "ms_per_further_frame_all_runs": [round(value, 2) for value in marginal],
        "ms_decode_encode_alone": round(statistics.median(reference), 2),
        "ms_by_stage": {stage: round(statistics.median(run[stage] for run in stages), 2) for stage in stages[0]},
    }


def main() -> None:
    """Print the table."""
    arguments = sys.argv[1:]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments[:place])
    result = measure(options.clip, options.runs, arguments[place + 1 :])
    stages = result["ms_by_stage"]
    assert isinstance(stages, dict)
    print("| CPU ms per frame | |\n|---|---|")
    print(f"| anonymize, a further frame | {result['ms_per_further_frame']} |")
    print(f"| anonymize, start included ({result['frames']} frames) | {result['ms_per_frame_with_start']} |")
    for stage, value in stages.items():
        print(f"| ... {stage} (its own thread) | {value} |")
    print(f"| decode and encode alone | {result['ms_decode_encode_alone']} |")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
