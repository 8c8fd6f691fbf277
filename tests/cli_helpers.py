"""Runs the command line as a person would: as a process, on files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
CLIP = REPOSITORY / "samples" / "signing.mkv"
QUICK = ("--filter", "pixelate", "--effort", "fast", "--preset", "ultrafast")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "deepprivacy_rt", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(*words: object, cwd: Path, before: Sequence[str] = (), **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``deepprivacy-rt WORDS``; ``before`` is put in front of the command line."""
    return subprocess.run(
        [*before, *command(*words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        **options,  # type: ignore[call-overload]
    )


def ffmpeg(*words: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


def without_root_rights() -> list[str]:
    """Return what to put in front of a command so that file permissions count, also for root; empty for others."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv (util-linux) is needed to run this test as root"
    rights = "-dac_override,-dac_read_search"
    return [setpriv, f"--bounding-set={rights}", f"--inh-caps={rights}"]


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def leftovers(folder: Path) -> list[str]:
    """Return the names of temporary files under a folder."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]
