"""The generator is blind: what lies under the covers has no part in the output, not in a single bit.

Hypothesis draws faces, and two pictures that differ in every pixel under their covers. Both go through the whole
pipeline, detections and expressions given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.generators.gan_torch import DeviceGan
from deepprivacy_rt.generators.pixelate import PixelateGenerator
from deepprivacy_rt.generators.portraying import PortraitGenerator
from deepprivacy_rt.generators.retouching import RetouchingGenerator
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.generators.steady import PORTRAYED, SteadyGenerator
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.on_device.canvas import DevicePainter
from deepprivacy_rt.pipeline import CanvasReplacer, FaceReplacer, Replacer, process_stream
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.testing import (
    FailingGenerator,
    ListSink,
    ScriptedDetector,
    SyntheticSource,
    ToyGenerator,
    make_detection,
    make_frame,
)
from deepprivacy_rt.tracking import LookaheadTracker, OnlineTracker
from deepprivacy_rt.types import Box, Detection, Expression, FaceTrack, Frame, Image
from deepprivacy_rt.weights import Weights

SIZE = 48
ON_DEVICE = "gan on a device"
FILLED_ON_DEVICE = "none on a device, all stay filled"
WIDTH, HEIGHT = 200, 150
GENERATORS: dict[str, Callable[[], Generator]] = {
    "solid": lambda: SolidGenerator(SIZE),
    "pixelate": lambda: PixelateGenerator(SIZE),
    "toy": lambda: ToyGenerator(SIZE),
    "none, all stay filled": lambda: FailingGenerator(lambda _: [], SIZE),
    "gan": lambda: trained_gan(None),
    "toy, calmed": lambda: SteadyGenerator(ToyGenerator(SIZE)),
    "toy, with portraits": lambda: PortraitGenerator(ToyGenerator(SIZE), Wardrobe(portraits(), b"test"), 30.0),
    "gan, calmed, with portraits": lambda: PortraitGenerator(
        SteadyGenerator(RetouchingGenerator(trained_gan(None), 30.0), 30.0, PORTRAYED),
        Wardrobe(portraits(), b"test"),
        30.0,
    ),
    "gan in int8": lambda: trained_gan(Weights().path("face128-int8")),
    "gan of 256 pixels": lambda: trained_gan(Weights().path("face256-int8"), "face256"),
}


@lru_cache(maxsize=3)
def trained_gan(quantized: Path | None, model: str = "face128") -> GanGenerator:
    """In int8 where a file is given and the CPU is fast in it."""
    return GanGenerator(Weights().path(model), device="cpu", salt=b"test", quantized=quantized)


@lru_cache(maxsize=1)
def portraits() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


@lru_cache(maxsize=1)
def gan_on_a_device() -> DeviceGan:
    return DeviceGan(GanGenerator(Weights().path("face128"), device="cpu", salt=b"test", runtime="torch"))


class NoFaces:
    """A network on a device that makes nothing of use."""

    patch_size = SIZE

    def draw(self, image: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.full_like(image, float("nan"))


def make_replacer(name: str, region: Region = Region.FACE) -> Replacer:
    if name in (ON_DEVICE, FILLED_ON_DEVICE):
        network = gan_on_a_device() if name == ON_DEVICE else NoFaces()
        painter = DevicePainter(network, region, Uploads(torch.device("cpu")), 30.0)
        return CanvasReplacer(painter, expressions=Talking())
    generator = GENERATORS[name]()
    size = generator.patch_size
    filler = SolidGenerator(size)
    return FaceReplacer(AlignedCropper(size, region), generator, PatchBlender(), filler=filler, expressions=Talking())


class Talking:
    """Says the same of all faces: expressions are given here, as detections are."""

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
        return [replace(track, expression=Expression(0.4, 0.6, 0.8)) for track in tracks]


@st.composite
def detections(draw: st.DrawFn) -> Detection:
    """A face of any size and roll, at times over the border, its keypoints shaken."""
    x, y = draw(st.floats(-20, WIDTH + 20)), draw(st.floats(-20, HEIGHT + 20))
    size, roll = draw(st.floats(6, 130)), draw(st.floats(-3.2, 3.2))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    usual = np.array([(-0.2, -0.22), (0.2, -0.22), (0, 0.04), (0, 0.27), (-0.44, -0.14), (0.44, -0.14)])
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = (usual + random.normal(0, 0.03, (6, 2))) @ turn.T * size + (x, y)
    box = Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    # Faint faces are filled, the others generated.
    return Detection(box, points.astype(np.float32), draw(st.sampled_from([0.55, 0.9])))


def scrambled(image: Image, cover: np.ndarray, seed: int) -> Image:
    """Return the picture with every pixel under the cover changed."""
    offset = np.random.default_rng(seed).integers(1, 256, image.shape, dtype=np.uint8)
    return np.where(cover[..., None], image + offset, image)


@pytest.mark.parametrize("name", [*GENERATORS, ON_DEVICE, FILLED_ON_DEVICE])
@settings(max_examples=25)
@given(region=st.sampled_from(Region), faces=st.lists(detections(), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_pixels_under_a_cover_have_no_part_in_a_frame(
    name: str, region: Region, faces: list[Detection], seed: int
) -> None:
    replacer = make_replacer(name, region)
    other_replacer = make_replacer(name, region)  # one that remembers frames has not seen this one
    tracks = OnlineTracker().update(0, faces)
    frame = make_frame(0, WIDTH, HEIGHT, seed)
    safe, report = replacer.replace(frame, tracks)
    assert not report.withheld
    other = Frame(scrambled(frame.image, safe.cover, seed), 0, Fraction(0))
    assert safe.cover.any() == bool((other.image != frame.image).any())
    again, again_report = other_replacer.replace(other, tracks)
    assert np.array_equal(safe.image, again.image)
    assert np.array_equal(safe.cover, again.cover)
    assert report == again_report


def stream(name: str, script: dict[int, list[Detection]], covers: list[np.ndarray] | None) -> ListSink:
    """Anonymize a short stream, all pixels under the covers scrambled if covers are given."""

    def paint(image: Image, index: int) -> None:
        if covers is not None:
            image[:] = scrambled(image, covers[index], index)

    source, sink = SyntheticSource(6, width=WIDTH, height=HEIGHT, paint=paint), ListSink()
    replacer = make_replacer(name)
    with source, sink:
        process_stream(source, sink, ScriptedDetector(script), LookaheadTracker(lookahead=2), replacer)
    return sink


def test_a_calmed_stream_that_mixes_frames_sees_nothing_under_a_cover() -> None:
    """A face that is there in every frame, so that every frame is mixed with the one before."""
    script = {index: [make_detection(90 + 2 * index, 75, 60)] for index in range(6)}
    first = stream("toy, calmed", script, None).frames
    second = stream("toy, calmed", script, [frame.cover for frame in first]).frames
    bare = stream("toy", script, None).frames
    assert all(np.array_equal(one.image, other.image) for one, other in zip(first, second, strict=True))
    assert any(not np.array_equal(one.image, other.image) for one, other in zip(first, bare, strict=True))


@pytest.mark.parametrize("name", [*GENERATORS, ON_DEVICE, FILLED_ON_DEVICE])
@settings(max_examples=6)
@given(script=st.dictionaries(st.integers(0, 5), st.lists(detections(), max_size=2), min_size=1, max_size=4))
def test_pixels_under_a_cover_have_no_part_in_a_stream(name: str, script: dict[int, list[Detection]]) -> None:
    first = stream(name, script, None).frames
    second = stream(name, script, [frame.cover for frame in first]).frames
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.image, other.image)
