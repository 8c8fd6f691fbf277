"""BlazeFace over frames on a device: pictures are shrunk, looked at in one batch and sifted where they lie."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.detectors.blazeface import Effort, views_of
from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE
from deepprivacy_rt.detectors.blazeface_torch import TorchBlazeFace
from deepprivacy_rt.detectors.candidates import Candidates, merge_views, to_detections
from deepprivacy_rt.detectors.second_look import SecondLook
from deepprivacy_rt.detectors.tiling import Letterbox, placed
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.types import Detection, Frame


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
