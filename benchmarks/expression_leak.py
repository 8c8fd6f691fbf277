"""How much do the four numbers of ``--privacy standard`` say about who speaks?

    python benchmarks/expression_leak.py CLIP CLIP ... [--frames 30]

Every clip shows one person. The numbers of its first half, cut into windows, teach a linear classifier (linear
discriminant analysis on means, deviations, extremes and speeds of each number) to tell the people apart; the windows
of the second halves are then asked. Done with the numbers as they are read off a face, and as the generator is told
them. Printed: share of windows given to the right person, against chance (the share of a blind guess).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.expressions.reader import ExpressionReader
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.tracking import OnlineTracker, TrackerSettings
from deepprivacy_rt.types import Evidence
from deepprivacy_rt.weights import Weights

Series = NDArray[np.float64]


def read_clip(path: Path, detector: BlazeFaceDetector, mesh: FaceMesh) -> tuple[Series, Series]:
    """Return what is read off the largest face, and what the generator is told of it, (frames, 4) each."""
    raw, told = [], []
    with FileSource(path) as source:
        rate = float(source.info.average_rate or 30)
        tracker, reader = OnlineTracker(TrackerSettings(frame_rate=rate)), ExpressionReader(mesh, rate)
        for frame in source:
            tracks = [one for one in tracker.update(frame.index, detector.detect(frame)) if not one.uncertain]
            tracks = [one for one in tracks if one.evidence is Evidence.DETECTED]
            if not tracks:
                continue
            largest = max(tracks, key=lambda one: one.box.width)
            told.append(reader.read(frame, [largest])[0].expression)
            mesh_points = mesh.points(frame.image, crop_of(largest.box, largest.keypoints))
            raw.append(to_expression(openings(mesh_points)))
    return np.array(raw, np.float64), np.array(told, np.float64)


def features(series: Series, window: int) -> Series:
    """Return one row per window: mean, deviation, least, most and mean speed of each number."""
    parts = [series[start : start + window] for start in range(0, len(series) - window + 1, max(1, window // 2))]
    rows = [
        np.concatenate([p.mean(0), p.std(0), p.min(0), p.max(0), np.abs(np.diff(p, axis=0)).mean(0)]) for p in parts
    ]
    return np.array(rows)


def share_right(clips: Sequence[Series], window: int) -> tuple[float, float, int]:
    """Return the share of the second halves' windows that LDA gives to the right clip, chance, and their number."""
    first = [features(one[: len(one) // 2], window) for one in clips]
    second = [features(one[len(one) // 2 :], window) for one in clips]
    everything = np.vstack(first)
    center, spread = everything.mean(0), everything.std(0) + 1e-6
    first, second = ([(rows - center) / spread for rows in half] for half in (first, second))
    means = np.stack([rows.mean(0) for rows in first])
    within = np.vstack([rows - mean for rows, mean in zip(first, means, strict=True)])
    covariance = within.T @ within / len(within) + 0.3 * np.eye(within.shape[1])
    projection = np.linalg.solve(covariance, means.T)
    bias = -0.5 * np.einsum("kd,dk->k", means, projection)
    right = sum(int((np.argmax(rows @ projection + bias, axis=1) == i).sum()) for i, rows in enumerate(second))
    total = sum(len(rows) for rows in second)
    return right / total, max(len(rows) for rows in second) / total, total


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--frames", type=int, default=30, help="length of a window (default: 30)")
    args = parser.parse_args()
    weights = Weights()
    networks = weights.path("blazeface-full-range"), weights.path("blazeface-short-range")
    detector, mesh = BlazeFaceDetector(*networks, effort="fast"), FaceMesh(weights.path("face-landmark"))
    read = [(path, *read_clip(path, detector, mesh)) for path in args.clips]
    read = [row for row in read if len(row[1]) >= 4 * args.frames]
    print("clips:", ", ".join(f"{path.name} ({len(raw)} frames)" for path, raw, _ in read))
    for name, column in (("as read off the face", 1), ("as the generator is told", 2)):
        share, chance, total = share_right([row[column] for row in read], args.frames)
        print(f"{name}: {share:.0%} of {total} windows given to the right person; the best blind guess {chance:.0%}")


if __name__ == "__main__":
    main()
