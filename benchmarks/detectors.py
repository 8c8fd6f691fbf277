"""Cost and recall of every detector and effort, as a table.

    python benchmarks/detectors.py EVAL_DIR WEIGHTS_DIR [--sure 0.5] [--step 15] [--backend auto]

EVAL_DIR holds folders of videos; WEIGHTS_DIR the BlazeFace and YuNet files (the cache folder, after
``deepprivacy-rt weights fetch --all``). The reference is YuNet, so it flatters YuNet: there is no ground truth, and
where YuNet takes a hand for a face, the others seem to miss one (``--sure 0.7`` leaves out most of those).
Times are CPU time (all threads) of one 1280×720 frame, the median over frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.detectors.union import UnionDetector
from deepprivacy_rt.detectors.yunet import YuNetDetector
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.types import Box, Detection, Frame

FOLDERS = ("asl", "previews", "talking")
SIZES = (("<24 px", 0.0, 24.0), ("24-48 px", 24.0, 48.0), (">=48 px", 48.0, np.inf))
LOW, START = 0.2, 0.5
"""Scores that continue a track, and that start one."""


def load(folder: Path, step: int) -> list[tuple[str, Frame]]:
    """Return every step-th frame of all videos, at most ten of each, with the folder's name."""
    frames = []
    for name in FOLDERS:
        for path in sorted((folder / name).iterdir()):
            with av.open(str(path)) as container:
                for index, picture in enumerate(container.decode(video=0)):
                    if index >= 10 * step:
                        break
                    if index % step == 0:
                        image = picture.to_ndarray(format="rgb24")
                        frames.append((name, Frame(image, index, Fraction(index, 30))))
    return frames


def iou(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0))
    height = max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)


def recall(
    detector: Detector, frames: Sequence[tuple[str, Frame]], references: Sequence[Sequence[Detection]]
) -> dict[str, str]:
    """Return the table's cells: share of reference faces found, by folder and by size; and what else was found."""
    hits: dict[str, list[bool]] = {}
    more = 0
    for (name, frame), reference in zip(frames, references, strict=True):
        found = detector.detect(frame)
        strong = [face for face in found if face.score >= START]
        for face in reference:
            size = next(label for label, low, high in SIZES if low <= face.box.height < high)
            for label, faces in (("low", found), ("start", strong)):
                hit = any(iou(face.box, other.box) > 0.3 for other in faces)
                hits.setdefault(label, []).append(hit)
                if label == "low":
                    hits.setdefault(name, []).append(hit)
                    hits.setdefault(size, []).append(hit)
        more += sum(not any(iou(face.box, other.box) > 0.3 for other in reference) for face in strong)
    cells = {label: f"{np.mean(values):.3f} ({len(values)})" for label, values in hits.items()}
    return cells | {"others": str(more)}


def cost(detector: Detector, frames: Sequence[Frame]) -> float:
    """Return CPU milliseconds per frame, median over the frames, after one to warm up."""
    times = []
    for frame in [frames[0], *frames]:
        begin = time.process_time()
        detector.detect(frame)
        times.append((time.process_time() - begin) * 1e3)
    return float(np.median(times[1:]))


def variants(weights: Path, backend: str) -> dict[str, Callable[[], Detector]]:
    """Return every detector to measure, by name."""
    full = weights / "face_detection_full_range_sparse.tflite"
    short = weights / "face_detection_short_range.tflite"

    def blazeface(effort: str, **options: object) -> Detector:
        return BlazeFaceDetector(full, short, effort=effort, backend=backend, **options)  # type: ignore[arg-type]

    def yunet() -> Detector:
        return YuNetDetector(weights / "yunet_n_dynamic.onnx", threshold=LOW)

    return {
        "blazeface fast": lambda: blazeface("fast"),
        "blazeface balanced": lambda: blazeface("balanced"),
        "blazeface thorough": lambda: blazeface("thorough"),
        "yunet": yunet,
        "thorough + yunet": lambda: UnionDetector([blazeface("thorough"), yunet()]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--sure", type=float, default=0.5, help="lowest score of a reference face")
    parser.add_argument("--step", type=int, default=15)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = load(options.eval, options.step)
    reference = YuNetDetector(options.weights / "yunet_n_dynamic.onnx", threshold=options.sure)
    references = [reference.detect(frame) for _, frame in frames]
    images = [cv2.resize(frame.image, (1280, 720)) for name, frame in frames if name == "talking"][:20]
    timed = [Frame(np.asarray(image, np.uint8), index, Fraction(index, 30)) for index, image in enumerate(images)]
    columns = ["low", "start", *FOLDERS, *(label for label, _, _ in SIZES), "others"]
    print(f"{len(frames)} frames; recall at {LOW} ('start': at {START}) of YuNet's faces from {options.sure}")
    print("| detector | CPU ms | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for name, build in variants(options.weights, options.backend).items():
        detector = build()
        cells = recall(detector, frames, references)
        values = " | ".join(cells.get(column, "-") for column in columns)
        print(f"| {name} | {cost(detector, timed):.1f} | {values} |", flush=True)


if __name__ == "__main__":
    main()
