"""What MediaPipe itself finds in square pictures: recorded, for its library tells Google that it is used (ADR 25).

python tests/mediapipe_faces.py    writes tests/pictures/mediapipe_faces.json; needs ``pip install mediapipe==1.2.2``
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE, Layout
from deepprivacy_rt.detectors.blazeface_networks import NMS_IOU
from deepprivacy_rt.types import Image

RECORD = Path(__file__).parent / "pictures" / "mediapipe_faces.json"
NETWORKS = {"blazeface-full-range": FULL_RANGE, "blazeface-short-range": SHORT_RANGE}
THRESHOLD = 0.3
_REPEAT = 10
"""MediaPipe rounds boxes down to whole pixels. So it gets every pixel so many times: it samples one of each, the
network sees the same, and the rounding is finer."""


def pictures(shared: Path) -> list[Path]:
    stills = sorted((shared / "data/eval/stills").glob("*.jpg"))[:6]
    return [*stills, *(shared / f"data/eval/london/{name}_neutral.jpg" for name in ("001", "003"))]


def square(path: Path, size: int) -> Image:
    """Return the middle of a picture, (size, size, 3) uint8 RGB."""
    image = cv2.imread(str(path))
    assert image is not None, path
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    middle = image[top : top + side, left : left + side, ::-1]
    return np.ascontiguousarray(cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def found(model: Path, layout: Layout, image: Image) -> list[dict[str, object]]:
    """Return MediaPipe's faces: score, box (x0, y0, x1, y1) and (6, 2) keypoints in pixels of the square picture."""
    import mediapipe
    from mediapipe.tasks import python as tasks

    options = tasks.vision.FaceDetectorOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(model)),
        min_detection_confidence=THRESHOLD,
        min_suppression_threshold=NMS_IOU,
    )
    large = np.ascontiguousarray(image.repeat(_REPEAT, axis=0).repeat(_REPEAT, axis=1))
    with tasks.vision.FaceDetector.create_from_options(options) as detector:
        faces = detector.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, large)).detections
    told: list[dict[str, object]] = []
    for face in faces:
        box = face.bounding_box
        # Origin and sides were both rounded down: on average half a pixel is missing in each.
        edges = (box.origin_x + 0.5, box.origin_y + 0.5, box.origin_x + box.width + 1, box.origin_y + box.height + 1)
        told.append(
            {
                "score": round(face.categories[0].score, 4),
                "box": [round(edge / _REPEAT, 3) for edge in edges],
                "keypoints": [[round(p.x * layout.size, 3), round(p.y * layout.size, 3)] for p in face.keypoints],
            }
        )
    return told


if __name__ == "__main__":
    from deepprivacy_rt.weights import Weights

    shared, record = Path(__file__).resolve().parents[2] / "shared", {}
    for name, layout in NETWORKS.items():
        model = Weights().path(name)
        record[name] = {path.name: found(model, layout, square(path, layout.size)) for path in pictures(shared)}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
