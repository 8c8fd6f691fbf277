"""The status of a live run: one line for a person, JSON lines for a script, nothing where nobody looks."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from deepprivacy_rt.realtime.stats import LiveStatus, OutputStatus


class LiveView(Protocol):
    """A context manager that is told the status about once a second, and lines when something happens."""

    def __enter__(self) -> LiveView: ...
    def __exit__(self, *exc: object) -> None: ...
    def show(self, status: LiveStatus) -> None:
        """Show the status."""

    def message(self, text: str) -> None:
        """Show one line. From any thread."""


class JsonView:
    """One JSON object per line on standard output; see docs/live.md."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> JsonView:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def show(self, status: LiveStatus) -> None:
        self._print({"event": "status", **dataclasses.asdict(status)})

    def message(self, text: str) -> None:
        self._print({"event": "message", "text": text})

    def _print(self, value: dict[str, object]) -> None:
        with self._lock:
            print(json.dumps(value), flush=True)


class TextView:
    """A status line on standard error where that is a terminal, and messages in any case."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = Live(Text("starting"), console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> TextView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def show(self, status: LiveStatus) -> None:
        if self._console.is_terminal:
            self._live.update(Text(status_line(status), overflow="ellipsis", no_wrap=True), refresh=True)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def status_line(status: LiveStatus) -> str:
    """Return the status on one line."""
    parts = ["PANIC" if status.panic else status.source, f"{status.faces} face{'s' * (status.faces != 1)}"]
    parts += [_output(output) for output in status.outputs]
    if status.captured:
        parts.append(f"{status.dropped / status.captured:.1%} dropped")
    if status.withheld:
        parts.append(f"{status.withheld} withheld")
    if status.problems:
        parts.append(status.problems[-1])
    return "  |  ".join(parts)


def _output(output: OutputStatus) -> str:
    if output.state != "live":
        return f"{output.name}: {output.state}{f' ({output.detail})' if output.detail else ''}"
    latency = f", {output.latency_ms[0]:.0f}/{output.latency_ms[1]:.0f} ms" if output.latency_ms else ""
    return f"{output.name}: {output.fps:.0f} fps{latency}"
