"""No library tells anybody that this program is used: no name is looked up and nothing connected to, no id is kept.

OpenVINO and MediaPipe do both by themselves (docs/adr/0025).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import CLIP, REPOSITORY, ffmpeg

_CALLS = "connect,sendto,sendmsg,sendmmsg"
_RUN = """
import sys
if sys.argv[1] == "torch":
    sys.modules["openvino"] = None
from deepprivacy_rt.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
_SPEAK = """
import socket
socket.create_connection(("127.0.0.1", int(__import__("sys").argv[1])), 1)
"""


def traced(words: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command in an empty home folder, as on a private machine; return it, and its calls to networks."""
    if shutil.which("strace") is None:
        pytest.skip("no strace: apt-get install strace")
    trace, home = folder / "trace", folder / "home"
    home.mkdir()
    # Their reports are off where CI is set.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-o", str(trace), *words],
        env=environment | {"PYTHONPATH": str(REPOSITORY), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip(f"strace is not allowed here: {done.stderr.splitlines()[0]}")
    return done, [line for line in trace.read_text().splitlines() if re.search(r"AF_INET6?\b", line)]


def test_a_connection_is_seen(tmp_path: Path) -> None:
    done, calls = traced([sys.executable, "-c", _SPEAK, "9"], tmp_path)
    assert "refused" in done.stderr and "127.0.0.1" in calls[0]


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_run_speaks_to_nobody_and_keeps_nothing(
    runtime: str, tmp_path: Path, model_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("face128", "face128-int8", "face128-int8-bin", "blazeface-full-range", "blazeface-short-range")
    models = {model_file(name).parent for name in (*names, "face-landmark", "portraits")}
    cache = tmp_path / "cache" / "deepprivacy-rt" / "weights"
    cache.mkdir(parents=True)
    for file in (file for folder in models for file in folder.iterdir() if REPOSITORY not in file.parents):
        (cache / file.name).symlink_to(file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ffmpeg("-i", CLIP, "-frames:v", "4", tmp_path / "clip.mp4")
    words = ["anonymize", tmp_path / "clip.mp4", "-o", tmp_path / "out.mp4", "--model", "face128", "--effort", "fast"]
    done, calls = traced([sys.executable, "-c", _RUN, runtime, *map(str, words)], tmp_path)
    assert done.returncode == 0 and (tmp_path / "out.mp4").exists(), done.stderr
    assert calls == []
    assert list((tmp_path / "home").rglob("*")) == []
