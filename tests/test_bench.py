"""The benchmark: the command as a person would call it, and what it must never do."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from stillness import ByTheClock, StillnessWatch

from deepprivacy_rt.bench.crowd import Scene, crowd
from deepprivacy_rt.bench.machine import MemoryPeaks
from deepprivacy_rt.bench.results import read_json
from deepprivacy_rt.bench.running import Settings, run_cell
from deepprivacy_rt.bench.table import comparison
from deepprivacy_rt.bench.watching import Watcher
from deepprivacy_rt.build import Anonymizer
from deepprivacy_rt.cli.main import main
from deepprivacy_rt.cropping import Region
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.pipeline import StageTimes
from deepprivacy_rt.types import Detection, Frame, SafeFrame
from tests.cli_helpers import CLIP

QUICK = ("--size", "320x240", "--seconds", "0.4", "--warm-up", "0.1")


@pytest.fixture(scope="module")
def measuring(stillness: StillnessWatch) -> ByTheClock:
    """The clock that runs from before what is measured once."""
    return ByTheClock(stillness.seconds)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, measuring: ByTheClock) -> Path:
    """The folder with the result and the picture of a tiny run of the shipped generator."""
    folder = tmp_path_factory.mktemp("bench")
    words = ["bench", "--faces", "1,0", *QUICK, "--output", str(folder / "a.json"), "--plot", str(folder / "a.png")]
    assert main(words) == 0
    return folder


def test_numbers_are_consistent(measured: Path, measuring: ByTheClock) -> None:
    content = json.loads((measured / "a.json").read_text())
    assert content["schema"] == 2 and content["versions"]["deepprivacy-rt"] and content["machine"]["cores"] >= 1
    assert len(content["settings"]["weights"]["sha256"]) == 64
    nobody, one = content["cells"]
    assert [cell["faces_placed"] for cell in (nobody, one)] == [0, 1]
    for cell in (nobody, one):
        assert cell["encoder"] == "x264" and cell["device"] == "cpu" and cell["vram_peak_mib"] is None
        assert cell["seconds"] >= 0.4 and cell["frames"] >= 1
        assert cell["fps"] == pytest.approx(cell["frames"] / cell["seconds"], rel=1e-3)
        assert sum(stage["share"] for stage in cell["stages"].values()) == pytest.approx(1)
        assert cell["cpu_ms_per_frame"] > 0 and 50 < cell["ram_peak_mib"] < 20_000
        stages = cell["stages"].values()
        for spread in [cell["latency_ms"], *(stage[key] for stage in stages for key in ("wall_ms", "cpu_ms"))]:
            assert 0 <= spread["p50"] <= spread["p95"] <= spread["p99"]
        with measuring:
            assert cell["frames"] >= 2
            # Stages share their cores with all else: what they used, the process used.
            assert sum(stage["cpu_ms_per_frame"] for stage in stages) < 1.5 * cell["cpu_ms_per_frame"]
            # A frame spends in the pipeline what its stages take, at least.
            assert cell["latency_ms"]["p99"] > sum(stage["wall_ms"]["p50"] for stage in stages)
    assert one["streams"] == 1 and one["fps_by_stream"] == [one["fps"]]
    with measuring:  # a single frame within the time may have been drawn before it
        assert one["batch_mean"] == 1
    assert nobody["batch_mean"] is None
    assert one["faces_covered"] == one["faces_generated"] == 1
    assert nobody["faces_covered"] == nobody["faces_generated"] == 0
    assert set(one["stages"]) == {"detect", "track", "express", "erase", "cut", "generate", "paste", "encode"}
    assert "generate" not in nobody["stages"] and "decode" not in one["stages"]


def test_the_plot_shows_something(measured: Path) -> None:
    data = (measured / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    colours = np.unique(image.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32))
    assert len(colours) > 20 and 0.02 < (image != 255).any(axis=2).mean() < 0.9


def test_a_run_compared_with_itself_has_ratios_of_one(measured: Path) -> None:
    run = read_json(measured / "a.json")
    told = comparison(run, run)
    ratios = re.findall(r"\d+\.\d\d\b", told)
    assert len(ratios) >= 18 and set(ratios) == {"1.00"} and "warning" not in told


def test_ratios_are_new_by_old(measured: Path) -> None:
    run = read_json(measured / "a.json")
    slow = dataclasses.replace(run.cells[0], fps=run.cells[0].fps / 4)
    told = comparison(run, dataclasses.replace(run, cells=(slow,), machine={**run.machine, "cpu": "abacus"}))
    assert "warning: cpu:" in told and "was abacus" in told and "1 face" not in told
    assert re.findall(r"320x240, 0 faces +([0-9.]+)", told) == ["4.00"]


def test_a_clip_played_live_and_compared(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], by_the_clock: ByTheClock
) -> None:
    words = ["--mode", "live", "--filter", "solid", "--input", str(CLIP), "--rate", "20"]
    words += ["--output", str(tmp_path / "l.json"), "--compare", str(measured / "a.json")]
    assert main(["bench", *words, *QUICK]) == 0
    told = capsys.readouterr().out
    assert "320x240, clip" in told and "warning: mode: live, was file" in told and "no cell is in both" in told
    run = read_json(tmp_path / "l.json")
    (cell,) = run.cells
    assert run.settings["input"]["name"] == CLIP.name and cell.faces_placed is None and cell.faces_covered > 0
    drops = cell.drops.total
    assert cell.fps <= 30 and cell.pace and cell.encoder == "none" and "encode" not in cell.stages
    with by_the_clock:
        assert 0 <= drops <= 20 and cell.frames + drops == pytest.approx(20 * cell.seconds, abs=3)
        assert cell.latency_ms.p50 < 1500


@pytest.mark.parametrize("mode", ["file", "live"])
def test_several_streams_in_one_process(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], by_the_clock: ByTheClock
) -> None:
    words = ["--mode", mode, "--rate", "8", "--faces", "1", "--streams", "3,1", *QUICK]
    words += ["--encoder", "none"] if mode == "file" else []
    code = main(["bench", *words, "--seconds", "1.5", "--output", str(tmp_path / "s.json")])
    told = capsys.readouterr().out
    with by_the_clock:
        assert code == 0, told
    if code:
        return
    assert "fps/stream" in told and "faces/call" in told and "320x240, 1 face, 3 streams" in told
    run = read_json(tmp_path / "s.json")
    one, three = run.cells
    assert (one.streams, three.streams) == (1, 3) and one.key != three.key
    assert len(three.fps_by_stream) == 3 and sum(three.fps_by_stream) == pytest.approx(three.fps, abs=0.01)
    with by_the_clock:
        assert min(three.fps_by_stream) > 0.3 * max(three.fps_by_stream)
    assert one.faces_generated == three.faces_generated == 1
    assert one.batch_mean == 1 and three.batch_mean is not None and 1 <= three.batch_mean <= 3
    if mode == "live":
        with by_the_clock:
            assert three.fps > 1.5 * one.fps  # as many frames as three cameras send
    else:
        with by_the_clock:
            assert three.batch_mean > 1
            assert three.latency_ms.p50 > one.latency_ms.p50  # they share the processor


class _Fails:
    """Finds nobody; the second of its kind ends its stream, the first one goes on."""

    made = 0

    def __init__(self) -> None:
        _Fails.made += 1
        self._number = _Fails.made

    def detect(self, frame: Frame) -> Sequence[Detection]:
        if self._number == 2:
            raise SystemExit("a library gave up")
        return []


def test_a_stream_that_fails_ends_the_cell() -> None:
    anonymizer = Anonymizer(_Fails, SolidGenerator(), Region.FACE, "cpu", ())
    with pytest.raises(SystemExit, match="gave up"):
        run_cell(anonymizer, crowd(0, (64, 64)), Settings("file", "none", "veryfast", 30.0, 60.0, 0.0), streams=2)


class _Sees:
    """Finds the first so many of the placed faces."""

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene, self._number = scene, number

    def detect(self, frame: Frame) -> Sequence[Detection]:
        assert self._scene.faces is not None
        faces = self._scene.faces[frame.index % len(self._scene.images)][: self._number]
        found = []
        for face in faces:
            eyes_nose_mouth = [*face.points[:3], face.points[3:].mean(axis=0)]
            ears = [[face.box.x0, face.points[0, 1]], [face.box.x1, face.points[1, 1]]]
            found.append(Detection(face.box, np.array([*eyes_nose_mouth, *ears], np.float32), 0.95))
        return found


@pytest.mark.parametrize(("seen", "covered"), [(4, 4.0), (3, 3.0), (0, 0.0)])
def test_faces_that_were_missed_are_not_counted(seen: int, covered: float) -> None:
    scene = crowd(4, (320, 240))
    anonymizer = Anonymizer(lambda: _Sees(scene, seen), SolidGenerator(), Region.FACE, "cpu", ())
    cell = run_cell(anonymizer, scene, Settings("file", "none", "veryfast", 30.0, 0.3, 0.0))
    assert (cell.faces_placed, cell.faces_covered, cell.faces_generated) == (4, covered, covered)
    assert any("covered" in line for line in cell.warnings) == (seen < 4)


def test_withheld_frames_cover_no_face() -> None:
    class Blind:
        def detect(self, frame: Frame) -> Sequence[Detection]:
            raise RuntimeError("no eyes")

    scene = crowd(2, (320, 240))
    anonymizer = Anonymizer(Blind, SolidGenerator(), Region.FACE, "cpu", ())
    cell = run_cell(anonymizer, scene, Settings("file", "none", "veryfast", 30.0, 0.2, 0.0))
    assert cell.faces_covered == cell.faces_generated == 0 and cell.withheld_frames >= cell.frames - 1 > 0
    told = " ".join(cell.warnings)
    assert "withheld" in told and "no eyes" in told and "only 0.00 were covered" in told


def test_nothing_is_counted_before_the_warm_up_is_over() -> None:
    scene = crowd(1, (64, 64))
    moments: list[int] = []
    watcher = Watcher(
        scene,
        warm_up=0,
        warm_frames=5,
        seconds=0,
        on_begin=lambda: moments.append(index),
        on_end=lambda: moments.append(index),
    )
    cover = np.ones((64, 64), np.bool_)
    cover[0] = False
    for index in range(8):
        watcher.of(0).sent(Fraction(index), index)
        watcher.of(0).written(SafeFrame(scene.images[0], cover, index, Fraction(index)), Fraction(index))
    assert moments == [4, 5] and watcher.counts == {"frames": 1, "covered": 1} and len(watcher.latencies) == 1


def test_calls_that_are_kept_are_bounded_and_taken_once() -> None:
    times = StageTimes(keep=3)
    for _ in range(10):
        with times.measure("detect"):
            sum(range(1000))
    (calls,) = times.take_calls().values()
    assert len(calls) == 3 and all(0 < call.cpu <= 2 * call.wall + 1e-3 for call in calls)
    assert times.take_calls() == {} and times.seconds()["detect"] > 0
    assert MemoryPeaks("cpu").vram_mib() is None


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--faces", "1,x"], "--faces must be numbers"),
        (["--faces", "65"], "--faces must be numbers from 0 to 64"),
        (["--streams", "0"], "--streams must be numbers from 1 to 64"),
        (["--streams", "2;3"], "--streams must be numbers"),
        (["--size", "640"], "--size must be WIDTHxHEIGHT"),
        (["--size", "641x480"], "even sides"),
        (["--seconds", "0"], "--seconds must lie in"),
        (["--rate", "nan"], "--rate must lie in"),
        (["--device", "auto"], "needs a device by name"),
        (["--device", "tpu"], "device must be"),
        (["--device", "cuda", "--filter", "solid"], "runs on the CPU only"),
        (["--input", "none.mp4"], "no such file"),
        (["--input", str(CLIP), "--faces", "1"], "leave out --faces or --input"),
        (["--weights", "none.safetensors"], "no such file"),
        (["--mode", "live", "--encoder", "x264"], "--mode file"),
        (["--compare", "none.json"], "cannot be read"),
        (["--compare", str(CLIP)], "is no result of bench"),
        (["--plot", "no/such/folder.png"], "cannot be written"),
    ],
)
def test_wrong_usage_is_told_in_one_line(words: list[str], cause: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and cause in err and err.count("\n") == 1


def test_a_missing_gpu_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert main(["bench", "--device", "cuda", "--output", str(tmp_path / "g.json")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "error: device cuda: " in err
    assert re.search("install a CUDA build|nvidia-smi", err) and not (tmp_path / "g.json").exists()
