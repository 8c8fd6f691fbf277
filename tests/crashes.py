"""Where a test took its whole process down: said with the failure, which by itself names only the test."""

from __future__ import annotations

import faulthandler
import os
import shutil
import tempfile
from pathlib import Path

import pytest

_FOLDER = "DEEPPRIVACY_CRASHES"
_KEPT = pytest.StashKey[object]()
_SILENT = "No trace: it was killed from outside, as for want of memory, or it could not take a signal."


def _trace(worker: str) -> Path:
    return Path(os.environ[_FOLDER]) / worker


@pytest.hookimpl(trylast=True)  # after pytest's own, which has traces written to standard error, far from the failure
def pytest_configure(config: pytest.Config) -> None:
    """Have the traces of worker processes written to a file each."""
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker is None:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="crashes-")
        return
    file = _trace(worker).open("w")  # stays open: a crash writes to its descriptor
    config.stash[_KEPT] = file
    faulthandler.enable(file)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the files."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_FOLDER), ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: pytest.TestReport) -> None:
    """Add the trace to the report."""
    said = _trace(report.node.gateway.id).read_text()  # type: ignore[attr-defined]
    report.longrepr = f"{report.longrepr}\n{said or _SILENT}"
