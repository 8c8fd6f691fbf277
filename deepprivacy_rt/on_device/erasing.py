"""Filling covers on the device: the first thing that is done to a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepprivacy_rt.cropping import COLOR_ROWS, NO_COLOR
from deepprivacy_rt.on_device.shapes import Area, FaceShape


def erase(image: Tensor, cover: Tensor, shapes: Sequence[FaceShape]) -> None:
    """Fill every cover with the mean of the uncovered pixels around it, in place; the fill depends on no other pixel.

    :param image: (h, w, 3) uint8 RGB. :param cover: (h, w) bool, all False; True afterwards where erased.
    """
    height, width = cover.shape
    covers: list[tuple[FaceShape, Area, Tensor]] = []
    for shape in shapes:
        area = shape.area(3.0, width, height)
        if area is not None:
            inside = shape.distance(area, cover.device) <= 0
            area.of(cover).logical_or_(inside)
            covers.append((shape, area, inside))
    for shape, area, inside in covers:
        part = area.of(image)
        part.copy_(torch.where(inside[..., None], _color_around(image, cover, shape), part))


def _color_around(image: Tensor, cover: Tensor, shape: FaceShape) -> Tensor:
    """Return the mean colour, (3,) uint8, of the uncovered pixels around a face; a grey where there are none."""
    height, width = cover.shape
    area = shape.area(0.1 * float(np.ptp(shape.outline[:, 0])) + 2, width, height)
    if area is None:
        return torch.full((3,), NO_COLOR, dtype=torch.uint8, device=image.device)
    step = max(1, (area.y1 - area.y0) // COLOR_ROWS)
    known = ~area.of(cover)[::step]
    # In whole numbers: no order of adding changes the sum.
    total = (area.of(image)[::step] * known[..., None]).sum(dim=(0, 1), dtype=torch.int64)
    count = known.sum(dtype=torch.int64)
    mean = (total.double() / count.clamp(min=1)).round().to(torch.uint8)
    return torch.where(count > 0, mean, torch.full_like(mean, NO_COLOR))
