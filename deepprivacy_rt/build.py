"""From configuration to working stages: here and in ``build_generator`` alone concrete classes are named.

Libraries that take seconds to import (PyTorch, MediaPipe, OpenVINO) are imported where they are needed first, so that
a run without them does not wait for them.
"""

from __future__ import annotations

import secrets
import threading
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.build_generator import choose_model, make_generator, make_wardrobes, portraying
from deepprivacy_rt.config import FaceConfig, OutputConfig
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.paced import PacedDetector
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.expressions.reader import ExpressionReader
from deepprivacy_rt.generators.batching import BatchCounts
from deepprivacy_rt.generators.retouching import RetouchingGenerator
from deepprivacy_rt.generators.smooth import SmoothGenerator
from deepprivacy_rt.generators.steady import PORTRAYED, SteadyGenerator, Turns
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.media.info import ImageInfo, VideoInfo
from deepprivacy_rt.pipeline import (
    CanvasReplacer,
    FaceReplacer,
    FrameReport,
    Replacer,
    StageTimes,
    StreamSummary,
    process_stream,
)
from deepprivacy_rt.runtimes.device import choose_device, keep_torch_on_one_thread
from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sinks.image import ImageSink
from deepprivacy_rt.sources import is_image
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.sources.image import ImageSource
from deepprivacy_rt.stages import Detector, Generator, Painter, Sink, Source
from deepprivacy_rt.tracking import LookaheadTracker, TrackerSettings
from deepprivacy_rt.weights import Weights

if typing.TYPE_CHECKING:
    from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
    from deepprivacy_rt.detectors.blazeface_device import DeviceBlazeFaceDetector

LOOKAHEAD_SECONDS = 1.0
"""How far file mode looks ahead, so that a face is covered before its first detection."""

OpenedSource: TypeAlias = FileSource | ImageSource
OpenedSink: TypeAlias = FileSink | ImageSink


@dataclass(frozen=True, slots=True)
class Anonymizer:
    """All that outlives one file: the networks, and the way faces are cut and pasted.

    It may serve any number of streams at once, each on threads of its own: faces that are ready at the same time are
    one call of the generator.

    :ivar new_detector: makes a detector for one stream; all share their networks.
    :ivar device: where the generator runs: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :ivar new_painter: takes a frame rate and makes what replaces the faces of one stream on a device; None: they are
        replaced stage by stage, on the CPU but for the generator.
    :ivar notes: what a user should know about the choices made, one line each.
    :ivar steady: whether faces are calmed from frame to frame; fills and mosaics are calm by themselves.
    :ivar turns: which faces are not drawn at every frame.
    :ivar read_from: so many faces in a frame that expressions are read at every second frame only.
    :ivar mesh: reads expressions; None: faces stay at rest.
    :ivar finish: takes the generator of one stream, ``generator`` as it is, and the frame rate, and makes what goes on
        with its faces; None: nothing does.
    :ivar batches: tells how often the generator's network was called, and for how many faces; None: there is none.
    :ivar config: as it was carried out: with a generator by name.
    """

    new_detector: Callable[[], Detector]
    generator: Generator
    region: Region
    device: str
    notes: tuple[str, ...]
    steady: bool = False
    turns: Turns = field(default_factory=Turns)
    read_from: int = 2
    new_painter: Callable[[float], Painter] | None = None
    mesh: FaceMesh | None = None
    finish: Callable[[Generator, Generator, float], Generator] | None = None
    batches: Callable[[], BatchCounts] | None = None
    config: FaceConfig = field(default_factory=FaceConfig)

    def new_generator(self, frame_rate: float) -> Generator:
        """Return the generator for one stream: what it remembers of its faces belongs to that stream."""
        made = self.generator if self.finish is None else RetouchingGenerator(self.generator, frame_rate)
        made = SteadyGenerator(made, frame_rate, self.turns) if self.steady else made
        return self.finish(made, self.generator, frame_rate) if self.finish is not None else made

    def new_replacer(self, frame_rate: float, times: StageTimes | None = None) -> Replacer:
        """Return what replaces the faces of one stream.

        :param frame_rate: frames per second.
        :param times: where the time of the stages is noted; None: only in its own.
        """
        expressions = ExpressionReader(self.mesh, frame_rate, self.read_from) if self.mesh is not None else None
        if self.new_painter is not None:
            return CanvasReplacer(self.new_painter(frame_rate), times, expressions)
        size = self.generator.patch_size
        cropper, filler = AlignedCropper(size, self.region), SmoothGenerator(size)
        generator = self.new_generator(frame_rate)
        return FaceReplacer(cropper, generator, PatchBlender(), times, filler, expressions)

    def run(
        self,
        source: Source,
        sink: Sink,
        frame_rate: float,
        *,
        on_frame: Callable[[FrameReport], None],
        stop: threading.Event,
        times: StageTimes | None = None,
        first_identity: int = 0,
    ) -> StreamSummary:
        """Anonymize one stream, whose source and sink are entered. Raises as ``process_stream`` does.

        :param frame_rate: frames per second; 1 for a single picture.
        :param first_identity: of the first face; streams that begin with the same one show the same faces.
        :param times: where the time of the stages is noted; None: only in the summary.
        """
        settings = TrackerSettings(frame_rate=min(max(frame_rate, 1.0), 1000.0))
        tracker = LookaheadTracker(settings, settings.frames(LOOKAHEAD_SECONDS), first_identity)
        replacer = self.new_replacer(settings.frame_rate, times)
        return process_stream(source, sink, self.new_detector(), tracker, replacer, on_frame=on_frame, stop=stop)


def build_anonymizer(
    config: FaceConfig,
    weights: Weights,
    *,
    generator_file: Path | None = None,
    on_device: bool | None = None,
    live: bool = False,
) -> Anonymizer:
    """Load what the configuration asks for. Raises DeviceError, WeightsError, EnvironmentProblem.

    Each stage has a thread of its own, so on the CPU PyTorch is told, for the whole process, to start no more.

    :param generator_file: weights of a generator to try in place of the shipped one; no checksum is known of it.
    :param on_device: whether frames stay on the device from detection to pasting; None: on CUDA. On the CPU that is for
        tests: it runs in PyTorch, and slowly.
    :param live: whether it has to keep up with a camera, so that ``auto`` chooses a lighter generator.
    """
    device, notes = choose_device(config.device, needed=config.filter == "gan")
    if on_device is None:
        on_device = device.startswith("cuda")
    on_device = on_device and config.filter == "gan"
    config = choose_model(config, device, hurried=live or on_device or generator_file is not None)
    seed = secrets.randbits(128) if config.seed is None else config.seed
    salt = seed.to_bytes(max(16, (seed.bit_length() + 7) // 8), "big")
    with ThreadPoolExecutor(1) as loader:  # networks compile side by side: starting takes half a second less
        reading = loader.submit(_mesh, config, weights)
        looking = None if on_device else loader.submit(_on_cpu, config, weights)
        generator = make_generator(config, weights, device, generator_file, salt, in_torch=on_device)
        wardrobes = make_wardrobes(config, weights, salt) if config.filter == "gan" else None
        if looking is not None:
            stages = looking.result()
        else:
            assert wardrobes is not None
            stages = _on_device(config, weights, device, generator, wardrobes)
        mesh = reading.result()
    if device == "cpu":
        keep_torch_on_one_thread()
    return Anonymizer(
        new_detector=stages.new_detector,
        generator=generator,
        region=Region(config.region),
        device=device,
        notes=notes,
        steady=config.filter == "gan",
        turns=_turns(config),
        read_from=1 if config.effort == "fast" else 2,
        new_painter=stages.new_painter,
        mesh=mesh,
        finish=None if on_device or wardrobes is None else portraying(wardrobes),
        batches=_batches(generator) if config.filter == "gan" else None,
        config=config,
    )


def _turns(config: FaceConfig) -> Turns:
    if config.effort == "thorough":
        return Turns()
    return replace(PORTRAYED, seconds=PORTRAYED.pressed) if config.effort == "fast" else PORTRAYED


def _batches(generator: Generator) -> Callable[[], BatchCounts]:
    from deepprivacy_rt.generators.gan import GanGenerator

    assert isinstance(generator, GanGenerator)
    executor = generator.executor
    return lambda: executor.batches


def _mesh(config: FaceConfig, weights: Weights) -> FaceMesh | None:
    """Return what reads expressions, where that is wanted."""
    if config.filter != "gan" or config.privacy == "strict":
        return None
    return FaceMesh(weights.path("face-landmark"))


def make_source(path: Path) -> OpenedSource:
    """Return the source for a file by its ending; it is opened by its ``__enter__``."""
    return ImageSource(path) if is_image(path) else FileSource(path)


def make_sink(path: Path, info: VideoInfo | ImageInfo, config: OutputConfig) -> OpenedSink:
    """Return the sink for a file that replaces the one of ``info``. Raises UsageError, SinkError."""
    if isinstance(info, ImageInfo):
        return ImageSink(path, info, keep_metadata=config.keep_metadata, overwrite=config.overwrite)
    return FileSink(
        path,
        info,
        codec=config.codec,
        quality=config.quality,
        preset=config.preset,
        audio=config.audio,
        keep_metadata=config.keep_metadata,
        overwrite=config.overwrite,
    )


@dataclass(frozen=True, slots=True)
class _Stages:
    """What differs between computing on the CPU and on a device; see :class:`Anonymizer`."""

    new_detector: Callable[[], Detector]
    new_painter: Callable[[float], Painter] | None = None


def _on_cpu(config: FaceConfig, weights: Weights) -> _Stages:
    if config.detector == "yunet":
        return _Stages(_yunet(config, weights))
    from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector

    full = BlazeFaceDetector(*_blazeface_files(weights), effort=config.effort)
    return _Stages(_blazeface(config, full))


def _on_device(
    config: FaceConfig, weights: Weights, device: str, generator: Generator, wardrobes: Callable[[float], Wardrobe]
) -> _Stages:
    """YuNet looks on the CPU all the same: the frame then travels once more."""
    import torch

    from deepprivacy_rt.detectors.blazeface_device import DeviceBlazeFaceDetector
    from deepprivacy_rt.generators.gan import GanGenerator
    from deepprivacy_rt.generators.gan_torch import DeviceGan
    from deepprivacy_rt.on_device.canvas import DevicePainter
    from deepprivacy_rt.runtimes.uploads import Uploads

    assert isinstance(generator, GanGenerator)
    network, region, uploads = DeviceGan(generator), Region(config.region), Uploads(torch.device(device))
    if config.detector == "yunet":
        new_detector = _yunet(config, weights)
    else:
        full = DeviceBlazeFaceDetector(*_blazeface_files(weights), uploads, effort=config.effort)
        new_detector = _blazeface(config, full)
    return _Stages(
        new_detector, lambda frame_rate: DevicePainter(network, region, uploads, frame_rate, wardrobes(frame_rate))
    )


def _yunet(config: FaceConfig, weights: Weights) -> Callable[[], Detector]:
    from deepprivacy_rt.detectors.yunet import YuNetDetector

    detector = YuNetDetector(weights.path("yunet"))
    return _looking(config, detector, detector)


def _blazeface_files(weights: Weights) -> tuple[Path, Path]:
    return weights.path("blazeface-full-range"), weights.path("blazeface-short-range")


def _blazeface(config: FaceConfig, full: BlazeFaceDetector | DeviceBlazeFaceDetector) -> Callable[[], Detector]:
    first = full if config.effort == "fast" else full.with_effort("thorough")
    return _looking(config, full.with_effort("fast"), full, first)


def _looking(
    config: FaceConfig, quick: Detector, full: Detector, first: Detector | None = None
) -> Callable[[], Detector]:
    """Return what makes a detector for each stream. At effort ``thorough`` it looks at every frame."""
    return lambda: full if config.effort == "thorough" else PacedDetector(quick, full, first)
