"""BlazeFace on one square picture, through OpenVINO or through PyTorch: same pictures in, same faces out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from deepprivacy_rt.detectors.blazeface_decoding import Layout, decode
from deepprivacy_rt.detectors.candidates import Candidates, weighted_nms
from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, Precision, is_installed
from deepprivacy_rt.types import Image

Backend: TypeAlias = Literal["auto", "openvino", "torch"]

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
    """Load a BlazeFace file. ``auto`` takes OpenVINO where it is installed, else PyTorch.

    Raises EnvironmentProblem when the backend asked for is not installed, WeightsError for an unreadable file.
    """
    if backend == "openvino" or (backend == "auto" and is_installed()):
        return OpenVinoBlazeFace(model, layout, threshold, precision)
    import torch

    from deepprivacy_rt.detectors.blazeface_torch import TorchBlazeFace

    return TorchBlazeFace(model, layout, threshold, torch.device("cpu"))


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
