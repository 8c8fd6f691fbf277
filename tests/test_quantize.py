"""The quantizing command: on an untrained small generator and a handful of faces; the shipped model is in test_gan."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.serialization import save_generator
from deepprivacy_rt.training import quantize as module
from deepprivacy_rt.training.quantize import Comparison, make


def test_error_counts_under_the_cover_only() -> None:
    exact = np.zeros((2, 4, 4, 3), np.float32)
    int8 = exact.copy()
    int8[0, 0] = 200  # outside
    int8[1, 2:] = 8
    cover = np.zeros((4, 4), bool)
    cover[2:] = True
    error = Comparison(exact, int8, cover, np.ones((2, 4, 4), bool), exact).error()
    assert (error.mean, error.worst) == (4, 8)


def test_a_model_is_written_only_when_it_is_close_enough(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed (extra: quantize)")
    weights, folder = tmp_path / "small.safetensors", tmp_path / "made"
    save_generator(Generator(GeneratorConfig(size=32, width=16, latent=8, style=32)), weights)
    said: list[str] = []
    sheet = tmp_path / "sheet.png"
    assert make(weights, packed, folder, samples=8, sheet=sheet, report=said.append) == folder / "small-int8.xml"
    assert sorted(path.name for path in folder.iterdir()) == ["small-int8.bin", "small-int8.xml"]
    assert b'type="FakeQuantize"' in (folder / "small-int8.xml").read_bytes()
    assert sheet.stat().st_size > 1000
    assert len(said) == 2 * len(module.LIGHTS) + 2

    def again(_: Path, __: Path, model: Path, **___: int) -> None:
        """Quantizing takes its time, and this has been quantized."""
        for suffix in (".xml", ".bin"):
            shutil.copy((folder / "small-int8.xml").with_suffix(suffix), model.with_suffix(suffix))

    monkeypatch.setattr(module, "quantize", again)
    monkeypatch.setitem(module.MEAN_LIMITS, "white", 0.0)
    with pytest.raises(TrainingError, match="too far from float32"):
        make(weights, packed, tmp_path / "refused", samples=8, report=lambda _: None)
    assert list((tmp_path / "refused").iterdir()) == []
