"""Several streams that share one network: the same faces as alone, and failing closed together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from stillness import ByTheClock
from test_fail_closed import DETECTIONS, paint_faces, shows_a_face
from torch import Tensor

from deepprivacy_rt.bench.crowd import Scene, crowd
from deepprivacy_rt.build import Anonymizer
from deepprivacy_rt.cropping import Region
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.batching import BatchCounts, Batcher
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.generators.gan_torch import DeviceGan, TorchExecutor
from deepprivacy_rt.on_device.canvas import DevicePainter
from deepprivacy_rt.pipeline import FrameReport
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.testing import ListSink, ScriptedDetector, SyntheticSource, make_detection
from deepprivacy_rt.types import Coverage, Detection, Image
from deepprivacy_rt.weights import Weights

Floats = np.ndarray
SOON = 60.0
"""Seconds after which a call that should have come back hangs."""
pytestmark = pytest.mark.timeout(600)


def side_by_side(works: Sequence[Callable[[], object]]) -> list[object]:
    """Do the works at the same time, and return what each returned or raised."""
    results: list[object] = [None] * len(works)

    def work(index: int) -> None:
        try:
            results[index] = works[index]()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SOON
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a call hangs"
    return results


class Doubling:
    """A network that doubles its input. Its first call waits until ``opened``, so that others have to wait for it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.sizes: list[int] = []
        self.entered, self.opened = threading.Event(), threading.Event()
        self._error = error

    def __call__(self, rows: Floats) -> Floats:
        self.sizes.append(len(rows))
        if len(self.sizes) == 1:
            self.entered.set()
            assert self.opened.wait(SOON)
        elif self._error is not None:
            raise self._error
        return rows * 2


def rows(first: int, count: int) -> Floats:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def behind_a_first_call(network: Doubling, batcher: Batcher[Floats], inputs: Sequence[Floats]) -> list[object]:
    """Ask for all the inputs while the network is busy with another call; return the answers."""

    def first() -> Floats:
        return batcher(rows(0, 1))

    def later(given: Floats) -> Floats:
        assert network.entered.wait(SOON)
        return batcher(given)

    def opener() -> None:
        assert network.entered.wait(SOON)
        while len(batcher._waiting) < len(inputs):
            time.sleep(0.001)
        network.opened.set()

    answers = side_by_side([first, opener, *(lambda given=given: later(given) for given in inputs)])  # type: ignore[misc]
    assert np.array_equal(np.asarray(answers[0]), rows(0, 1) * 2)
    return answers[2:]


def test_calls_that_wait_are_one_batch_and_everybody_gets_the_own_rows() -> None:
    network = Doubling()
    batcher: Batcher[Floats] = Batcher(network, np.concatenate)
    inputs = [rows(10, 2), rows(20, 1), rows(30, 3)]
    answers = behind_a_first_call(network, batcher, inputs)
    assert network.sizes == [1, 6] and batcher.counts == BatchCounts(2, 7)
    for given, answer in zip(inputs, answers, strict=True):
        assert np.array_equal(np.asarray(answer), given * 2)


def test_a_batch_has_so_many_faces_and_no_more_unless_one_call_has() -> None:
    network = Doubling()
    batcher: Batcher[Floats] = Batcher(network, np.concatenate, most=3)
    inputs = [rows(10, 5), rows(20, 2), rows(30, 2)]
    answers = behind_a_first_call(network, batcher, inputs)
    assert sorted(network.sizes) == [1, 2, 2, 5]
    assert all(np.array_equal(np.asarray(answer), given * 2) for given, answer in zip(inputs, answers, strict=True))


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SystemExit(3)])
def test_an_error_reaches_all_that_were_in_the_batch_and_the_next_call_works(error: BaseException) -> None:
    network = Doubling(error)
    batcher: Batcher[Floats] = Batcher(network, np.concatenate)
    answers = behind_a_first_call(network, batcher, [rows(10, 1), rows(20, 2)])
    assert answers == [error, error] and network.sizes == [1, 3]
    network._error = None
    assert np.array_equal(batcher(rows(5, 1)), rows(5, 1) * 2)


def test_too_few_faces_are_an_error_for_all_not_anothers_face() -> None:
    network = Doubling()
    batcher: Batcher[Floats] = Batcher(lambda given: network(given)[: max(1, len(given) - 1)], np.concatenate)
    answers = behind_a_first_call(network, batcher, [rows(10, 1), rows(20, 1)])
    assert all(isinstance(answer, StageError) and "1 faces for 2" in str(answer) for answer in answers)


def test_streams_that_go_on_are_waited_for_and_one_that_has_ended_is_not(by_the_clock: ByTheClock) -> None:
    sizes: list[int] = []

    def network(given: Floats) -> Floats:
        sizes.append(len(given))
        return given

    batcher: Batcher[Floats] = Batcher(network, np.concatenate, patience=10.0)
    begin = time.monotonic()
    together = threading.Barrier(2)

    def stream(calls: int) -> None:
        batcher(rows(0, 1))
        together.wait(SOON)
        for _ in range(calls):
            batcher(rows(0, 1))
            time.sleep(0.02)

    assert side_by_side([lambda: stream(5), lambda: stream(10)]) == [None, None]
    assert sum(sizes) == 17
    with by_the_clock:
        assert sizes.count(2) >= 4
        assert time.monotonic() - begin < 5  # the shorter one was missed for a moment, not for ten seconds


def test_a_network_that_hangs_holds_nobody_for_ever() -> None:
    network = Doubling()
    batcher: Batcher[Floats] = Batcher(network, np.concatenate, hang_seconds=0.3)
    stuck: list[Floats] = []
    thread = threading.Thread(target=lambda: stuck.append(batcher(rows(1, 1))), daemon=True)
    thread.start()
    assert network.entered.wait(SOON)
    for _ in range(2):
        with pytest.raises(StageError, match="has not answered"):
            batcher(rows(2, 1))
    network.opened.set()
    thread.join(SOON)
    assert np.array_equal(stuck[0], rows(1, 1) * 2) and network.sizes == [1]
    assert np.array_equal(batcher(rows(3, 1)), rows(3, 1) * 2)
    assert network.sizes == [1, 1]  # those that gave up are not asked for later


# --- whole streams ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights() -> Path:
    return Weights().path("face128")


@pytest.fixture(params=["torch", "auto", "device"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(runtime: str, weights: Path, conversions: Path, script: Sequence[Sequence[Detection]]) -> Anonymizer:
    """Return the shipped generator on OpenVINO (auto: int8 where the CPU is fit for it), in float32 on PyTorch, or
    there with frames that stay on a device."""
    Weights().path("face128-int8-bin")
    gan = GanGenerator(
        weights,
        device="cpu",
        salt=b"salt",
        cache_dir=conversions,
        quantized=Weights().path("face128-int8"),
        runtime="auto" if runtime == "auto" else "torch",
    )
    gan.executor._batcher._patience = 0.5  # type: ignore[attr-defined]  # so that batches are sure to happen
    new_painter = None
    if runtime == "device":
        network, uploads = DeviceGan(gan), Uploads(torch.device("cpu"))
        new_painter = lambda rate: DevicePainter(network, Region.FACE, uploads, rate)  # noqa: E731
    detector = ScriptedDetector(dict(enumerate(script)))
    return Anonymizer(
        lambda: detector,
        gan,
        Region.FACE,
        "cpu",
        (),
        steady=True,
        new_painter=new_painter,
        batches=lambda: gan.executor.batches,
    )


class Played:
    """A source that plays some pictures."""

    def __init__(self, images: Sequence[Image]) -> None:
        def show(image: Image, index: int) -> None:
            image[:] = images[index]

        height, width = images[0].shape[:2]
        self.source = SyntheticSource(len(images), width=width, height=height, paint=show)


def stream(
    anonymizer: Anonymizer, source: SyntheticSource, sink: ListSink, reports: list[FrameReport] | None = None
) -> list[Image]:
    with source, sink:
        on_frame = (lambda report: None) if reports is None else reports.append
        anonymizer.run(source, sink, 25.0, on_frame=on_frame, stop=threading.Event())
    return [frame.image for frame in sink.frames]


def of_scene(scene: Scene) -> list[list[Detection]]:
    assert scene.faces is not None
    detections = []
    for faces in scene.faces:
        places = [(*face.box.center, face.box.width) for face in faces]
        detections.append([make_detection(*place) for place in places])
    return detections


def test_faces_are_those_of_each_stream_alone(runtime: str, weights: Path, conversions: Path) -> None:
    scene = crowd(2, (256, 160))
    anonymizer = make(runtime, weights, conversions, of_scene(scene))
    clips = [list(scene.images[:3]), [image[:, ::-1].copy() for image in scene.images[:3]], list(scene.images[:2])]

    def work(clip: Sequence[Image]) -> list[Image]:
        return stream(anonymizer, Played(clip).source, ListSink())

    assert anonymizer.batches is not None
    alone = [work(clip) for clip in clips]
    first = anonymizer.batches()
    together = side_by_side([lambda clip=clip: work(clip) for clip in clips])  # type: ignore[misc]
    both = anonymizer.batches()
    assert both.faces == 2 * first.faces and both.calls < 2 * first.calls
    for own, shared, clip in zip(alone, together, clips, strict=True):
        assert isinstance(shared, list) and len(shared) == len(clip)
        # PyTorch may sum a batch in another order than a single face, by the processor: a rounding apart.
        off = [np.abs(one.astype(int) - other).max() for one, other in zip(own, shared, strict=True)]
        assert max(off) <= (0 if runtime == "auto" else 1), off
    assert not np.array_equal(alone[0][0], alone[1][0])  # a face that went to the wrong stream would have been seen


class FailsInCompany(torch.nn.Module):
    """A network that raises whenever faces of more than one stream are in the batch; else it paints noise."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = self.done = 0

    def forward(self, image: Tensor, *told: Tensor) -> Tensor:
        if len(image) > len(DETECTIONS):
            self.failed += 1
            raise RuntimeError("too much company")
        self.done += 1
        pattern = torch.linspace(-0.5, 0.0, image.shape[-1])
        return pattern.expand_as(image).clone()


@pytest.mark.parametrize("runtime", ["torch", "device"])
def test_a_batch_that_fails_fills_the_faces_of_all_its_streams(runtime: str, weights: Path, conversions: Path) -> None:
    count = 4
    anonymizer = make(runtime, weights, conversions, [DETECTIONS] * count)
    generator = anonymizer.generator
    assert isinstance(generator, GanGenerator) and isinstance(generator.executor, TorchExecutor)
    network = generator.executor._network = FailsInCompany()  # type: ignore[assignment]
    reports: list[list[FrameReport]] = [[], [], []]
    lengths = (count, count, 2 * count)  # the longest goes on alone, without faces at last
    works = [
        lambda own=own, length=length: stream(anonymizer, SyntheticSource(length, paint=paint_faces), ListSink(), own)  # type: ignore[misc]
        for own, length in zip(reports, lengths, strict=True)
    ]
    for pictures, length in zip(side_by_side(works), lengths, strict=True):
        assert isinstance(pictures, list) and len(pictures) == length
        assert not any(shows_a_face(picture) for picture in pictures[:count])
    assert network.failed >= count / 2
    everything = [report for own in reports for report in own]  # the longest may have company for longer
    filled = [report for report in everything if any("too much company" in line for line in report.problems)]
    assert len(filled) >= 2 * network.failed
    assert all({face.coverage for face in report.faces} == {Coverage.FILLED} for report in filled)
    assert all(
        len(report.faces) == len(DETECTIONS) and not report.withheld for own in reports for report in own[:count]
    )


def test_a_stream_that_ends_or_breaks_does_not_hold_up_the_others(
    weights: Path, conversions: Path, by_the_clock: ByTheClock
) -> None:
    scene = crowd(1, (160, 128))
    anonymizer = make("torch", weights, conversions, of_scene(scene))
    clip = list(scene.images[:8])
    broken = RuntimeError("the disk is full")
    begin = time.monotonic()
    results = side_by_side(
        [
            lambda: stream(anonymizer, Played(clip).source, ListSink()),
            lambda: stream(anonymizer, Played(clip[:1]).source, ListSink()),
            lambda: stream(anonymizer, Played(clip).source, ListSink(error_at=1, error=broken)),
        ]
    )
    assert isinstance(results[0], list) and len(results[0]) == 8
    assert isinstance(results[1], list) and len(results[1]) == 1 and results[2] is broken
    with by_the_clock:
        assert time.monotonic() - begin < 10
