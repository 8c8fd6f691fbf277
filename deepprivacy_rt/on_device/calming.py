"""Calm faces from frame to frame, on the device: see :mod:`deepprivacy_rt.generators.steady`, whose rules these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.steady import (
    DIFFERENCE_CELLS,
    LARGEST_CHANGE,
    LARGEST_MISFIT,
    OTHER_LEVELS,
    SAME_LEVELS,
    is_continued,
    new_share,
    similarity,
)
from deepprivacy_rt.on_device.cutting import inverse, sampling_grid
from deepprivacy_rt.on_device.shapes import FaceShape

_STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """The last face of a track: (3, s, s) float32, and whether it was sound, () bool."""

    shape: FaceShape
    face: Tensor
    sound: Tensor


class FaceCalmer:
    """Mixes each face with what was made for it in the frame before. For one stream, whose frames come in order."""

    def __init__(self, frame_rate: float) -> None:
        """:param frame_rate: frames per second, above 0."""
        self._share = new_share(frame_rate)
        self._memories: dict[int, _Memory] = {}

    def forget(self) -> None:
        """Mix the next faces with nothing."""
        self._memories = {}

    def calmed(self, faces: Tensor, sound: Tensor, mask: Tensor, shapes: Sequence[FaceShape]) -> Tensor:
        """Return the faces with as much of the earlier ones as fits them, (n, 3, s, s), not rounded.

        :param faces: (n, 3, s, s) float32, 0 to 255. :param sound: (n,) bool, False: neither mixed nor remembered.
        :param mask: (n, 1, s, s) bool: outside of it the new picture counts alone.
        """
        before, self._memories = self._memories, {}
        ways, weights, earlier, was_sound = [], [], [], []
        for row, shape in enumerate(shapes):
            memory = before.get(shape.track.track_id)
            way, weight = _way(memory, shape, faces.shape[2])
            ways.append(way)
            weights.append(weight)
            earlier.append(faces[row] if memory is None or not weight else memory.face)
            was_sound.append(sound[row] if memory is None else memory.sound)
        if any(weights):
            given = torch.tensor(weights, dtype=torch.float32, device=faces.device)
            trusted = given * (sound & torch.stack(was_sound))
            faces = self._mixed(faces, _warped(torch.stack(earlier), np.stack(ways)), mask, trusted)
        for shape, face, good in zip(shapes, faces, sound, strict=True):
            self._memories[shape.track.track_id] = _Memory(shape, face, good)
        return faces

    def _mixed(self, faces: Tensor, earlier: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        """:param weight: (n,) float32, 0 to 1."""
        difference = faces - earlier
        inside = mask.float()
        mean = (difference * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1)
        weight = weight * (mean.abs().amax(dim=1) <= LARGEST_CHANGE)
        coarse = F.adaptive_avg_pool2d(difference.abs().amax(dim=1, keepdim=True), min(DIFFERENCE_CELLS, mask.shape[2]))
        coarse = F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        coarse = F.max_pool2d(coarse, 3, stride=1, padding=1)
        kept = ((OTHER_LEVELS - coarse) / (OTHER_LEVELS - SAME_LEVELS)).clamp(0, 1) * (1 - self._share)
        share = F.interpolate(kept, mask.shape[2:], mode="bilinear", align_corners=False)
        return faces - difference * (share * inside * weight[:, None, None, None])


def _way(memory: _Memory | None, shape: FaceShape, size: int) -> tuple[np.ndarray, float]:
    """Return the map from new patch pixels to earlier ones, and how much the earlier face counts, 0 to 1."""
    if memory is None or not is_continued(memory.shape.track, shape.track):
        return _STILL, 0.0
    way, misfit = similarity(memory.shape.keypoints, shape.keypoints)
    if not misfit < LARGEST_MISFIT * size or abs(np.linalg.det(way[:, :2])) < 1e-9:
        return _STILL, 0.0
    return inverse(way), 1.0 - misfit / (LARGEST_MISFIT * size)


def _warped(faces: Tensor, ways: np.ndarray) -> Tensor:
    size = faces.shape[2]
    ticks = torch.arange(size, dtype=torch.float32, device=faces.device)
    grid = sampling_grid(ways, ticks, ticks, (size, size))
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
