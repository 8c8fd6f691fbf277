"""Calm faces from frame to frame, on the device: see :mod:`deepprivacy_rt.generators.steady`, whose rules these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators.rest import (
    CONTEXT_CELLS,
    LARGEST_GLEAM,
    Place,
    between,
    is_continued,
    is_still,
    similarity,
)
from deepprivacy_rt.generators.steady import (
    CALM_SECONDS,
    DIFFERENCE_CELLS,
    LARGEST_CHANGE,
    LARGEST_MISFIT,
    OTHER_LEVELS,
    PORTRAYED,
    SAME_LEVELS,
    new_share,
)
from deepprivacy_rt.on_device.cutting import Patches, inverse, sampling_grid
from deepprivacy_rt.on_device.shapes import FaceShape

_WHOLLY = 0.999
"""Part of a cell that is known, from which it is wholly so: weights do not quite add up to 1."""
_STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """What a face at rest is compared with: (3, s, s) and (1, s, s), its patch some frames ago."""

    shape: FaceShape
    image: Tensor
    mask: Tensor
    age: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """The last face of a track: (3, s, s) float32, and whether it was sound, () bool."""

    shape: FaceShape
    face: Tensor
    sound: Tensor
    anchor: _Anchor


class FaceCalmer:
    """Mixes each face with what was made for it in the frame before. For one stream, whose frames come in order."""

    def __init__(self, frame_rate: float, *, portrayed: bool = False) -> None:
        """:param frame_rate: frames per second, above 0. :param portrayed: mouth and eyes are not the network's."""
        self._share, self._calm_share = new_share(frame_rate), new_share(frame_rate, CALM_SECONDS)
        self._portrayed, self._period = portrayed, max(int(PORTRAYED.seconds * frame_rate), 1)
        self._memories: dict[int, _Memory] = {}

    def forget(self) -> None:
        """Mix the next faces with nothing."""
        self._memories = {}

    def calmed(self, faces: Tensor, sound: Tensor, patches: Patches, shapes: Sequence[FaceShape]) -> Tensor:
        """Return the faces with as much of the earlier ones as fits them, (n, 3, s, s), not rounded.

        :param faces: (n, 3, s, s) float32, 0 to 255. :param sound: (n,) bool, False: neither mixed nor remembered.
        :param patches: outside of their mask the new picture counts alone.
        """
        before, self._memories = self._memories, {}
        ways, weights, earlier, was_sound, anchors = [], [], [], [], []
        still = np.zeros(len(shapes), np.bool_)
        for row, shape in enumerate(shapes):
            memory = before.get(shape.track.track_id)
            way, weight = _way(memory, shape, faces.shape[2])
            ways.append(way)
            weights.append(weight)
            anchor = _Anchor(shape, patches.image[row], patches.mask[row])
            if memory is not None and weight:
                still[row] = self._portrayed and _is_still(memory.anchor, shape, faces.shape[2])
            anchors.append((memory.anchor if memory is not None and still[row] else anchor, anchor))
            earlier.append(faces[row] if memory is None or not weight else memory.face)
            was_sound.append(sound[row] if memory is None else memory.sound)
        if any(weights):
            given = torch.tensor(weights, dtype=torch.float32, device=faces.device)
            trusted = given * (sound & torch.stack(was_sound))
            calm = torch.from_numpy(still).to(faces.device)
            if still.any():
                calm = calm & (_gleam([anchor for anchor, _ in anchors], patches, shapes) <= LARGEST_GLEAM)
            faces = self._mixed(faces, _warped(torch.stack(earlier), np.stack(ways)), patches.mask, trusted, calm)
        for shape, face, good, (anchor, new) in zip(shapes, faces, sound, anchors, strict=True):
            kept = replace(anchor, age=anchor.age + 1) if anchor.age < self._period else new
            self._memories[shape.track.track_id] = _Memory(shape, face, good, kept)
        return faces

    def _mixed(self, faces: Tensor, earlier: Tensor, mask: Tensor, weight: Tensor, calm: Tensor) -> Tensor:
        """:param weight: (n,) float32, 0 to 1. :param calm: (n,) bool, whether all that changes is restlessness."""
        difference = faces - earlier
        inside = mask.float()
        mean = (difference * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1)
        weight = weight * (mean.abs().amax(dim=1) <= LARGEST_CHANGE)
        coarse = F.adaptive_avg_pool2d(difference.abs().amax(dim=1, keepdim=True), min(DIFFERENCE_CELLS, mask.shape[2]))
        coarse = F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        coarse = F.max_pool2d(coarse, 3, stride=1, padding=1)
        kept = ((OTHER_LEVELS - coarse) / (OTHER_LEVELS - SAME_LEVELS)).clamp(0, 1) * (1 - self._share)
        kept = torch.where(calm[:, None, None, None], 1 - self._calm_share, kept)
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


def _is_still(anchor: _Anchor, shape: FaceShape, size: int) -> bool:
    was, now = (Place(one.to_patch, one.keypoints, one.track.expression) for one in (anchor.shape, shape))
    return is_still(was, now, size, PORTRAYED.gesture)


def _gleam(anchors: Sequence[_Anchor], patches: Patches, shapes: Sequence[FaceShape]) -> Tensor:
    """Return how much the same places around faces differ from their anchors', (n,) levels; infinite: no place."""
    ways = [inverse(between(one.shape.to_patch, now.to_patch)) for one, now in zip(anchors, shapes, strict=True)]
    mask = torch.stack([one.mask for one in anchors])
    both = torch.cat([torch.stack([one.image for one in anchors]), (~mask).float()], dim=1)
    cells = min(CONTEXT_CELLS, mask.shape[2])
    was, now = (
        F.adaptive_avg_pool2d(one, cells)
        for one in (_warped(both, np.stack(ways)), torch.cat([patches.image, (~patches.mask).float()], dim=1))
    )
    known = ((was[:, 3:] >= _WHOLLY) & (now[:, 3:] >= _WHOLLY)).float()
    count = known.sum(dim=(2, 3))
    change = ((was[:, :3] - now[:, :3]).abs() * known).sum(dim=(2, 3)) / count.clamp(min=1)
    return torch.where(count[:, 0] > 0, change.amax(dim=1), torch.inf)


def _warped(faces: Tensor, ways: np.ndarray) -> Tensor:
    size = faces.shape[2]
    ticks = torch.arange(size, dtype=torch.float32, device=faces.device)
    grid = sampling_grid(ways, ticks, ticks, (size, size))
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
