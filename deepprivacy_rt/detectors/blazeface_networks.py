"""BlazeFace on one square picture, through OpenVINO or through mediapipe: same pictures in, same faces out."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from deepprivacy_rt.detectors.blazeface_decoding import Layout, decode
from deepprivacy_rt.detectors.candidates import Candidates, weighted_nms
from deepprivacy_rt.errors import EnvironmentProblem, StageError, WeightsError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, Precision, is_installed
from deepprivacy_rt.types import Image

Backend: TypeAlias = Literal["auto", "openvino", "mediapipe"]

NMS_IOU = 0.3
"""MediaPipe's value for both ranges."""


class SquareDetector(Protocol):
    """Finds faces in one letterboxed picture."""

    def find(self, image: Image) -> Candidates:
        """Find faces.

        :param image: (size, size, 3) uint8 RGB, as the layout asks.
        :return: one row per face, in pixels of the picture, counted from its edge.

        Raises StageError when the inference fails.
        """
        ...


def open_network(
    model: Path, layout: Layout, threshold: float, backend: Backend, precision: Precision
) -> SquareDetector:
    """Load a BlazeFace file. ``auto`` takes OpenVINO where it is installed, else mediapipe.

    Raises EnvironmentProblem when the backend asked for is not installed, WeightsError for an unreadable file.
    """
    if backend == "openvino" or (backend == "auto" and is_installed()):
        return OpenVinoBlazeFace(model, layout, threshold, precision)
    return MediaPipeBlazeFace(model, layout, threshold)


class OpenVinoBlazeFace:
    """Runs the network on OpenVINO and decodes its output here. Safe to share between threads."""

    def __init__(self, model: Path, layout: Layout, threshold: float, precision: Precision) -> None:
        self._network = OpenVinoNetwork(model, precision=precision)
        self._anchors = layout.anchors()
        self._threshold = threshold
        expected = [(1, len(self._anchors), 16), (1, len(self._anchors), 1)]
        if self._network.output_shapes != expected:
            raise WeightsError(f"{model}: not a BlazeFace network for {layout.size} px: {self._network.output_shapes}")

    def find(self, image: Image) -> Candidates:
        """See :class:`SquareDetector`."""
        raw, logits = self._network.infer([image[None].astype(np.float32) / np.float32(127.5) - np.float32(1)])
        return weighted_nms(decode(raw[0], logits[0, :, 0], self._anchors, self._threshold), NMS_IOU)


class MediaPipeBlazeFace:
    """Runs network and decoding in mediapipe's Tasks API. One call at a time; safe to share between threads."""

    _SIDE = 2048
    """mediapipe rounds boxes down to whole pixels. So it gets every pixel repeated, up to this side of the picture: it
    samples one of each, the network sees the same input, and the rounding is 10 to 16 times finer. Boxes are then the
    same as through OpenVINO within a pixel of frames up to 1280 px, and in proportion in larger ones. What remains:
    mediapipe moves boxes that begin outside of the picture into it."""

    def __init__(self, model: Path, layout: Layout, threshold: float) -> None:
        try:
            import mediapipe
            from mediapipe.tasks import python as tasks
        except ImportError as error:
            raise EnvironmentProblem("mediapipe is not installed; cure: pip install mediapipe") from error
        if not model.is_file():
            raise WeightsError(f"{model}: no such model file; cure: deepprivacy-rt weights fetch")
        options = tasks.vision.FaceDetectorOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)),
            min_detection_confidence=threshold,
            min_suppression_threshold=NMS_IOU,
        )
        self._mediapipe = mediapipe
        self._size = np.float32(layout.size)
        self._repeat = self._SIDE // layout.size
        self._lock = threading.Lock()
        try:
            self._detector = tasks.vision.FaceDetector.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"{model}: mediapipe cannot load it: {error}") from error
        _own_closing(self, self._detector)

    def find(self, image: Image) -> Candidates:
        """See :class:`SquareDetector`."""
        large = np.ascontiguousarray(image.repeat(self._repeat, axis=0).repeat(self._repeat, axis=1))
        try:
            with self._lock:
                picture = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=large)
                faces = self._detector.detect(picture).detections
        except Exception as error:
            raise StageError(f"face detector: mediapipe failed: {error}") from error
        return self._rows(faces)

    def _rows(self, faces: list[Any]) -> Candidates:
        boxes = np.zeros((len(faces), 4), np.float32)
        for row, face in zip(boxes, faces, strict=True):
            box = face.bounding_box
            # Origin and sides were both rounded down: on average half a pixel is missing in each.
            row[:] = (
                box.origin_x + 0.5,
                box.origin_y + 0.5,
                box.origin_x + box.width + 1,
                box.origin_y + box.height + 1,
            )
        keypoints = [[(point.x, point.y) for point in face.keypoints] for face in faces]
        return Candidates(
            boxes / np.float32(self._repeat),
            np.array(keypoints, np.float32).reshape(-1, 6, 2) * self._size,
            np.array([face.categories[0].score for face in faces], np.float32),
            np.zeros(len(faces), np.bool_),
        )


def _own_closing(owner: object, detector: Any) -> None:
    """Close a mediapipe detector when its owner goes, and never from mediapipe's own finalizer.

    When the garbage collector runs that one, it may wait for ever for the detector's worker thread, which the
    collector took away first (google-ai-edge/mediapipe issue 6233); and it fails at exit, when nothing needs closing.
    """

    class Unfinalized(type(detector)):  # type: ignore[misc]  # mediapipe has no types
        def __del__(self) -> None:
            pass

    detector.__class__ = Unfinalized
    weakref.finalize(owner, detector.close).atexit = False
