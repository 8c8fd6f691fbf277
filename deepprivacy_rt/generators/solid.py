"""A plain colour in place of every face; needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepprivacy_rt.types import FacePatch, Image, Replacement

_UNKNOWN = (128, 128, 128)


class SolidGenerator:
    """Replaces every face by one colour. Implements :class:`deepprivacy_rt.stages.Generator`.

    Blind: the colour is given, or the mean of the patch's known pixels; no pixel of a face has a part in it.
    """

    def __init__(self, patch_size: int = 128, color: tuple[int, int, int] | None = None) -> None:
        """:param color: RGB, 0 to 255; None takes the mean of the surroundings."""
        self._patch_size = patch_size
        self._color = color

    @property
    def patch_size(self) -> int:
        return self._patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return one replacement for each patch."""
        return [Replacement(patch, self._paint(patch)) for patch in patches]

    def _paint(self, patch: FacePatch) -> Image:
        image = np.array(patch.image)
        image[patch.mask] = self._color if self._color is not None else _mean(patch)
        return image


def _mean(patch: FacePatch) -> tuple[int, int, int]:
    known = patch.image[~patch.mask]
    if not len(known):
        return _UNKNOWN
    red, green, blue = np.round(known.mean(axis=0)).astype(int).tolist()
    return red, green, blue
