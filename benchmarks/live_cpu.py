"""What a live run costs once it has started: frames per second, drops, latency, and CPU time per frame.

    chrt -r 10 python benchmarks/live_cpu.py CLIP [--minutes 5] [-- RUN OPTIONS]

``deepprivacy-rt run --source CLIP --loop --sink null`` is watched from outside, from its tenth second on. CPU time is
that of all its threads and child processes, decoding and colours included, over the frames that were written meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

_START_S = 10.0


def cpu_seconds(process: psutil.Process) -> float:
    """Return what a process and its children have used so far."""
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def main() -> None:
    """Print one line."""
    arguments = sys.argv[1:]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args(arguments[:place])
    source = ["--source", str(options.clip), "--loop", "--sink", "null", "--json", *arguments[place + 1 :]]
    command = [sys.executable, "-m", "deepprivacy_rt", "run", *source]
    status: dict[str, Any] = {}
    efforts = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:

        def read() -> None:
            assert child.stdout is not None
            for line in child.stdout:
                event = json.loads(line)
                if event["event"] == "status":
                    status.update(event)
                    efforts.add(event["effort"])

        threading.Thread(target=read, daemon=True).start()
        process = psutil.Process(child.pid)
        time.sleep(_START_S)
        begin, before, since = cpu_seconds(process), dict(status), time.monotonic()
        efforts.clear()
        time.sleep(60 * options.minutes)
        used, after, seconds = cpu_seconds(process) - begin, dict(status), time.monotonic() - since
        child.terminate()
    output = after["outputs"][0]
    frames = output["written"] - before["outputs"][0]["written"]
    captured, dropped = (after[key] - before[key] for key in ("captured", "dropped"))
    dropped += output["dropped"] - before["outputs"][0]["dropped"]
    share = dropped / max(captured, 1)
    print(
        f"{frames / seconds:.1f} frames per second, {dropped} of {captured} dropped ({share:.2%}), "
        f"latency {output['latency_ms']} ms (p50, p95), {1e3 * used / max(frames, 1):.1f} ms of CPU per frame; "
        f"{', '.join(sorted(efforts))}"
    )


if __name__ == "__main__":
    main()
