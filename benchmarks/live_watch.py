"""Watches ``deepprivacy-rt run`` from outside: its status over HTTP, its memory, threads and descriptors."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

MIB = 1 << 20
TOKEN = "benchmark"


@dataclass(frozen=True)
class Usage:
    """What a process and its children hold at one moment.

    :ivar seconds: since the first sample.
    :ivar parent_mib, children_mib: resident.
    """

    seconds: float
    parent_mib: float
    children_mib: float
    threads: int
    descriptors: int

    def row(self) -> str:
        """Return a row of a table."""
        return " | ".join(str(round(value, 1)) for value in asdict(self).values())


HEAD = "seconds | MiB | MiB of children | threads | descriptors"


def usage(pid: int, since: float) -> Usage:
    """Sample a process. Raises psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    children = sum(child.memory_info().rss for child in process.children(recursive=True)) / MIB
    own = process.memory_info().rss / MIB
    return Usage(time.monotonic() - since, own, children, process.num_threads(), process.num_fds())


def slope(samples: list[Usage]) -> float:
    """Return MiB per minute, a straight line through the second half."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    minutes = [one.seconds / 60 for one in half]
    mib = [one.parent_mib + one.children_mib for one in half]
    mean_x, mean_y = sum(minutes) / len(half), sum(mib) / len(half)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(minutes, mib, strict=True)) / sum(
        (x - mean_x) ** 2 for x in minutes
    )


class Status:
    """The status of a run that was started with ``--control`` and DEEPPRIVACY_CONTROL_TOKEN set to TOKEN."""

    def __init__(self, message: str) -> None:
        """:param message: in which the run says where its control is."""
        self._address = message.split("control: ")[1].split(",")[0]

    def __call__(self) -> dict[str, Any]:
        """Ask. Raises OSError."""
        request = urllib.request.Request(self._address, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))

    def wait(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> float:
        """Ask every 30 ms until the condition holds; return how long it took, infinity where it never did."""
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            if condition(self()):
                return time.monotonic() - begin
            time.sleep(0.03)
        return float("inf")
