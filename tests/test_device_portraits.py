"""Portraits drawn on a device, here PyTorch's CPU: those of the host, and as blind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from test_fail_closed import face_frame, tracks
from test_on_device import CPU, coverage, frames, painter

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.generators.gan_torch import DeviceGan
from deepprivacy_rt.generators.portraying import PortraitGenerator, blended, tones
from deepprivacy_rt.generators.retouching import RetouchingGenerator, crisp
from deepprivacy_rt.generators.smooth import SmoothGenerator
from deepprivacy_rt.generators.steady import PORTRAYED, SteadyGenerator
from deepprivacy_rt.generators.wardrobe import Face, Wardrobe
from deepprivacy_rt.on_device.canvas import DevicePainter
from deepprivacy_rt.on_device.portrait_drawing import DeviceFace, PortraitDrawer
from deepprivacy_rt.on_device.portrait_gestures import DeviceGestures
from deepprivacy_rt.pipeline import CanvasReplacer, FaceReplacer, FrameReport
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.portraits.hint import hint
from deepprivacy_rt.portraits.pose import rotation
from deepprivacy_rt.portraits.relief import Relief, draw
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.tracking import OnlineTracker
from deepprivacy_rt.types import REST, Coverage, Expression, FaceTrack, Frame, SafeFrame
from deepprivacy_rt.weights import Weights

pytestmark = pytest.mark.timeout(900)
SIZE = 64
DOINGS = [REST, Expression(0.0, 0.1, 0.7), Expression(0.6, 0.7, 0.0, 0.8), Expression(0.12, 0.5, 0.5, 1.0)]


@lru_cache(maxsize=1)
def bank() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


@pytest.fixture(scope="module")
def gan() -> GanGenerator:
    return GanGenerator(Weights().path("face128"), device="cpu", salt=b"test", precision="f32", runtime="torch")


def pose(yaw: float, size: int = SIZE) -> np.ndarray:
    turned = rotation(*(np.array([angle]) for angle in (yaw, 0.1, 0.05)))[0][:2]
    return np.concatenate([turned * 27.0 * size / 64, np.full((2, 1), size / 2)], axis=1)


def face(number: int) -> Face:
    one = bank().portraits[number]
    return Face(Texture.of(one.texture, bank().cover), Relief.of(one.place), one.head)


@pytest.mark.parametrize("doing", DOINGS)
def test_mouths_move_as_on_the_host(doing: Expression) -> None:
    axis = np.linspace(-1, 1, 90, dtype=np.float32)
    places = np.stack(np.meshgrid(axis, axis), axis=-1)
    expected = bank().gestures.texels(places, doing), *bank().gestures.insides(places, doing)
    gestures = DeviceGestures(bank().gestures, CPU)
    both = torch.from_numpy(places).expand(2, -1, -1, -1)
    found = gestures.texels(both, [REST, doing]), *gestures.insides(both, [REST, doing])
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one[1].numpy() - other).max() < 1e-3
    assert np.abs(found[0][0].numpy() - places).max() < 1e-6 and not found[1][0].any()
    assert (np.abs(expected[0] - places).max() > 0.01) == (doing.mouth > REST.mouth or doing.smile > 0)


@pytest.mark.parametrize(("size", "zoom"), [(SIZE, 2), (256, 1)])
def test_portraits_are_drawn_as_on_the_host(size: int, zoom: int) -> None:
    faces, yaws = [face(number) for number in (0, 5, 9)], (0.0, 0.5, -0.9)
    poses, doings = np.stack([pose(yaw, size) for yaw in yaws]), DOINGS[:3]
    drawer = PortraitDrawer(bank(), size, CPU)
    assert drawer.side == size * zoom
    drawing = drawer.draw([DeviceFace.of(one, CPU) for one in faces], poses, doings)
    blocks = np.random.default_rng(0).integers(60, 200, (4, 4, 3)).astype(np.uint8)
    made = blocks.repeat(size // 4, 0).repeat(size // 4, 1)
    levels = torch.from_numpy(made).permute(2, 0, 1)[None].float().expand(3, -1, -1, -1)
    tone = drawer.tones(levels, drawing)
    whole = drawer.blended(drawer.fine(drawer.crisp(levels)), drawing, tone).round()
    hints = drawer.hints(drawing)
    for row, one in enumerate(faces):
        drawn = draw(one.texture, one.relief, poses[row], doings[row], bank().gestures, size, zoom)
        share = np.zeros((drawn.side, drawn.side), np.float32)
        share[drawn.window] = drawn.share
        assert share.max() > 0.9
        assert np.abs(drawing.share[row, 0].numpy() - share).mean() < 2e-3
        seen = drawn.share > 0.5
        image = drawing.image[row].permute(1, 2, 0).numpy()[drawn.window]
        assert np.abs(image - drawn.image)[seen].mean() < 1.0
        assert np.abs(hints[row].numpy() - hint(drawn, size)).mean() < 2e-3
        expected = tones(made, drawn)
        # Cells of 8 pixels, averaged in other ways.
        assert np.abs(tone[row].permute(1, 2, 0).numpy() / expected - 1).mean() < 0.04
        assert np.abs(whole[row].permute(1, 2, 0).numpy() - blended(crisp(made), drawn, expected)).mean() < 1.5


def test_streams_wear_the_portraits_that_they_wear_on_the_host(gan: GanGenerator) -> None:
    networks = Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range")
    detector, tracker = BlazeFaceDetector(*networks), OnlineTracker()
    calmed = SteadyGenerator(RetouchingGenerator(gan, 30.0), 30.0, dataclasses.replace(PORTRAYED, faces=2))
    generator = PortraitGenerator(calmed, Wardrobe(bank(), b"salt"), 30.0, first=gan)
    theirs = FaceReplacer(AlignedCropper(128), generator, PatchBlender(), filler=SmoothGenerator(128))
    bare = CanvasReplacer(painter(DeviceGan(gan)))
    ours = CanvasReplacer(DevicePainter(DeviceGan(gan), Region.FACE, Uploads(CPU), 30.0, Wardrobe(bank(), b"salt")))
    for frame in frames(4):
        found = tracker.update(frame.index, detector.detect(frame))
        expected, expected_report = theirs.replace(frame, found)
        safe, report = ours.replace(frame, found)
        assert report == expected_report and coverage(report) == [Coverage.GENERATED]
        difference = np.abs(safe.image.astype(int) - expected.image)[safe.cover].mean()
        without = np.abs(bare.replace(frame, found)[0].image.astype(int) - expected.image)[safe.cover].mean()
        assert difference < 2.5 and without > 2 * difference


def test_erased_pixels_change_nothing(gan: GanGenerator) -> None:
    networks = Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range")
    [frame] = frames(1)
    found = OnlineTracker().update(0, BlazeFaceDetector(*networks).detect(frame))
    results: list[SafeFrame] = []
    for seed in (None, 1, 2):
        replacer = CanvasReplacer(
            DevicePainter(DeviceGan(gan), Region.FACE, Uploads(CPU), 30.0, Wardrobe(bank(), b"salt"))
        )
        given = frame
        if seed is not None:
            image = frame.image.copy()
            cover = results[0].cover
            image[cover] = np.random.default_rng(seed).integers(0, 256, (int(cover.sum()), 3))
            given = dataclasses.replace(frame, image=image)
        results.append(replacer.replace(given, found)[0])
    assert results[0].cover.any()
    assert all(np.array_equal(results[0].image, one.image) for one in results[1:])


class Deaf:
    """A network that fails for those who are new, and for others where it is told to."""

    patch_size = 64

    def __init__(self, answers: Sequence[float]) -> None:
        self._answers = list(answers)
        self.hinted: list[bool] = []

    def draw(self, image: Any, mask: Any, tracks: Sequence[FaceTrack], keypoints: Any, hints: Any = None) -> Any:
        self.hinted.append(hints is not None and bool(hints.any()))
        level = self._answers.pop(0) if self._answers else 0.1
        return torch.full_like(image, level) + torch.linspace(-0.2, 0.2, 64)


def run(network: Deaf) -> tuple[SafeFrame, FrameReport]:
    painting = DevicePainter(network, Region.FACE, Uploads(CPU), 30.0, Wardrobe(bank(), b""))
    return CanvasReplacer(painting).replace(face_frame(), tracks())


def test_a_face_that_could_not_be_met_goes_without_a_portrait() -> None:
    network = Deaf([float("nan")])
    safe, report = run(network)
    assert network.hinted == [True, False]
    assert coverage(report) == [Coverage.GENERATED] * 2
    network = Deaf([])
    worn, report = run(network)
    assert network.hinted == [True, True]
    assert np.abs(worn.image.astype(int) - safe.image)[worn.cover].mean() > 2


def test_a_network_that_fails_with_a_portrait_leaves_faces_filled() -> None:
    network = Deaf([0.1, float("nan")])
    _, report = run(network)
    assert coverage(report) == [Coverage.FILLED] * 2


def test_a_built_anonymizer_draws_portraits_on_its_device() -> None:
    config = FaceConfig(device="cpu", seed=0, identity="random")
    replacer = build_anonymizer(config, Weights(), on_device=True).new_replacer(30.0)
    assert isinstance(replacer, CanvasReplacer)
    frame: Frame = frames(1)[0]
    networks = Weights().path("blazeface-full-range"), Weights().path("blazeface-short-range")
    found = OnlineTracker().update(0, BlazeFaceDetector(*networks).detect(frame))
    _, report = replacer.replace(frame, found)
    assert coverage(report) == [Coverage.GENERATED]
    portrayer = getattr(getattr(replacer, "_painter"), "portrayer")  # noqa: B009
    assert portrayer is not None
