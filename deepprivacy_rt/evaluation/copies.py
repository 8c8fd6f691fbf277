"""Makes the copies that are measured: by the real pipeline, and by the same pipeline with crude treatments."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from deepprivacy_rt.build import Anonymizer, build_anonymizer, make_sink, make_source
from deepprivacy_rt.config import FaceConfig, OutputConfig
from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.generators.pixelate import PixelateGenerator
from deepprivacy_rt.generators.solid import SolidGenerator
from deepprivacy_rt.pipeline import FrameReport
from deepprivacy_rt.stages import Detector, Generator
from deepprivacy_rt.types import Detection, Frame, Image, SafeFrame
from deepprivacy_rt.weights import Weights

GENERATED = "generated"
"""What is evaluated."""
FLOORS = ("original", "pixelate", "solid")
"""What it is compared with: the original encoded again, and the filters that need no network."""
TREATMENTS = (GENERATED, *FLOORS)
_OUTPUT = OutputConfig(audio=False, overwrite=True)


def copy_name(draw: int) -> str:
    """Return what the generated copies of a draw of identities, counted from 0, are called."""
    return GENERATED if draw == 0 else f"{GENERATED}-{draw + 1}"


class RememberedDetector:
    """Asks a detector once for each frame of a file: all treatments cover the same faces, and detection is paid once.

    Implements :class:`deepprivacy_rt.stages.Detector`.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._seen: dict[int, Sequence[Detection]] = {}

    def detect(self, frame: Frame) -> Sequence[Detection]:
        """Return what was found in this frame the first time."""
        if frame.index not in self._seen:
            self._seen[frame.index] = self._detector.detect(frame)
        return self._seen[frame.index]


class NoFaces:
    """Finds nothing: the pipeline then encodes the original again. For floors, never for users."""

    def detect(self, frame: Frame) -> Sequence[Detection]:
        """Return nothing."""
        return ()


class CopyMaker:
    """Anonymizes files with every treatment.

    :param config: how the generated copy is made; the floors take region and detector from it.
    :param generator_file: weights to evaluate; None: the shipped ones.

    Raises DeviceError, WeightsError, EnvironmentProblem.
    """

    def __init__(self, config: FaceConfig, weights: Weights, generator_file: Path | None = None) -> None:
        generated = build_anonymizer(config, weights, generator_file=generator_file, on_device=False)
        floor = dataclasses.replace(generated, steady=False, mesh=None, finish=None, batches=None)
        solid = SolidGenerator()  # for the original, it is never used: nothing is found
        fills: dict[str, Generator] = {"pixelate": PixelateGenerator(seed=config.seed or 0), "solid": solid}
        fills["original"] = solid
        self._anonymizers = {name: dataclasses.replace(floor, generator=fill) for name, fill in fills.items()}
        self._anonymizers[GENERATED] = generated

    def new_detector(self) -> RememberedDetector:
        """Return what finds the faces of one file, for all its copies and those of makers with the same detector."""
        return RememberedDetector(self._anonymizers[GENERATED].new_detector())

    def make(self, source: Path, targets: Mapping[str, Path], identity: int, remembered: RememberedDetector) -> None:
        """Write one copy for each treatment. Raises SourceError, SinkError, UsageError.

        :param targets: by treatment.
        :param identity: of the first face: give another one to each file, or all numbers are those of one face.
        :param remembered: of this file, from ``new_detector``.
        """
        for name, target in targets.items():
            detector = NoFaces() if name == "original" else remembered
            opened = make_source(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened, make_sink(target, opened.info, _OUTPUT) as sink:
                rate = float(getattr(opened.info, "average_rate", 1))
                summary = self._anonymizer(name, detector).run(
                    opened, sink, rate, on_frame=_ignore, stop=threading.Event(), first_identity=identity
                )
                if not summary.frames:
                    raise SinkError(f"{source}: no frame could be read")

    def variants(self, name: str, image: Image, identities: Sequence[int]) -> list[Image]:
        """Return one picture anonymized with several identities in turn."""
        detector = self.new_detector()
        pictures = []
        for identity in identities:
            anonymizer, sink, never = self._anonymizer(name, detector), PictureSink(), threading.Event()
            anonymizer.run(_OnePicture(image), sink, 1.0, on_frame=_ignore, stop=never, first_identity=identity)
            pictures += sink.images
        return pictures

    def _anonymizer(self, name: str, detector: Detector) -> Anonymizer:
        return dataclasses.replace(self._anonymizers[name], new_detector=lambda: detector)


def _ignore(report: FrameReport) -> None:
    pass


class _OnePicture:
    """A source of one frame."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def __enter__(self) -> _OnePicture:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(self._image, 0, Fraction(0))


class PictureSink:
    """A sink that keeps the pictures."""

    def __init__(self) -> None:
        self.images: list[Image] = []

    def __enter__(self) -> PictureSink:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def write(self, frame: SafeFrame) -> None:
        self.images.append(frame.image)
