"""Resident memory of ``deepprivacy-rt anonymize`` over a long 1280x720 file.

    python benchmarks/memory.py CLIP [--minutes 10] [--json F] [-- ANONYMIZE OPTIONS]

The file is the clip, repeated without encoding it again. Memory is that of the process and its children. The slope is
a straight line through the second half of the run, when every buffer has been filled once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

MIB = 1 << 20
_ROWS = 10


def make_long(clip: Path, target: Path, minutes: float) -> None:
    """Write the clip in a loop, video only, cut at that length."""
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "-1", "-i", str(clip), "-map", "0:v:0", "-c", "copy"]
    subprocess.run([*command, "-t", str(minutes * 60), str(target)], check=True)


def resident(process: psutil.Process) -> float:
    """Return MiB of a process and its children; 0 when it has ended."""
    try:
        return sum(part.memory_info().rss for part in (process, *process.children(recursive=True))) / MIB
    except psutil.NoSuchProcess:
        return 0.0


def sample(command: list[str], interval: float) -> tuple[np.ndarray, int]:
    """Run a command; return (n, 2) of seconds and MiB, and its exit code."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process, begin, samples = psutil.Process(child.pid), time.monotonic(), []
    while child.poll() is None:
        samples.append((time.monotonic() - begin, resident(process)))
        time.sleep(interval)
    kept = [pair for pair in samples if pair[1] > 0]
    return np.array(kept or [(0.0, 0.0)]), child.returncode


def main() -> None:
    """Print the table."""
    arguments = sys.argv[1:]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two samples")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments[:place])
    with tempfile.TemporaryDirectory() as name:
        long, report = Path(name) / "long.mkv", Path(name) / "report.json"
        make_long(options.clip, long, options.minutes)
        command = [sys.executable, "-m", "deepprivacy_rt", "anonymize", str(long), "-o", str(Path(name) / "out.mkv")]
        samples, code = sample(
            [*command, "--seed", "0", "--report", str(report), *arguments[place + 1 :]], options.interval
        )
        if code:
            sys.exit(f"error: anonymize ended with code {code}")
        frames = json.loads(report.read_text())["files"][0]["frames"]
    second_half = samples[len(samples) // 2 :]
    slope = float(np.polyfit(second_half[:, 0] / 60, second_half[:, 1], 1)[0]) if len(second_half) > 2 else 0.0
    video_minutes = samples[-1, 0] / 60 / options.minutes
    print("| seconds | MiB |\n|---|---|")
    for seconds, mib in samples[np.linspace(0, len(samples) - 1, _ROWS).astype(int)]:
        print(f"| {seconds:.0f} | {mib:.0f} |")
    print(f"frames {frames}, maximum {samples[:, 1].max():.0f} MiB")
    print(f"slope over the second half {slope:.2f} MiB per minute, {slope * video_minutes:.2f} MiB per minute of video")
    if options.json:
        content = {"frames": frames, "max_mib": float(samples[:, 1].max()), "slope_mib_per_minute": slope}
        options.json.write_text(json.dumps(content | {"samples": samples.round(2).tolist()}) + "\n")


if __name__ == "__main__":
    main()
