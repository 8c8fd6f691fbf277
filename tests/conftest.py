"""What several test files need."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deepprivacy_rt.weights import Weights


def pytest_configure() -> None:
    """Let interrupts through: a shell that starts the tests in the background has its children ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared test data: ``../shared``, or what DEEPPRIVACY_SHARED names. Skips without it."""
    path = Path(os.environ.get("DEEPPRIVACY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path} (set DEEPPRIVACY_SHARED)")
    return path


@pytest.fixture(scope="session")
def model_file() -> Callable[[str], Path]:
    """Return the function that gives the verified file of a model, fetched when missing."""
    return Weights().path
