"""Ctrl-C: ends at once, leaves nothing half done, says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import CLIP, QUICK, REPOSITORY, command, environment, ffmpeg, leftovers
from stillness import ByTheClock
from waiting import until

MOST_SECONDS = 2.0


@pytest.fixture(autouse=True, scope="module")
def _models(model_file: Callable[[str], Path]) -> None:
    """Fetch what is missing now: the program would tell of it in the middle of a test."""
    model_file("blazeface-full-range")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes much longer than this test."""
    path = tmp_path_factory.mktemp("long") / "long.mkv"
    ffmpeg("-stream_loop", 60, "-i", CLIP, "-c", "copy", path)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_within_two_seconds(
    tmp_path: Path, long_clip: Path, number: signal.Signals, by_the_clock: ByTheClock
) -> None:
    words = ["anonymize", long_clip, CLIP, "-o", "out", "--json", "--report", "report.json", *QUICK]
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    assert leftovers(tmp_path), "it writes under a temporary name"
    begin = time.monotonic()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    with by_the_clock:
        assert time.monotonic() - begin < MOST_SECONDS
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in errors
    assert json.loads(rest.splitlines()[-1])["event"] == "end"
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "out").iterdir()) == []
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"] is True
    assert [file["state"] for file in report["files"]] == ["interrupted"]


def test_under_nohup_a_terminal_that_closes_ends_nothing(tmp_path: Path, long_clip: Path) -> None:
    words = ["nohup", *command("anonymize", long_clip, "-o", "out", "--json", *QUICK)]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    frames = [0]
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            frames.append(event["frames_done"])
            if len(frames) == 2:
                process.send_signal(signal.SIGHUP)
            if len(frames) == 6:
                break
    process.terminate()
    process.communicate(timeout=60)
    assert len(frames) == 6 and frames[-1] > frames[1], "it went on"
    assert process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_original_faces_do_not_outlive_an_evaluation_that_is_ended(
    tmp_path: Path, shared: Path, long_clip: Path, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        command("evaluate", long_clip, "--models", shared / "models"),
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # these tests themselves may run under nohup
    )
    made = "deepprivacy-rt-evaluate-*/generated/.*"
    until(lambda: process.poll() is not None or list(scratch.glob(made)), 200)
    assert process.poll() is None
    process.send_signal(number)
    errors = process.communicate(timeout=80)[1]
    assert process.returncode == 1 and errors.splitlines()[-1] == "error: interrupted", errors
    assert list(scratch.glob("deepprivacy-rt-*")) == []


def test_a_job_that_hangs_is_given_up(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    script = (
        "import time, sys\n"
        "from deepprivacy_rt.cli.interrupt import UnresponsiveError, run_interruptibly\n"
        "def work(stop):\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)\n"
        "    return 0\n"
        "try:\n"
        "    run_interruptibly(work)\n"
        "except UnresponsiveError:\n"
        "    print('given up', flush=True)\n"
        "    import os; os._exit(1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "given up\n"
    with by_the_clock:
        assert time.monotonic() - begin < MOST_SECONDS
    assert process.returncode == 1


def test_an_encoder_that_hangs_leaves_no_file_behind(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    script = (
        "import sys, time\n"
        "from deepprivacy_rt.cli.main import main\n"
        "from deepprivacy_rt.sinks.file import FileSink\n"
        "FileSink.write = lambda self, frame: (print('hangs', flush=True), time.sleep(60))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["anonymize", str(CLIP), "-o", "out", "--report", "report.json", *QUICK]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words], cwd=tmp_path, env=environment(), text=True, **pipes
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hangs\n"
    assert leftovers(tmp_path)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    with by_the_clock:
        assert time.monotonic() - begin < MOST_SECONDS
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: interrupted")
    assert leftovers(tmp_path) == []
    assert json.loads((tmp_path / "report.json").read_text())["interrupted"] is True
