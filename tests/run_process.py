"""``deepprivacy-rt run`` as a process whose lines are read, and what it recorded."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from waiting import WaitedInVain

ROOT = Path(__file__).resolve().parents[1]
SLATE = np.array([38, 40, 44])


class Process:
    """A run with ``--json``; reads its lines as they come."""

    def __init__(
        self, *arguments: object, folder: Path, program: Sequence[str] = ("-m", "deepprivacy_rt"), **environment: str
    ) -> None:
        command = [sys.executable, *program, "run", "--json", *map(str, arguments)]
        self.child = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 150) -> dict[str, Any]:
        """Return the first new line that meets the condition."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise WaitedInVain(f"not within {seconds} s: {self.lines[-1:]}") from None
            assert line is not None, (self.lines[-3:], self.child.communicate()[1])
            self.lines.append(line)
            if condition(line):
                return line

    def status(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 150) -> dict[str, Any]:
        return self.until(lambda line: line["event"] == "status" and condition(line), seconds)

    def message(self, part: str, seconds: float = 150) -> str:
        return str(self.until(lambda line: part in line.get("text", ""), seconds)["text"])

    def stop(self, number: int = signal.SIGINT) -> None:
        """Send a signal. It ends in order within two seconds, and within more on a slow machine."""
        self.child.send_signal(number)
        code = self.child.wait(10)
        if code:
            assert self.child.stderr is not None
            said = self.child.stderr.read()
            if "did not end in time" in said:
                raise WaitedInVain(said)
            raise AssertionError(f"exit code {code}: {said}")


@contextlib.contextmanager
def running(*arguments: object, **options: Any) -> Iterator[Process]:
    """Yield a :class:`Process`, and kill it in the end."""
    process = Process(*arguments, **options)
    try:
        yield process
    finally:
        process.child.kill()
        process.child.communicate()


def images(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def is_slate(image: np.ndarray) -> bool:
    return bool(np.abs(image[8:40, 8:40].reshape(-1, 3).mean(axis=0) - SLATE).max() < 12)
