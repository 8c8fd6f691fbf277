"""From configuration to working stages: the only place that names concrete classes.

Libraries that take seconds to import (PyTorch, MediaPipe, OpenVINO) are imported where they are needed first, so that
a run without them does not wait for them.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import platformdirs

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.config import FaceConfig, OutputConfig
from deepprivacy_rt.cropping import AlignedCropper, Region
from deepprivacy_rt.detectors.paced import PacedDetector
from deepprivacy_rt.errors import DeviceError
from deepprivacy_rt.generators.pixelate import PixelateGenerator
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.generators.steady import SteadyGenerator
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
from deepprivacy_rt.sinks.file import FileSink
from deepprivacy_rt.sinks.image import ImageSink
from deepprivacy_rt.sources import is_image
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.sources.image import ImageSource
from deepprivacy_rt.stages import Detector, Generator, Painter, Sink, Source
from deepprivacy_rt.tracking import LookaheadTracker, TrackerSettings
from deepprivacy_rt.weights import Weights

LOOKAHEAD_SECONDS = 1.0
"""How far file mode looks ahead, so that a face is covered before its first detection."""

OpenedSource: TypeAlias = FileSource | ImageSource
OpenedSink: TypeAlias = FileSink | ImageSink


@dataclass(frozen=True, slots=True)
class Anonymizer:
    """All that outlives one file: the networks, and the way faces are cut and pasted.

    :ivar new_detector: makes a detector for one stream; all share their networks.
    :ivar device: where the generator runs: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :ivar new_painter: takes a frame rate and makes what replaces the faces of one stream on a device; None: they are
        replaced stage by stage, on the CPU but for the generator.
    :ivar notes: what a user should know about the choices made, one line each.
    :ivar steady: whether faces are calmed from frame to frame; fills and mosaics are calm by themselves.
    """

    new_detector: Callable[[], Detector]
    generator: Generator
    region: Region
    device: str
    notes: tuple[str, ...]
    steady: bool = False
    new_painter: Callable[[float], Painter] | None = None

    def new_generator(self, frame_rate: float) -> Generator:
        """Return the generator for one stream: what it remembers of its faces belongs to that stream."""
        return SteadyGenerator(self.generator, frame_rate) if self.steady else self.generator

    def new_replacer(self, frame_rate: float, times: StageTimes | None = None) -> Replacer:
        """Return what replaces the faces of one stream. :param frame_rate: frames per second."""
        if self.new_painter is not None:
            return CanvasReplacer(self.new_painter(frame_rate), times)
        size = self.generator.patch_size
        cropper, filler = AlignedCropper(size, self.region), SolidGenerator(size)
        return FaceReplacer(cropper, self.new_generator(frame_rate), PatchBlender(), times, filler)

    def run(
        self,
        source: Source,
        sink: Sink,
        frame_rate: float,
        *,
        on_frame: Callable[[FrameReport], None],
        stop: threading.Event,
        times: StageTimes | None = None,
    ) -> StreamSummary:
        """Anonymize one stream, whose source and sink are entered. Raises as ``process_stream`` does.

        :param frame_rate: frames per second; 1 for a single picture.
        :param times: where the time of the stages is noted; None: only in the summary.
        """
        settings = TrackerSettings(frame_rate=min(max(frame_rate, 1.0), 1000.0))
        tracker = LookaheadTracker(settings, settings.frames(LOOKAHEAD_SECONDS))
        replacer = self.new_replacer(settings.frame_rate, times)
        return process_stream(source, sink, self.new_detector(), tracker, replacer, on_frame=on_frame, stop=stop)


def build_anonymizer(
    config: FaceConfig, weights: Weights, *, generator_file: Path | None = None, on_device: bool | None = None
) -> Anonymizer:
    """Load what the configuration asks for. Raises DeviceError, WeightsError, EnvironmentProblem.

    :param generator_file: weights of a generator to try in place of the shipped one; no checksum is known of it.
    :param on_device: whether frames stay on the device from detection to pasting; None: on CUDA. On the CPU that is for
        tests: it runs in PyTorch, and slowly.
    """
    device, notes = choose_device(config.device, needed=config.filter == "gan")
    if on_device is None:
        on_device = device.startswith("cuda")
    on_device = on_device and config.filter == "gan"
    generator = _generator(config, weights, device, generator_file, in_torch=on_device)
    stages = _on_device(config, weights, device, generator) if on_device else _on_cpu(config, weights)
    return Anonymizer(
        new_detector=stages.new_detector,
        generator=generator,
        region=Region(config.region),
        device=device,
        notes=notes,
        steady=config.filter == "gan",
        new_painter=stages.new_painter,
    )


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


def choose_device(name: str, *, needed: bool) -> tuple[str, tuple[str, ...]]:
    """Return the device to compute on, and notes about the choice.

    :param name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` takes a GPU that works.
    :param needed: False where nothing will run on it; then ``auto`` does not look for one.
    Raises DeviceError, with the cure, where a device was named that is not there.
    """
    if name == "cpu" or (name == "auto" and not (needed and _may_have_gpu())):
        return "cpu", ()
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda", ()
        if torch.backends.mps.is_available():
            return "mps", ()
        unused = shutil.which("nvidia-smi") is not None
        note = f"an NVIDIA driver is installed, but {_no_cuda_cause()}: computing on the CPU"
        return "cpu", (note,) if unused else ()
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device mps: only Macs with Apple silicon have it; use --device auto or cpu")
        return name, ()
    if not torch.cuda.is_available():
        raise DeviceError(f"device {name}: {_no_cuda_cause()}; mend that, or use --device auto or cpu")
    present = torch.cuda.device_count()
    if int(name.partition(":")[2] or 0) >= present:
        raise DeviceError(f"device {name}: this machine has {present}, cuda:0 to cuda:{present - 1}; name one of them")
    return name, ()


def _may_have_gpu() -> bool:
    """Say whether it is worth to ask PyTorch, whose import takes seconds: on Linux, a GPU that works has a device file
    (NVIDIA's driver, the same under Windows, AMD's)."""
    if sys.platform != "linux" or shutil.which("nvidia-smi") is not None:
        return True
    return any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()


def _no_cuda_cause() -> str:
    import torch

    if torch.version.cuda is None:
        return f"the installed PyTorch ({torch.__version__}) was built without CUDA; install a CUDA build of torch"
    return "PyTorch finds no CUDA device that works; `nvidia-smi` should list one, and its driver be new enough"


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
    return _Stages(_looking(config, full.fast(), full))


def _on_device(config: FaceConfig, weights: Weights, device: str, generator: Generator) -> _Stages:
    """YuNet looks on the CPU all the same: the frame then travels once more."""
    import torch

    from deepprivacy_rt.detectors.blazeface_torch import DeviceBlazeFaceDetector
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
        new_detector = _looking(config, full.fast(), full)
    return _Stages(new_detector, lambda frame_rate: DevicePainter(network, region, uploads, frame_rate))


def _yunet(config: FaceConfig, weights: Weights) -> Callable[[], Detector]:
    from deepprivacy_rt.detectors.yunet import YuNetDetector

    detector = YuNetDetector(weights.path("yunet"))
    return _looking(config, detector, detector)


def _blazeface_files(weights: Weights) -> tuple[Path, Path]:
    return weights.path("blazeface-full-range"), weights.path("blazeface-short-range")


def _looking(config: FaceConfig, quick: Detector, full: Detector) -> Callable[[], Detector]:
    """Return what makes a detector for each stream. At effort ``thorough`` it looks at every frame."""
    return lambda: full if config.effort == "thorough" else PacedDetector(quick, full)


def _generator(config: FaceConfig, weights: Weights, device: str, file: Path | None, *, in_torch: bool) -> Generator:
    seed = secrets.randbits(128) if config.seed is None else config.seed
    if config.filter == "solid":
        return SolidGenerator()
    if config.filter == "pixelate":
        return PixelateGenerator(seed=seed)
    from deepprivacy_rt.generators.gan import GanGenerator

    salt = seed.to_bytes(max(16, (seed.bit_length() + 7) // 8), "big")
    cache = platformdirs.user_cache_path("deepprivacy-rt") / "compiled"
    quantized = None
    if device == "cpu" and config.precision == "auto" and file is None and not in_torch:
        weights.path("face128-int8-bin")  # OpenVINO reads it beside the other, so it is verified here
        quantized = weights.path("face128-int8")
    return GanGenerator(
        weights.path("face128") if file is None else file,
        device=device,
        salt=salt,
        cache_dir=cache,
        quantized=quantized,
        precision=config.precision,
        runtime="torch" if in_torch else "auto",
    )
