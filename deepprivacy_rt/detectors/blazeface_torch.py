"""BlazeFace on square pictures in PyTorch, on any device, in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepprivacy_rt.detectors.blazeface_decoding import Layout, decode
from deepprivacy_rt.detectors.blazeface_networks import NMS_IOU
from deepprivacy_rt.detectors.candidates import Candidates, Floats, weighted_nms
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.runtimes.tflite_torch import TorchTflite
from deepprivacy_rt.types import Image

_MOST_ROWS = 512
"""Findings of one view that are copied back, before overlapping ones are joined: about 20 belong to one face."""


class TorchBlazeFace:
    """Runs one network on a device. A :class:`deepprivacy_rt.detectors.blazeface_networks.SquareDetector`.

    :param model: the ``.tflite`` file.

    Raises WeightsError for a file that cannot be read or is another network.
    """

    def __init__(self, model: Path, layout: Layout, threshold: float, device: torch.device) -> None:
        self._network = TorchTflite(model).to(device)
        self._anchors = layout.anchors()
        self._threshold = threshold
        self._device = device
        self.size = layout.size
        probe = self._network(torch.zeros(1, 3, layout.size, layout.size, device=device))
        expected = [(1, len(self._anchors), 16), (1, len(self._anchors), 1)]
        if [tuple(output.shape) for output in probe] != expected:
            raise WeightsError(f"{model}: not a BlazeFace network for {layout.size} px")

    def find(self, image: Image) -> Candidates:
        """See :class:`deepprivacy_rt.detectors.blazeface_networks.SquareDetector`."""
        return self.find_all(torch.tensor(image, device=self._device).permute(2, 0, 1)[None].float())[0]

    @torch.inference_mode()
    def find_all(self, pictures: Tensor) -> list[Candidates]:
        """Find faces in a batch.

        :param pictures: (n, 3, size, size) float32, 0 to 255, on the device.
        :return: for each, one row per face, in pixels of the picture, counted from its edge.

        Raises StageError when the device fails.
        """
        try:
            raw, logits = self._network(pictures * (1 / 127.5) - 1)
            # The best ones only, in one copy; what is no number counts as best, and is refused later.
            best, rows = logits[..., 0].topk(min(_MOST_ROWS, logits.shape[1]), dim=1)
            picked = raw.gather(1, rows[..., None].expand(-1, -1, raw.shape[2]))
            table = torch.cat([picked, best[..., None], rows[..., None].float()], dim=2).cpu().numpy()
        except RuntimeError as error:
            raise StageError(f"face detector: {str(error).splitlines()[0]}") from error
        return [self._decoded(part) for part in table]

    def _decoded(self, table: Floats) -> Candidates:
        anchors = self._anchors[table[:, 17].astype(np.intp)]
        return weighted_nms(decode(table[:, :16], table[:, 16], anchors, self._threshold), NMS_IOU)
