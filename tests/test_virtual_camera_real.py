"""The virtual camera sink on a real v4l2loopback, in User Mode Linux (``uml.sh``)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("UML_CACHE", Path.home() / ".cache" / "deepprivacy-uml"))


def in_guest(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run ``virtual_camera_guest.py`` with exclusive_caps=1 and return what it printed."""
    if not (CACHE / "linux").exists():
        pytest.skip("the kernel with video devices is not built; tests/uml.sh build, as root on Debian 12")
    library = importlib.util.find_spec("pyvirtualcam")
    if library is None or library.origin is None:
        pytest.skip("pyvirtualcam is not installed; pip install 'deepprivacy-rt[virtualcam]'")
    paths = f"{HERE.parent}:{HERE}:{Path(library.origin).parents[1]}"
    guest = [sys.executable, str(HERE / "virtual_camera_guest.py"), *arguments]
    done = subprocess.run(
        [str(HERE / "uml.sh"), "run", "-t", "100", "-x", "1", str(folder), *guest],
        env={**os.environ, "PYTHONPATH": paths, "UML_CACHE": str(CACHE)},
        capture_output=True,
        text=True,
        timeout=115,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_reader_gets_every_picture_in_order_at_the_first_start_and_the_next(tmp_path: Path) -> None:
    told = in_guest(tmp_path, "3")
    assert told["cameras"] == {"/dev/video10": "TestCam"}
    for index, start in enumerate(told["starts"]):
        assert start["error"] is None and start["device"] == "/dev/video10"
        numbers = start["numbers"]
        assert len(numbers) == 20
        assert all(a < b for a, b in pairwise(numbers)) and index * 1000 <= numbers[0]
        assert start["colour_error"] < 6
