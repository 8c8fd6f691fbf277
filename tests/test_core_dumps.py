"""A program that crashes leaves no pictures in a core dump. The picture here is a text that no other file holds."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import environment

MARK = b"an original face " * 64
_CRASH = f"""
import os, resource, signal, sys, types
secret = bytes(reversed({MARK[::-1]!r}))

def crash(args):
    os.kill(os.getpid(), signal.SIGSEGV)

if os.environ["CRASH_WITH"] == "dump":
    resource.setrlimit = lambda *_: None
if os.environ["CRASH_WITH"] != "nothing":
    from deepprivacy_rt.cli.main import main
    command = types.ModuleType("deepprivacy_rt.cli.doctor")
    command.run, command.add_parser = crash, lambda subparsers: subparsers.add_parser("doctor")
    sys.modules["deepprivacy_rt.cli.doctor"] = command
    main(["doctor"])
os.kill(os.getpid(), signal.SIGSEGV)
"""


def crashed(how: str, folder: Path) -> list[bytes]:
    """Crash where core dumps are allowed; return them."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists() or not pattern.read_text().strip().isalnum():
        pytest.skip("core dumps are not plain files in the working folder here")
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if most == 0:
        pytest.skip("core dumps are forbidden here, and cannot be allowed")

    def allow_core_dumps() -> None:  # as they are where no test has run a command in this process before
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        Path("/proc/self/coredump_filter").write_text("0x33")

    code = subprocess.run(
        [sys.executable, "-c", _CRASH],
        cwd=folder,
        env=environment() | {"CRASH_WITH": how},
        preexec_fn=allow_core_dumps,
        timeout=120,
    ).returncode
    assert code == -signal.SIGSEGV
    return [file.read_bytes() for file in folder.glob("core*")]


def test_a_crash_of_any_program_leaves_a_dump_with_the_picture(tmp_path: Path) -> None:
    (dump,) = crashed("nothing", tmp_path)
    assert MARK in dump


def test_a_crash_of_this_one_leaves_none(tmp_path: Path) -> None:
    assert crashed("guard", tmp_path) == []


def test_a_dump_that_is_taken_all_the_same_holds_no_memory(tmp_path: Path) -> None:
    (dump,) = crashed("dump", tmp_path)  # as a program that collects dumps gets it
    assert MARK not in dump and len(dump) < 200_000
