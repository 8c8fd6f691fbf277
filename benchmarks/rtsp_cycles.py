"""How ``deepprivacy-rt run`` takes an RTSP camera that dies again and again: time to the slate, time back, memory.

    python benchmarks/rtsp_cycles.py [--cycles 20] [--away 4] [--json F]

A real RTSP server (gst-rtsp-server, 640x360, with sound) is killed, stays away, and is started again on its port.
The run records picture and sound. Times are read off its status, asked for every 30 ms: from the kill to the first
slate, and from the server's listening to the first new picture written. Memory, threads and descriptors are those of a
moment 2 s later.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from live_watch import HEAD, TOKEN, Status, Usage, slope, usage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from live_helpers import RtspServer
from run_process import Process, running

SLATE_S, BACK_S = 1.0, 3.0


@dataclass(frozen=True)
class Cycle:
    """One loss. :ivar slate, back: seconds."""

    slate: float
    back: float
    usage: Usage


def cycle(server: RtspServer, status: Status, process: Process, away: float, since: float) -> Cycle:
    """Kill the server once, and start it again."""
    before = status()["outputs"][0]["slates"]
    server.kill()
    killed = time.monotonic()
    slate = status.wait(lambda s: s["outputs"][0]["slates"] > before, 10)
    time.sleep(max(0.0, killed + away - time.monotonic()))
    written = status()["outputs"][0]["written"]
    server.start("--flashes", "--picture", "640x360x30")
    back = status.wait(lambda s: s["outputs"][0]["written"] > written, 60)
    time.sleep(2)
    return Cycle(slate, back, usage(process.child.pid, since))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--away", type=float, default=4.0, help="seconds that the server is gone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    server, cycles = RtspServer(), []
    server.start("--flashes", "--picture", "640x360x30")
    try:
        with tempfile.TemporaryDirectory() as name:
            arguments = ("--source", server.url(), "--audio", "--sink", "out.mkv", "--control", 0, "--size", "640x360")
            with running(*arguments, folder=Path(name), DEEPPRIVACY_CONTROL_TOKEN=TOKEN) as process:
                status = Status(process.message("control: "))
                process.status(lambda s: s["outputs"][0]["written"] > 60)
                since = time.monotonic()
                print(f"| cycle | to the slate, s | back after, s | {HEAD} |\n|---|---|---|---|---|---|---|---|")
                for number in range(options.cycles):
                    cycles.append(cycle(server, status, process, options.away, since))
                    last = cycles[-1]
                    print(f"| {number + 1} | {last.slate:.2f} | {last.back:.2f} | {last.usage.row()} |", flush=True)
                process.stop()
    finally:
        server.kill()
    report(cycles, options.json)


def report(cycles: list[Cycle], target: Path | None) -> None:
    """Print the worst, and end with code 1 where a bound was missed."""
    slate, back = max(c.slate for c in cycles), max(c.back for c in cycles)
    growth = slope([c.usage for c in cycles])
    print(
        f"slate after {slate:.2f} s at most ({SLATE_S:g} allowed), back after {back:.2f} s at most ({BACK_S:g} allowed)"
    )
    print(f"memory over the second half: {growth:+.2f} MiB per minute")
    if target is not None:
        content = {"slate_s": slate, "back_s": back, "slope_mib_per_minute": growth}
        target.write_text(json.dumps(content | {"cycles": [asdict(c) for c in cycles]}) + "\n")
    sys.exit(int(slate > SLATE_S or back > BACK_S))


if __name__ == "__main__":
    main()
