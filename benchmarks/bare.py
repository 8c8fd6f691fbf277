"""How much of a face a live cover leaves bare, where it was looked for at every frame and thoroughly.

    python benchmarks/bare.py CLIP... [--frames 300] [--half-width 0.54 --half-height 0.66]

The clip goes through detector, tracker and cropper as in ``deepprivacy-rt run`` without lookahead, frame by frame, at
each pace that live effort knows. The face is Face Mesh's outline (of forehead, cheeks and chin) on the original; what
of it is not covered is bare. docs/adr/0023 has the results.
"""

from __future__ import annotations

import argparse
import dataclasses
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt import cropping
from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.detectors.paced import PacedDetector
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of
from deepprivacy_rt.expressions.reader import ExpressionReader
from deepprivacy_rt.geometry import transform_points
from deepprivacy_rt.portraits.canonical import OVAL
from deepprivacy_rt.realtime.governor import PACES
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.tracking import OnlineTracker, TrackerSettings
from deepprivacy_rt.types import Frame
from deepprivacy_rt.weights import Weights

_LEAST_SCORE, _LEAST_SIDE = 0.7, 48.0


def outlines(frame: Frame, detector: BlazeFaceDetector, mesh: FaceMesh) -> list[NDArray[np.float32]]:
    """Return the outlines of a frame's sure faces, (36, 2) pixels each."""
    found = []
    for face in detector.detect(frame):
        if face.score >= _LEAST_SCORE and face.box.width >= _LEAST_SIDE:
            way = crop_of(face.box, face.keypoints)
            points = mesh.points(frame.image, way)[list(OVAL), :2]
            found.append(np.asarray(transform_points(cv2.invertAffineTransform(way), points), np.float32))
    return found


def bare(outline: NDArray[np.float32], cover: NDArray[np.bool_]) -> float:
    """Return the share of an outline's inside that is not covered."""
    inside = np.zeros(cover.shape, np.uint8)
    cv2.fillPoly(inside, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    return float((inside.astype(bool) & ~cover).sum() / max(int(inside.sum()), 1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    usual = cropping.GEOMETRY[cropping.Region.FACE]
    parser.add_argument("--half-width", type=float, default=usual.half_width)
    parser.add_argument("--half-height", type=float, default=usual.half_height)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cropping.GEOMETRY[cropping.Region.FACE] = dataclasses.replace(
        usual, half_width=options.half_width, half_height=options.half_height
    )
    weights = Weights()
    anonymizer = build_anonymizer(FaceConfig(), weights, live=True)
    sure = BlazeFaceDetector(
        weights.path("blazeface-full-range"), weights.path("blazeface-short-range"), effort="thorough"
    )
    assert anonymizer.mesh is not None
    print("| clip | pace | faces | bare, mean | over 2 % bare | over 10 % bare | worst |\n" + "|---" * 7 + "|")
    for clip in options.clips:
        with FileSource(clip) as source:
            rate = float(source.info.average_rate)
            frames = list(islice(source, options.frames))
        wanted = [outlines(frame, sure, anonymizer.mesh) for frame in frames]
        for pace in (PACES[0], PACES[1], PACES[3]):
            detector = anonymizer.new_detector()
            assert isinstance(detector, PacedDetector)
            detector.set_pace(pace.quick, pace.full)
            tracker = OnlineTracker(TrackerSettings(frame_rate=rate))
            reader = ExpressionReader(anonymizer.mesh, rate, 1)
            cropper, shares = cropping.AlignedCropper(128), []
            for frame, faces in zip(frames, wanted, strict=True):
                tracks = reader.read(frame, tracker.update(frame.index, detector.detect(frame)))
                cover = cropper.erase(frame, tracks).cover
                shares += [bare(face, cover) for face in faces]
            found = np.array(shares)
            cells = (found.mean(), (found > 0.02).mean(), (found > 0.1).mean(), found.max())
            print(
                f"| {clip.stem} | {pace.name} | {len(found)} | " + " | ".join(f"{x:.2%}" for x in cells) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
