"""The webcam source on real video devices of the Linux kernel, in User Mode Linux (``uml.sh``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("UML_CACHE", Path.home() / ".cache" / "deepprivacy-uml"))


def in_guest(folder: Path, what: str, *options: str) -> dict[str, Any]:
    """Run one function of ``webcam_guest.py`` in a guest and return what it printed."""
    if not (CACHE / "linux").exists():
        pytest.skip("the kernel with video devices is not built; tests/uml.sh build, as root on Debian 12")
    guest = [sys.executable, str(HERE / "webcam_guest.py"), what]
    done = subprocess.run(
        [str(HERE / "uml.sh"), "run", "-t", "100", *options, str(folder), *guest],
        env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "UML_CACHE": str(CACHE)},
        capture_output=True,
        text=True,
        timeout=115,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_captures_survives_unplugging_and_tells_who_is_busy(tmp_path: Path) -> None:
    told = in_guest(tmp_path, "capture")
    assert [camera[:3] for camera in told["cameras"]] == [
        ["/dev/video0", "vivid", False],
        ["/dev/video10", "TestCam", True],
    ]
    assert told["cameras"][0][3] > 10
    assert told["kinds"] == ["connecting", "live", "lost", "live", "lost", "live"]
    assert "camera vivid: was unplugged; trying again" in told["details"]
    assert told["sizes"] == [[320, 180]]
    assert told["spread"] > 100
    assert -0.01 < told["behind"] < 5
    assert told["busy"] == "camera 0: is in use by another program; close it there"
    assert told["wrong"].startswith("camera /dev/video77: there is no such camera; cameras found: /dev/video0 (vivid)")
    before, once, twice = told[
        "counts"
    ]  # threads, descriptors; "before" may count the last of the busy source's threads
    assert once == twice and once[0] <= before[0] and once[1] <= before[1]
    assert told["ended"]


def test_a_virtual_camera_that_nobody_writes_to_or_whose_writer_stands_still(tmp_path: Path) -> None:
    told = in_guest(tmp_path, "stalled", "-x", "0")
    assert "no program writes to" in told["idle"]
    assert told["kinds"] == ["connecting", "live", "lost"] and told["sizes"] == [[320, 240]]
    assert "camera TestCam: sends no pictures; trying again" in told["details"]
    assert told["ended"] and told["seconds"] < 2
