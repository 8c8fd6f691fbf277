"""``deepprivacy-rt run`` for a long time: memory, threads, descriptors, and whether lips and voice stay together.

    python benchmarks/soak.py CLIP [--minutes 10] [--fps 30] [--loop 10] [--json F] [-- RUN OPTIONS]

The clip's pictures, a white bar at the right edge flashing every second and a beep at the same instant, go in
a loop with sound to a real RTMP server (nginx). What a viewer gets there is recorded without encoding it again, and its
flashes and beeps are compared. Memory is resident, of the run and of its encoder's process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
from live_watch import HEAD, Usage, slope, usage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from flashes import RATE, make_clip, offsets
from rtmp_server import KEY, RtmpServer
from run_process import Process, running

_ROWS, _EDGE_S, _SAMPLE_S = 11, 30.0, 2.0


def scenes(clip: Path, count: int) -> list[np.ndarray]:
    """Return so many pictures at most."""
    with av.open(str(clip)) as file:
        frames = itertools.islice(file.decode(video=0), count)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def edges(recording: Path, folder: Path) -> dict[str, list[float]]:
    """Return the offsets, beep after flash in ms, of the first and the last half minute."""
    with av.open(str(recording)) as file:
        length = file.duration / av.time_base
    found = {}
    for name, begin in (("start", 0.0), ("end", max(0.0, length - _EDGE_S))):
        part = folder / f"{name}.mkv"
        command = ["ffmpeg", "-v", "error", "-ss", str(begin), "-i", str(recording), "-t", str(_EDGE_S), "-c", "copy"]
        subprocess.run([*command, str(part)], check=True)
        found[name] = (offsets(part)[:, 1] * 1000).round(1).tolist()
    return found


def watch(process: Process, minutes: float) -> tuple[list[Usage], dict]:
    """Sample until the time is over; return the samples and the last status."""
    begin, samples = time.monotonic(), []
    while time.monotonic() - begin < minutes * 60:
        samples.append(usage(process.child.pid, begin))
        status = process.status(lambda s: True)
        time.sleep(_SAMPLE_S)
    while process.lines[-1]["seconds"] < time.monotonic() - begin - 1:  # lines have queued up meanwhile
        status = process.status(lambda s: True)
    return samples, status


def main() -> None:
    """Print the table."""
    arguments = sys.argv[1:]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--fps", type=int, default=RATE, help="of the clip that is made (default: %(default)s)")
    parser.add_argument("--loop", type=int, default=10, metavar="SECONDS", help="after which the clip is opened anew")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments[:place])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = scenes(options.clip, options.loop * options.fps)
        make_clip(folder / "clip.mp4", options.loop, pictures, options.fps)
        server = RtmpServer(folder / "rtmp")
        server.start()
        try:
            samples, status = soak(folder, f"{server.url}/{KEY}", options.minutes, arguments[place + 1 :])
        finally:
            server.kill()
        report(samples, status, edges(folder / "got.mkv", folder), options.json)


def soak(folder: Path, url: str, minutes: float, more: list[str]) -> tuple[list[Usage], dict]:
    """Run, and record what a viewer of the stream gets."""
    given = ("--source", "clip.mp4", "--loop", "--audio", "--sink", url, *more)
    with running(*given, folder=folder) as process:
        process.status(lambda s: s["outputs"][0]["written"] > 60)
        viewer = subprocess.Popen(["ffmpeg", "-v", "error", "-i", url, "-c", "copy", str(folder / "got.mkv")])
        try:
            return watch(process, minutes)
        finally:
            viewer.terminate()  # the server keeps a stream open whose publisher has gone
            viewer.wait(20)
            process.stop()


def report(samples: list[Usage], status: dict, found: dict[str, list[float]], target: Path | None) -> None:
    """Print ten rows, the slope, and the offsets."""
    print(f"| {HEAD} |\n|---|---|---|---|---|")
    for index in np.linspace(0, len(samples) - 1, _ROWS).astype(int):
        print(f"| {samples[index].row()} |")
    growth, output = slope(samples), status["outputs"][0]
    print(f"memory over the second half: {growth:+.2f} MiB per minute")
    dropped = status["dropped"] / max(1, status["captured"])
    print(f"{output['fps']} fps, {dropped:.1%} dropped, latency {output['latency_ms']} ms, effort: {status['effort']}")
    for name, values in found.items():
        middle, least, most = np.median(values), min(values), max(values)
        print(
            f"beep after flash at the {name}: {middle:+.1f} ms (median of {len(values)}; {least:+.1f} to {most:+.1f})"
        )
    if target is not None:
        content = {"slope_mib_per_minute": growth, "status": status, "offsets_ms": found}
        target.write_text(json.dumps(content | {"samples": [asdict(one) for one in samples]}) + "\n")


if __name__ == "__main__":
    main()
