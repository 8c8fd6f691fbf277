"""The sheets of the model cards show contexts without their faces, and other faces in them."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepprivacy_rt.evaluation.cards import of_program, sheet
from deepprivacy_rt.training.dataset import held_out


@pytest.fixture
def nobody() -> bytes:
    return (resources.files("deepprivacy_rt.bench") / "face.jpg").read_bytes()


@pytest.fixture
def pack(tmp_path: Path, nobody: bytes) -> Path:
    """A picture of nobody that is held out, twice, and one that is not."""
    names = [name for name in map(str, range(200)) if held_out(name)][:2]
    jpegs = [nobody, nobody, b"no picture"]
    path = tmp_path / "pack.npz"
    np.savez(
        path,
        names=np.array([*names, next(name for name in map(str, range(200)) if not held_out(name))]),
        jpegs=np.frombuffer(b"".join(jpegs), np.uint8),
        offsets=np.cumsum([0, *(len(one) for one in jpegs)]),
    )
    return path


def test_the_program_is_shown_as_it_is(pack: Path, nobody: bytes) -> None:
    original = cv2.cvtColor(cv2.imdecode(np.frombuffer(nobody, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    pairs = list(of_program(pack, count=2))
    (erased, first), (_, second) = pairs
    face = (erased.astype(int) != original).any(axis=2)
    assert 0.1 < face.mean() < 0.7 and erased[face].std(axis=0).max() < 30
    for made in (first, second):
        assert np.abs(made.astype(int) - original)[face].mean() > 8
        assert made[face].std() > 2 * erased[face].std()
    assert np.abs(first.astype(int) - second)[face].mean() > 3  # two identities
    assert sheet(iter(pairs * 4)).shape == (160, 8 * 320, 3)


def test_weights_without_latents_are_refused(pack: Path) -> None:
    command = [sys.executable, "-m", "deepprivacy_rt.evaluation.cards", str(pack), "out.png", "--weights", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "--weights and --pool go together" in done.stderr
