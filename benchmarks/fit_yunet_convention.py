"""Derive the weights in ``deepprivacy_rt/detectors/yunet_convention.py`` again, and say how well they fit.

    python benchmarks/fit_yunet_convention.py FACES_DIR WEIGHTS_DIR [--every N]

FACES_DIR holds ``manifest.jsonl`` and the synthetic faces that it names; WEIGHTS_DIR the BlazeFace and YuNet files.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.detectors.candidates import Floats
from deepprivacy_rt.detectors.yunet import YuNetDetector
from deepprivacy_rt.detectors.yunet_convention import FITTED, Weights, measure, to_blazeface
from deepprivacy_rt.types import Frame, Image


def pictures(folder: Path, every: int) -> list[Image]:
    """Load every n-th face, turned and shrunk at random (seeded)."""
    records = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    random = np.random.default_rng(0)
    images = []
    for record in records[::every]:
        image = cv2.imread(str(folder / record["file"]))
        if image is None:
            raise SystemExit(f"{folder / record['file']}: cannot be read")
        image = image[:, :, ::-1]
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-25, 25), random.uniform(0.45, 1))
        images.append(np.ascontiguousarray(cv2.warpAffine(image, turn, (width, height))))
    return images


def pairs(images: Sequence[Image], blazeface: BlazeFaceDetector, yunet: YuNetDetector) -> tuple[Floats, ...]:
    """Return YuNet's raw boxes and points, and BlazeFace's boxes and keypoints, for faces that both are sure of."""
    rows = []
    for image in images:
        reference = blazeface.detect(Frame(image, 0, Fraction(0)))
        boxes, points, scores = yunet.raw(image)
        if reference and reference[0].score > 0.7 and len(scores):
            best = scores.argmax()
            rows.append((boxes[best], points[best], np.array(reference[0].box, np.float32), reference[0].keypoints))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def fit(targets: Floats, parts: Sequence[Floats], side: Floats) -> list[float]:
    """Least absolute error, relative to the face's side, by reweighted least squares."""
    matrix = np.stack([part.reshape(-1) for part in parts], axis=1) / np.repeat(side, 2)[:, None]
    wanted = targets.reshape(-1) / np.repeat(side, 2)
    weights = np.ones(len(wanted))
    for _ in range(20):
        solution = np.linalg.lstsq(matrix * weights[:, None], wanted * weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(matrix @ solution - wanted), 0.005))
    return [round(float(value), 3) for value in solution]


def derive(boxes: Floats, points: Floats, target_boxes: Floats, target_points: Floats) -> Weights:
    """Fit all weights."""
    face = measure(boxes, points)
    side = target_boxes[:, 2] - target_boxes[:, 0]
    centre: Floats = (target_boxes[:, :2] + target_boxes[:, 2:]) / np.float32(2)
    both = [np.concatenate(pair) for pair in ((-face.across, face.across), (face.down,) * 2, (face.nose,) * 2)]
    ears = np.concatenate([target_points[:, 4] - face.eyes, target_points[:, 5] - face.eyes])
    ear = fit(ears, both, np.concatenate([side, side]))
    middle = fit(centre - face.eyes, [face.middle, face.down, face.nose], side)
    mouth = fit(target_points[:, 3] - face.lips, [face.down, face.nose], side)
    share = round(float(np.median(side / (boxes[:, 3] - boxes[:, 1]))), 3)
    return Weights((middle[0], middle[1], middle[2]), share, (mouth[0], mouth[1]), (ear[0], ear[1], ear[2]))


def main() -> None:
    """Print the weights, and the errors of the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    blazeface = BlazeFaceDetector(
        options.weights / "face_detection_full_range_sparse.tflite",
        options.weights / "face_detection_short_range.tflite",
        effort="fast",
    )
    yunet = YuNetDetector(options.weights / "yunet_n_dynamic.onnx", threshold=0.6, long_side=320)
    boxes, points, target_boxes, target_points = pairs(pictures(options.faces, options.every), blazeface, yunet)
    print(f"{len(boxes)} faces\nfitted    {derive(boxes, points, target_boxes, target_points)}\ncommitted {FITTED}")
    mine = to_blazeface(boxes, points, np.ones(len(boxes), np.float32))
    side = target_boxes[:, 2] - target_boxes[:, 0]
    for name, error in (
        ("box edges", np.abs(mine.boxes - target_boxes).max(axis=1)),
        *((f"keypoint {i}", np.hypot(*(mine.keypoints[:, i] - target_points[:, i]).T)) for i in range(6)),
    ):
        median, worst = np.percentile(error / side, [50, 95])
        print(f"{name:11s} error / box side: median {median:.3f}, 95 % {worst:.3f}")


if __name__ == "__main__":
    main()
