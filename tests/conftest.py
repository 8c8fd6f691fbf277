"""What several test files need."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deepprivacy_rt.weights import Weights

pytest_plugins = ("pytester", "crashes", "stillness")
PACKED_PICTURES = 24


def pytest_configure() -> None:
    """Let interrupts through: a shell that starts the tests in the background has its children ignore them.

    Networks run on one thread: tests run side by side, and the threads of a network spin while they wait. No example of
    Hypothesis has to end in a fifth of a second: a machine that stands still is slower.
    """
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
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


@pytest.fixture(scope="session")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of networks that were converted, which all tests and workers share: a conversion is slow."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "conversions"


@pytest.fixture(scope="session")
def packed(shared: Path, model_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pack of 24 of the training pictures."""
    from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
    from deepprivacy_rt.expressions.face_mesh import FaceMesh
    from deepprivacy_rt.training.dataset import pack

    folder = tmp_path_factory.mktemp("faces")
    lines = (shared / "data/faces/manifest.jsonl").read_text().splitlines()[:PACKED_PICTURES]
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    for line in lines:
        name = json.loads(line)["file"]
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(shared / "data/faces" / name, folder / name)
    output = folder / "pack.npz"
    networks = model_file("blazeface-full-range"), model_file("blazeface-short-range")
    mesh = FaceMesh(model_file("face-landmark"))
    kept = pack(folder, output, BlazeFaceDetector(*networks, effort="fast"), mesh, lambda _: None)
    assert kept >= PACKED_PICTURES * 0.8
    return output
