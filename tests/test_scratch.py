"""Temporary folders with original faces: no run leaves one for good, however it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_helpers import environment

from deepprivacy_rt.cli.scratch import remove_abandoned, scratch_folder

PREFIX = "deepprivacy-rt-test-"
HOLDING = (
    "import sys\n"
    "from deepprivacy_rt.cli.scratch import scratch_folder\n"
    f"with scratch_folder({PREFIX!r}) as folder:\n"
    "    (folder / 'face.png').write_bytes(b'x')\n"
    "    print(folder, flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # it is remembered


@contextmanager
def a_run() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has such a folder, until its input ends."""
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", HOLDING]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment()) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_needs_stays() -> None:
    with a_run() as (killed, left), a_run() as (living, needed):
        killed.kill()
        killed.wait(20)
        assert (left / "face.png").exists()
        assert remove_abandoned(PREFIX) == 1
        assert not left.exists()
        assert (needed / "face.png").exists()
        living.communicate("", timeout=20)
        assert living.returncode == 0 and not needed.exists()


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    """Those without a lock, and links to somewhere else."""
    with a_run() as (killed, left):
        killed.kill()
        killed.wait(20)
    elsewhere = left.rename(tmp_path / "elsewhere")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}other").mkdir()
    (tmp_path / f"{PREFIX}file").write_bytes(b"x")
    assert remove_abandoned(PREFIX) == 0
    assert (elsewhere / "face.png").exists() and (tmp_path / f"{PREFIX}other").is_dir()


def test_a_folder_is_private_and_gone_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder(PREFIX) as folder:
        assert folder.stat().st_mode & 0o77 == 0
        assert remove_abandoned(PREFIX) == 0
        raise ZeroDivisionError
    assert not folder.exists()
