"""YuNet: slower per pass than BlazeFace, but finds small, turned and half-hidden faces. Needs OpenVINO.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023); the network file comes from
ShiqiYu/libfacedetection.train, is downloaded by the user, and takes any input size that is a multiple of 32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepprivacy_rt.detectors.candidates import Candidates, Floats, merge_views, to_detections, weighted_nms
from deepprivacy_rt.detectors.tiling import View, letterbox, whole
from deepprivacy_rt.detectors.yunet_convention import to_blazeface
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, Precision
from deepprivacy_rt.types import Detection, Frame, Image

_STRIDES = (8, 16, 32)
_OUTPUTS = tuple(f"{what}_{stride}" for stride in _STRIDES for what in ("cls", "obj", "bbox", "kps"))
_NMS_IOU = 0.3


class YuNetDetector:
    """Implements :class:`deepprivacy_rt.stages.Detector`; may be shared between threads.

    :param model: file ``yunet_n_dynamic.onnx``.
    :param threshold: lowest score of a detection.
    :param long_side: the frame is resized so that its long side has about so many pixels.

    Raises EnvironmentProblem without OpenVINO, WeightsError for a file that is unreadable or another network.
    """

    def __init__(
        self, model: Path, *, threshold: float = 0.3, long_side: int = 640, precision: Precision = "f32"
    ) -> None:
        if long_side < 32 or not 0 < threshold < 1:
            raise ValueError(f"long_side must be at least 32 and threshold in 0..1, not {long_side} and {threshold}")
        self._network = OpenVinoNetwork(model, precision=precision)
        self._order = [self._network.output_index(name) for name in _OUTPUTS]
        self._threshold = threshold
        self._long_side = long_side

    def detect(self, frame: Frame) -> list[Detection]:
        """Return every face with a score of at least the threshold, best first; mouth and ears are estimated.

        Raises StageError when an inference fails or returns values that are not finite.
        """
        height, width = frame.image.shape[:2]
        found = [self._find(frame.image, view) for view in whole(width, height)]
        return to_detections(merge_views(Candidates.join(found)))

    def raw(self, image: Image) -> tuple[Floats, Floats, Floats]:
        """Return what the network says of a whole picture, in YuNet's own convention, overlaps not suppressed.

        :param image: (h, w, 3) uint8 RGB.
        :return: boxes (n, 4), points (n, 5, 2) (right eye, left eye, nose tip, right and left corner of the mouth),
            both in pixels, and scores (n,).
        """
        height, width = image.shape[:2]
        picture, box = letterbox(image, View(0, 0, width, height), self._input_size(width, height))
        boxes, points, scores = self._infer(picture)
        return box.points(boxes.reshape(-1, 2, 2)).reshape(-1, 4), box.points(points), scores

    def _find(self, image: Image, view: View) -> Candidates:
        picture, box = letterbox(image, view, self._input_size(view.x1 - view.x0, view.y1 - view.y0))
        found = weighted_nms(to_blazeface(*self._infer(picture)), _NMS_IOU)
        return box.to_frame(found, (image.shape[1], image.shape[0]))

    def _input_size(self, width: int, height: int) -> tuple[int, int]:
        factor = self._long_side / max(width, height)
        return max(32, round(width * factor / 32) * 32), max(32, round(height * factor / 32) * 32)

    def _infer(self, picture: Image) -> tuple[Floats, Floats, Floats]:
        bgr = np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
        outputs = self._network.infer([bgr])
        return decode([outputs[i][0] for i in self._order], (picture.shape[1], picture.shape[0]), self._threshold)


def decode(outputs: list[Floats], size: tuple[int, int], threshold: float) -> tuple[Floats, Floats, Floats]:
    """Read the network's output.

    :param outputs: for the strides 8, 16 and 32 each: class scores (n, 1), objectness (n, 1), boxes (n, 4), keypoints
        (n, 10); float32; n cells, row by row.
    :param size: width and height of the input in pixels.
    :param threshold: lowest score to keep.
    :return: as :meth:`YuNetDetector.raw`, in input pixels on pixel edges.
    """
    parts = []
    for level, stride in enumerate(_STRIDES):
        cls, obj, box, points = outputs[4 * level : 4 * level + 4]
        columns, rows = size[0] // stride, size[1] // stride
        if len(cls) != columns * rows:
            raise StageError(f"YuNet returned {len(cls)} cells of {stride} px for an input of {size[0]}×{size[1]} px")
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        # Written so that a score that is no number is kept, and refused later, instead of silently meaning "no face".
        keep = ~(scores < threshold)
        centre = (cells[keep] + box[keep, :2]) * stride
        half = np.exp(box[keep, 2:]) * stride / 2
        spots = (points[keep].reshape(-1, 5, 2) + cells[keep][:, None]) * stride
        parts.append((np.concatenate([centre - half, centre + half], axis=1), spots, scores[keep]))
    boxes, spots, scores = (np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True))
    return boxes, spots, scores
