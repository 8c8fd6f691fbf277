"""Frames that stay on a device, here PyTorch's CPU: the same pictures, and failing closed as everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_blind import detections
from test_fail_closed import face_frame, shows_a_face, tracks
from torch import Tensor

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.detectors.blazeface_device import DeviceBlazeFaceDetector
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.generators.gan_torch import BATCHES, DeviceGan, in_batches
from deepprivacy_rt.generators.smooth import SmoothGenerator
from deepprivacy_rt.generators.steady import SteadyGenerator
from deepprivacy_rt.on_device.canvas import DeviceCanvas, DevicePainter
from deepprivacy_rt.pipeline import CanvasReplacer, FaceReplacer, FrameReport
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork
from deepprivacy_rt.runtimes.tflite_torch import TorchTflite
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.testing import FailingGenerator, ListSink, make_frame, make_track
from deepprivacy_rt.tracking import OnlineTracker
from deepprivacy_rt.types import Coverage, Evidence, FaceTrack, Frame, SafeFrame
from deepprivacy_rt.weights import Weights

CLIP = Path(__file__).resolve().parents[1] / "samples/signing.mkv"
CPU = torch.device("cpu")
ModelFile = Callable[[str], Path]
pytestmark = pytest.mark.timeout(900)


def frames(count: int, every: int = 1) -> list[Frame]:
    with av.open(str(CLIP)) as clip:
        pictures = [
            frame.to_ndarray(format="rgb24")
            for frame, _ in zip(clip.decode(video=0), range(count * every), strict=False)
        ]
    return [Frame(picture, index, Fraction(index, 30)) for index, picture in enumerate(pictures[::every])]


@pytest.fixture(scope="module")
def networks() -> tuple[Path, Path]:
    return Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range")


@pytest.fixture(scope="module")
def gan() -> GanGenerator:
    return GanGenerator(Weights().path("face128"), device="cpu", salt=b"test", precision="f32", runtime="torch")


class Plain:
    """A network that paints one pattern, or what it is told to."""

    patch_size = 64

    def __init__(self, draw: Callable[[Tensor], Tensor] | None = None) -> None:
        self._draw = draw or (lambda image: torch.linspace(-0.2, 0.2, 64).expand(len(image), 3, 64, 64).clone())

    def draw(
        self,
        image: Tensor,
        mask: Tensor,
        tracks: Sequence[FaceTrack],
        keypoints: np.ndarray,
        hints: Tensor | None = None,
    ) -> Tensor:
        return self._draw(image)


def painter(network: Any = None, region: Region = Region.FACE) -> DevicePainter:
    return DevicePainter(network or Plain(), region, Uploads(CPU), 30.0)


def run_replacer(given_painter: Any) -> tuple[SafeFrame, FrameReport]:
    safe, report = CanvasReplacer(given_painter).replace(face_frame(), tracks())
    assert not shows_a_face(safe.image)
    assert safe.cover[100, 90] and safe.cover[130, 215]
    return safe, report


def coverage(report: FrameReport) -> list[Coverage]:
    return [face.coverage for face in report.faces]


def test_networks_read_from_their_files_compute_what_openvino_computes(networks: tuple[Path, Path]) -> None:
    for path, size in zip(networks, (192, 128), strict=True):
        pictures = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
        ours = TorchTflite(path)(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        for row in range(2):
            for one, other in zip(ours, OpenVinoNetwork(path).infer([pictures[row : row + 1]]), strict=True):
                assert np.abs(one[row].numpy() - other[0]).max() < 1e-3 < np.abs(other).max()


@pytest.mark.parametrize("damage", ["cut", "other", "missing"])
def test_a_network_that_cannot_be_read_is_told_as_such(
    damage: str, networks: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "network.tflite"
    if damage != "missing":
        path.write_bytes(networks[1].read_bytes()[:5000] if damage == "cut" else b"no network at all")
    with pytest.raises(WeightsError, match=r"network\.tflite"):
        TorchTflite(path)


@pytest.mark.parametrize("effort", ["fast", "balanced", "thorough"])
def test_faces_are_found_where_the_cpu_finds_them(effort: Any, networks: tuple[Path, Path]) -> None:
    theirs = BlazeFaceDetector(*networks, effort=effort)
    ours = DeviceBlazeFaceDetector(*networks, Uploads(CPU), effort=effort)
    for frame in frames(1 if effort == "thorough" else 3, every=25):
        expected = [face for face in theirs.detect(frame) if face.score > 0.6]
        found = [face for face in ours.detect(frame) if face.score > 0.55]
        assert len(expected) == 1
        assert np.abs(np.subtract(found[0].box, expected[0].box)).max() < 1
        assert np.abs(found[0].keypoints - expected[0].keypoints).max() < 1
        assert abs(found[0].score - expected[0].score) < 0.03


def test_a_frame_travels_once_and_is_forgotten_when_it_goes() -> None:
    uploads = Uploads(CPU)
    image = make_frame().image
    first = uploads.of(image)
    assert uploads.of(image) is first
    assert np.array_equal(first.numpy(), image) and not np.shares_memory(first.numpy(), image)
    other = image.copy()
    assert uploads.of(other) is not first
    del image, other
    assert len(uploads) == 0


@pytest.mark.parametrize("region", Region)
def test_pictures_are_nearly_those_of_the_cpu(region: Region, gan: GanGenerator, networks: tuple[Path, Path]) -> None:
    detector, tracker = BlazeFaceDetector(*networks), OnlineTracker()
    cropper, filler = AlignedCropper(128, region), SmoothGenerator(128)
    theirs = FaceReplacer(cropper, SteadyGenerator(gan, 30.0), PatchBlender(), filler=filler)
    ours = CanvasReplacer(painter(DeviceGan(gan), region))
    uncalmed = FaceReplacer(cropper, gan, PatchBlender())
    calming = []
    for frame in frames(4):
        found = tracker.update(frame.index, detector.detect(frame))
        expected, expected_report = theirs.replace(frame, found)
        safe, report = ours.replace(frame, found)
        assert report == expected_report and coverage(report) == [Coverage.GENERATED]
        assert not (expected.cover & ~safe.cover).any()
        assert safe.cover.sum() < 1.04 * expected.cover.sum()
        difference = np.abs(safe.image.astype(int) - expected.image)
        assert difference[safe.cover].mean() < 1.5 and difference.max() < 40
        assert difference[~safe.cover].mean() < 0.1
        bare = uncalmed.replace(frame, found)[0].image
        calming.append(np.abs(safe.image.astype(int) - bare)[safe.cover].mean() - difference[safe.cover].mean())
    assert max(calming[1:]) > 0.2  # mixing over time has a part in it


def depth(outline: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return how far every pixel's centre lies inside of a convex polygon, negative outside, (height, width)."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    edges = np.roll(outline, -1, axis=0) - outline
    lengths = np.hypot(*edges.T)
    sides = [
        (ex * (y - py) - ey * (x - px)) / length
        for (px, py), (ex, ey), length in zip(outline.astype(float), edges, lengths, strict=True)
        if length > 1e-3
    ]
    return np.min(sides, axis=0)


@settings(max_examples=100)
@given(faces=st.lists(detections(), min_size=1, max_size=3), region=st.sampled_from(Region))
def test_covers_reach_over_the_outline_that_the_cpu_draws(faces: list[Any], region: Region) -> None:
    found = OnlineTracker().update(0, faces)
    frame = make_frame(0, 200, 150)
    cropper = AlignedCropper(64, region)
    safe, _ = painter(region=region).erase(frame, found).fetch()
    depths = [depth(cropper.outline(track), 200, 150) for track in found]
    for inside in depths:
        assert safe.cover[inside > -0.8].all()
    assert not depths or not safe.cover[np.max(depths, axis=0) < -4].any()
    assert np.array_equal(safe.image[~safe.cover], frame.image[~safe.cover])


def test_faces_are_painted_and_accounted_for() -> None:
    safe, report = run_replacer(painter())
    assert coverage(report) == [Coverage.GENERATED] * 2 and not report.problems
    erased, _ = painter().erase(face_frame(), tracks()).fetch()
    assert not np.array_equal(safe.image, erased.image)


@pytest.mark.parametrize("failing", ["erase", "fetch"])
def test_a_frame_that_cannot_be_erased_or_fetched_is_withheld(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(DevicePainter if failing == "erase" else DeviceCanvas, failing, fail)
    safe, report = run_replacer(painter())
    assert report.withheld and (safe.image == safe.image[0, 0]).all()
    assert any(problem.startswith(f"{failing}: RuntimeError") for problem in report.problems)


def failed(_: Tensor) -> Tensor:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    "draw",
    [
        failed,
        lambda image: torch.full_like(image, float("nan")),
        lambda image: torch.zeros_like(image),
        lambda image: image[:, :, :9, :9],
        lambda image: image[:1].expand(3, -1, -1, -1),
    ],
    ids=["raises", "not finite", "flat", "too small", "too many"],
)
def test_a_network_that_fails_leaves_faces_filled(draw: Callable[[Tensor], Tensor]) -> None:
    safe, report = run_replacer(painter(Plain(draw)))
    erased, _ = painter().erase(face_frame(), tracks()).fetch()
    assert np.array_equal(safe.image, erased.image)
    assert coverage(report) == [Coverage.FILLED] * 2 and report.problems and not report.withheld


def test_one_face_that_fails_leaves_the_other_alone() -> None:
    def draw(image: Tensor) -> Tensor:
        faces = Plain().draw(image, image, (), np.zeros(0))
        faces[1, 0, 0, 0] = float("inf")
        return faces

    _, report = run_replacer(painter(Plain(draw)))
    assert sorted(one.value for one in coverage(report)) == ["filled", "generated"]
    assert len(report.problems) == 1 and "was left out" in report.problems[0]


def test_a_broken_account_of_a_canvas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    true = DeviceCanvas.fetch
    stranger = make_track(10, 10, 20, 77)
    monkeypatch.setattr(DeviceCanvas, "fetch", lambda self: (true(self)[0], [stranger]))
    assert run_replacer(painter())[1].withheld


def test_an_uncertain_face_is_filled_as_on_the_host() -> None:
    (sure, _), frame = tracks(), face_frame()
    unsure = [FaceTrack(9, 9, sure.box, sure.keypoints, 0.5, Evidence.DETECTED, uncertain=True)]
    safe, report = CanvasReplacer(painter()).replace(frame, unsure)
    size = painter().network.patch_size
    nobody, filler = FailingGenerator(lambda _: [], size), SmoothGenerator(size)
    host = FaceReplacer(AlignedCropper(size), nobody, PatchBlender(), filler=filler)
    expected, expected_report = host.replace(frame, unsure)
    assert report == expected_report and not report.problems
    assert np.abs(safe.image.astype(int) - expected.image)[safe.cover].mean() < 2.0


def test_an_uncertain_face_gets_a_fill_and_the_network_never_hears_of_it() -> None:
    seen: list[int] = []

    def draw(image: Tensor) -> Tensor:
        seen.append(len(image))
        return Plain().draw(image, image, (), np.zeros(0))

    sure, unsure = tracks()
    unsure = FaceTrack(9, 9, unsure.box, unsure.keypoints, 0.5, Evidence.DETECTED, uncertain=True)
    safe, report = CanvasReplacer(painter(Plain(draw))).replace(face_frame(), [sure, unsure])
    assert coverage(report) == [Coverage.GENERATED, Coverage.FILLED] and not report.problems and seen == [1]
    assert not shows_a_face(safe.image)


def test_a_track_without_a_shape_withholds_the_frame() -> None:
    track = make_track(100, 100, 50)
    broken = FaceTrack(0, 0, track.box._replace(x1=1e308, y1=1e308), track.keypoints, 0.9, Evidence.DETECTED)
    safe, report = CanvasReplacer(painter()).replace(face_frame(), [broken])
    assert report.withheld and not shows_a_face(safe.image)


def test_batches_have_few_sizes_and_keep_their_rows() -> None:
    sizes = []

    def double(one: Tensor, other: Tensor) -> Tensor:
        sizes.append(len(one))
        return one * 2 + other

    for count in range(1, 40):
        one, other = torch.rand(count, 3), torch.rand(count, 1)
        assert torch.equal(in_batches(double, (one, other)), one * 2 + other)
    assert set(sizes) == set(BATCHES)


def test_a_generator_that_is_not_in_pytorch_is_refused() -> None:
    Weights().path("face128-int8-bin")
    quantized = Weights().path("face128-int8")
    with pytest.raises(StageError, match="PyTorch"):
        DeviceGan(GanGenerator(Weights().path("face128"), device="cpu", salt=b"test", quantized=quantized))


def test_a_built_anonymizer_keeps_frames_on_its_device_from_end_to_end() -> None:
    anonymizer = build_anonymizer(FaceConfig(device="cpu", seed=0), Weights(), on_device=True)
    reports: list[FrameReport] = []
    given_frames = frames(8)

    class Listed:
        def __enter__(self) -> Listed:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Any:
            return iter(given_frames)

    detector: Detector = anonymizer.new_detector()
    assert isinstance(getattr(detector, "_full"), DeviceBlazeFaceDetector)  # noqa: B009
    with Listed() as source, ListSink() as sink:
        anonymizer.run(source, sink, 30.0, on_frame=reports.append, stop=threading.Event())
    assert len(sink.frames) == 8
    assert all(coverage(report) == [Coverage.GENERATED] and not report.problems for report in reports)
