"""Shutting the eyes of a picture: the skin above an eye is drawn over it, as a lid is.

No training picture has shut eyes. A face that the generator drew with open ones is a picture like any other, and where
its lids are, Face Mesh tells: so shut eyes can be made, for a pupil to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.geometry import RegionGeometry, transform_points
from deepprivacy_rt.portraits.lids import EYES
from deepprivacy_rt.training.following import face_box
from deepprivacy_rt.types import Image, Points

_BROWS = (52, 65), (282, 295)
"""The lower edges of the right and the left brow, by Face Mesh's numbers."""
_BESIDE = 0.3
"""Lengths of the eye beside its corners over which the skin still gives way."""
_BELOW = 0.12
"""Lengths of the eye by which a shut upper lid reaches below the lower one: an eye of few pixels is dark beyond it."""
_LASHES = 0.06
"""Lengths of the eye above the upper lid's points from which on it is skin that comes down, not the eye's own dark."""
_LEAST_LENGTH = 5.0
"""Pixels of an eye; of a shorter one (in profile) nothing is known."""


def shut_lids(picture: Image, points: Points, closing: Sequence[float]) -> Image:
    """Return a picture whose upper lids are lower by a part of the way to the lower ones.

    :param picture: (h, w, 3) uint8, upright.
    :param points: (468, 2) pixels, Face Mesh's.
    :param closing: for the right and the left eye, 0 (as it is) to 1 (shut).
    """
    result = picture
    for (upper, lower), brow, part in zip(EYES, _BROWS, closing, strict=True):
        if part > 0:
            result = _lowered(
                result, points[list(upper)], points[list(lower)], float(points[list(brow), 1].mean()), part
            )
    return result


def _lowered(picture: Image, upper: Points, lower: Points, brow: float, part: float) -> Image:
    """Return the picture with one upper lid lowered."""
    begin, end = sorted((float(upper[0, 0]), float(upper[-1, 0])))
    length = end - begin
    if length < _LEAST_LENGTH:
        return picture
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    x = columns[0]
    above, below = (_along(x, line) for line in (upper, lower))
    above -= _LASHES * length
    inside = np.clip(np.minimum(x - begin, end - x) / (_BESIDE * length) + 1.0, 0.0, 1.0)
    lid = above + part * inside * (np.maximum(below + _BELOW * length, above) - above)
    # The brow stays where it is; what lies between it and the lid is stretched.
    top = np.minimum(np.full_like(x, brow), above - 0.25 * length)
    source = top + (rows - top) * (above - top) / np.maximum(lid - top, 1e-3)
    stretched = cv2.remap(picture, columns, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = np.where((rows > top) & (inside > 0), np.clip(lid - rows + 0.5, 0.0, 1.0), 0.0)[..., None]
    return np.asarray(np.rint(share * stretched + (1 - share) * picture), np.uint8)


def _along(x: NDArray[np.float32], line: Points) -> NDArray[np.float32]:
    ordered = line[np.argsort(line[:, 0])]
    return np.interp(x, ordered[:, 0], ordered[:, 1]).astype(np.float32)


class LidCloser:
    """Lowers the lids of generated faces to what they were told. :param mesh: finds the eyes."""

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh

    def close(self, faces: Tensor, keypoints: Tensor, told: Tensor, region: RegionGeometry) -> Tensor:
        """Return the faces with their lids as far down as told, where these are higher; others as they are.

        :param faces: (n, 3, s, s) patches in -1..1, surroundings included.
        :param keypoints: (n, 6, 2), -1..1 over the patch.
        :param told: (n, 3) openings, as in ``Expression``.
        """
        size = faces.shape[-1]
        pictures = ((faces.detach().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        places = ((keypoints.detach().cpu().numpy() + 1) * (size / 2) - 0.5).astype(np.float32)
        result = faces.clone()
        for row, picture in enumerate(pictures):
            changed = self._closed(np.ascontiguousarray(picture), places[row], told[row].tolist(), region)
            if changed is not None:
                result[row] = torch.from_numpy(changed).permute(2, 0, 1).to(faces) / 127.5 - 1
        return result

    def _closed(self, picture: Image, places: Points, told: Sequence[float], region: RegionGeometry) -> Image | None:
        way = crop_of(face_box(len(picture), region), places)
        try:
            mesh = self._mesh.points(picture, way)
        except StageError:
            return None
        now = to_expression(openings(mesh)).openings
        closing = [_part(open_, want) for open_, want in zip(now[1:], told[1:], strict=True)]
        if not any(closing):
            return None
        back = np.linalg.inv(np.vstack([way, [0.0, 0.0, 1.0]]))[:2]
        return shut_lids(picture, transform_points(back, mesh[:, :2]), closing)


def _part(now: float, wanted: float) -> float:
    """Return by how much of its way a lid has to go down."""
    return min(max(1.0 - wanted / max(now, 1e-3), 0.0), 1.0)
