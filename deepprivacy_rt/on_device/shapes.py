"""Where faces lie in a frame: covers and patches, as tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepprivacy_rt.cropping import unit_outline
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.geometry import RegionGeometry, face_to_frame, to_patch, transform_points
from deepprivacy_rt.types import Affine, FaceTrack, Points

_GROWN = 1.0
"""Frame pixels by which a cover is larger than its shape: the polygon that OpenCV draws reaches as far, rounded."""


@dataclass(frozen=True, slots=True)
class Area:
    """Columns and rows of a frame: left, top, right, bottom, the last two exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    def of(self, picture: Tensor) -> Tensor:
        """Return this part of (h, w, ...), a view."""
        return picture[self.y0 : self.y1, self.x0 : self.x1]

    def pixels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return x (1, w) and y (h, 1) of the pixels' centres, float32."""
        across = torch.arange(self.x0, self.x1, device=device, dtype=torch.float32)
        down = torch.arange(self.y0, self.y1, device=device, dtype=torch.float32)
        return across[None, :], down[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class FaceShape:
    """One face's cover and patch.

    :ivar to_face: (2, 3) frame pixels to face units.
    :ivar unit: frame pixels of a face unit.
    :ivar to_patch: (2, 3) frame pixels to patch pixels.
    :ivar keypoints: (6, 2) float32, patch pixels.
    :ivar outline: (64, 2) float32, frame pixels: the cover without what it is grown by.
    """

    track: FaceTrack
    geometry: RegionGeometry
    to_face: Affine
    unit: float
    to_patch: Affine
    keypoints: Points
    outline: Points

    @classmethod
    def of(cls, track: FaceTrack, geometry: RegionGeometry, size: int) -> FaceShape:
        """:param size: side of the patch. Raises StageError when the track's geometry is degenerate."""
        to_frame = face_to_frame(track.box, track.keypoints)
        in_patch = to_patch(geometry, to_frame, size)
        to_face = np.linalg.inv(np.vstack([to_frame, [0.0, 0.0, 1.0]]))[:2]
        if not (np.isfinite(in_patch).all() and np.isfinite(to_face).all()):
            raise StageError(f"track {track.track_id}: degenerate face geometry")
        outline = transform_points(to_frame, unit_outline(geometry))
        points = transform_points(in_patch, track.keypoints)
        return cls(track, geometry, to_face, math.hypot(*to_frame[:, 0]), in_patch, points, outline)

    @property
    def scale(self) -> float:
        """Patch pixels per frame pixel."""
        return math.hypot(self.to_patch[0, 0], self.to_patch[1, 0])

    def area(self, reach: float, width: int, height: int) -> Area | None:
        """Return the part of a frame within ``reach`` pixels of the outline's bounding box, or None."""
        low, high = self.outline.min(axis=0) - reach, self.outline.max(axis=0) + reach + 1
        x0, y0 = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
        x1, y1 = min(width, math.ceil(high[0])), min(height, math.ceil(high[1]))
        return Area(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def distance(self, area: Area, device: torch.device) -> Tensor:
        """Return (h, w) float32: pixels from the cover's edge outwards, along the line from its centre; 0 inside."""
        x, y = area.pixels(device)
        across, down = (float(row[0]) * x + float(row[1]) * y + float(row[2]) for row in self.to_face)
        down = down - self.geometry.center_y
        grow = _GROWN / self.unit
        n = self.geometry.exponent
        norm = (across.abs() / (self.geometry.half_width + grow)) ** n + (
            down.abs() / (self.geometry.half_height + grow)
        ) ** n
        # The shape is the unit ball of norm ** (1/n): a point at k times its edge has k there.
        outwards = torch.hypot(across, down) * (1 - norm.clamp(min=1e-6) ** (-1 / n))
        return outwards.clamp(min=0) * self.unit
