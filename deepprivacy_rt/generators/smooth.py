"""What surrounds a cover spread over it, in place of what may be no face; needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepprivacy_rt.diffusion import diffused
from deepprivacy_rt.types import FacePatch, Image, Replacement

CELLS = 24
"""Side of the grid on which colours are spread."""
STEPS = 40
"""Times that unknown cells become the mean of those about them: spread colours meet in the middle, and form an edge."""
UNKNOWN = 128
"""Grey level where nothing around is known."""


class SmoothGenerator:
    """Lets the surroundings run into the cover. Implements :class:`deepprivacy_rt.stages.Generator`.

    On hair, a wall or leaves that is a soft spot, where one colour would be a disc. Blind: only known pixels count.

    :param patch_size: side of the patches in pixels.
    """

    def __init__(self, patch_size: int = 128) -> None:
        self._patch_size = patch_size

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return one replacement for each patch."""
        return [Replacement(patch, _painted(patch)) for patch in patches]


def _painted(patch: FacePatch) -> Image:
    known = (~patch.mask).astype(np.float32)
    values, cells = patch.image.astype(np.float32) * known[..., None], min(CELLS, len(known))
    colors = diffused(values, known, cells)
    if colors is None:
        return np.full_like(patch.image, UNKNOWN)
    held = cv2.resize(known, (cells, cells), interpolation=cv2.INTER_AREA)[..., None] > 0
    own = colors
    for _ in range(STEPS):
        colors = np.where(held, own, cv2.blur(colors, (3, 3), borderType=cv2.BORDER_REPLICATE))
    wide = cv2.resize(colors, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(patch.mask[..., None], np.rint(wide).astype(np.uint8), patch.image)
