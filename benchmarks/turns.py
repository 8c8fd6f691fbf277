"""What drawing faces in turns does to them: the network's work, the difference to drawing always, and unrest.

    python benchmarks/turns.py CLIP... [--frames 80] [--model face256]

The first face of each frame is drawn always, and as ``anonymize`` draws it, at rest in turns; portraits come later, and
are left out. In grey levels of 255 under the cover, means of a frame. docs/adr/0013-faces-at-rest-take-turns.md has
the results.
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.build import LOOKAHEAD_SECONDS, Anonymizer, build_anonymizer
from deepprivacy_rt.config import FaceConfig, ModelName
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.expressions.reader import ExpressionReader
from deepprivacy_rt.generators.steady import SteadyGenerator
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.tracking import LookaheadTracker, TrackerSettings
from deepprivacy_rt.types import FacePatch, FaceTrack, Frame, Replacement
from deepprivacy_rt.weights import Weights

Floats = NDArray[np.float32]


class Counting:
    """Passes patches on. :ivar drawn: how many."""

    def __init__(self, generator: Generator) -> None:
        self._generator, self.drawn = generator, 0

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def generate(self, patches: Sequence[FacePatch]) -> Sequence[Replacement]:
        """Return what the generator returns."""
        self.drawn += len(patches)
        return self._generator.generate(patches)


def tracked(anonymizer: Anonymizer, frames: Sequence[Frame], rate: float) -> dict[int, Sequence[FaceTrack]]:
    """Return the faces of each frame, as ``anonymize`` follows them."""
    settings = TrackerSettings(frame_rate=rate)
    tracker, detector = LookaheadTracker(settings, settings.frames(LOOKAHEAD_SECONDS)), anonymizer.new_detector()
    found: dict[int, Sequence[FaceTrack]] = {}
    for frame in frames:
        found.update(tracker.push(frame.index, detector.detect(frame)))
    found.update(tracker.flush())
    return found


def patches_of(anonymizer: Anonymizer, frames: Sequence[Frame], rate: float) -> Iterator[FacePatch]:
    """Yield the first face of each frame that has one."""
    assert anonymizer.mesh is not None
    reader, cropper = ExpressionReader(anonymizer.mesh, rate), AlignedCropper(anonymizer.generator.patch_size)
    faces = tracked(anonymizer, frames, rate)
    for frame in frames:
        tracks = [track for track in faces.get(frame.index, ()) if not track.uncertain][:1]
        for told in reader.read(frame, tracks):
            yield cropper.cut(cropper.erase(frame, [told]), told)


def measure(anonymizer: Anonymizer, clip: Path, count: int) -> str:
    """Return a row of the table."""
    with FileSource(clip) as source:
        frames, rate = list(islice(source, count)), float(source.info.average_rate)
    counting = Counting(anonymizer.generator)
    always = SteadyGenerator(anonymizer.generator, rate)
    turns = SteadyGenerator(counting, rate, anonymizer.turns)
    pairs: list[tuple[Floats, Floats]] = []
    difference, unrest = [], []
    for patch in patches_of(anonymizer, frames, rate):
        [drawn], [waiting] = always.generate([patch]), turns.generate([patch])
        pair = drawn.image.astype(np.float32), waiting.image.astype(np.float32)
        difference.append(np.abs(pair[0] - pair[1])[patch.mask].mean())
        if pairs:
            unrest.append([np.abs(now - then)[patch.mask].mean() for now, then in zip(pair, pairs[-1], strict=True)])
        pairs.append(pair)
    share, (still, moved) = counting.drawn / len(pairs), np.mean(unrest, axis=0)
    limits = f"{np.mean(difference):.2f} | {np.percentile(difference, 95):.1f} | {np.max(difference):.1f}"
    return f"| {clip.stem} | {share:.0%} | {limits} | {still:.2f} | {moved:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--model", choices=typing.get_args(ModelName), default="auto")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    anonymizer = build_anonymizer(FaceConfig(device="cpu", seed=0, model=args.model), Weights())
    print(
        "| | drawn | difference, mean | 95 % below | worst | change per frame, always | in turns |\n" + "|---" * 7 + "|"
    )
    for clip in args.clips:
        print(measure(anonymizer, clip, args.frames), flush=True)


if __name__ == "__main__":
    main()
