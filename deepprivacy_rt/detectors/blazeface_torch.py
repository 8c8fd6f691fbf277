"""BlazeFace in PyTorch: pictures are shrunk, looked at in one batch and sifted where they lie."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.detectors.blazeface import Effort, views_of
from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE, Layout, decode
from deepprivacy_rt.detectors.blazeface_networks import NMS_IOU
from deepprivacy_rt.detectors.candidates import Candidates, Floats, merge_views, to_detections, weighted_nms
from deepprivacy_rt.detectors.second_look import SecondLook
from deepprivacy_rt.detectors.tiling import Letterbox, placed
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.runtimes.tflite_torch import TorchTflite
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.types import Detection, Frame, Image

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


class DeviceBlazeFaceDetector:
    """Does what :class:`deepprivacy_rt.detectors.blazeface.BlazeFaceDetector` does, with frames on a device: all views
    of a frame are one batch there. Implements :class:`deepprivacy_rt.stages.Detector`; may be shared between threads.

    Doubtful faces are looked at again one by one, from the frame in memory: they are few.

    :param uploads: shared with what replaces the faces, so that a frame travels once.

    Raises WeightsError.
    """

    def __init__(
        self,
        full_range: Path,
        short_range: Path,
        uploads: Uploads,
        *,
        effort: Effort = "balanced",
        threshold: float = 0.2,
    ) -> None:
        self._effort: Effort = effort
        self._uploads = uploads
        self._full = TorchBlazeFace(full_range, FULL_RANGE, threshold, uploads.device)
        self._short = TorchBlazeFace(short_range, SHORT_RANGE, threshold, uploads.device)
        self._second_look = SecondLook(self._full, self._short)

    def with_effort(self, effort: Effort) -> DeviceBlazeFaceDetector:
        """Return a detector with another effort that shares this one's networks."""
        other = copy.copy(self)
        other._effort = effort
        return other

    def detect(self, frame: Frame) -> list[Detection]:
        """Return every face with a score of at least the threshold, best first.

        Raises StageError when the device fails or returns values that are not finite.
        """
        found = merge_views(Candidates.join(list(self._look(frame))))
        return to_detections(self._second_look.rescored(frame.image, found))

    def _look(self, frame: Frame) -> Iterator[Candidates]:
        height, width = frame.image.shape[:2]
        picture = self._uploads.of(frame.image)
        for network, views in zip((self._full, self._short), views_of(self._effort, width, height), strict=True):
            if views:
                boxes = [placed(view, (network.size, network.size)) for view in views]
                batch = torch.stack([_letterboxed(picture, box, network.size) for box in boxes])
                for box, found in zip(boxes, network.find_all(batch), strict=True):
                    yield box.to_frame(found, (width, height))


@torch.inference_mode()
def _letterboxed(picture: Tensor, box: Letterbox, size: int) -> Tensor:
    """Return (3, size, size) float32, 0 to 255: what :func:`tiling.letterbox` returns, on the device."""
    view = box.view
    part = picture[view.y0 : view.y1, view.x0 : view.x1].permute(2, 0, 1)[None].float()
    width, height = box.inner
    resized = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)[0].round_()
    left, top = box.offset
    margins = (left, size - left - width, top, size - top - height)
    return F.pad(resized.flip(2) if view.mirrored else resized, margins)
