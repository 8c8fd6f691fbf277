"""A mosaic in place of every face; needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepprivacy_rt.diffusion import diffused
from deepprivacy_rt.types import FacePatch, Image, Replacement


class PixelateGenerator:
    """Replaces every face by a mosaic. Implements :class:`deepprivacy_rt.stages.Generator`.

    Blind, unlike common pixelation, which averages the face itself and can be undone in part (McPherson et al.,
    Defeating Image Obfuscation with Deep Learning, 2016): the blocks take the colours of the surroundings, spread
    inwards, plus noise drawn from the track's identity, which makes the mosaic the same from frame to frame.
    """

    def __init__(self, patch_size: int = 128, blocks: int = 16, noise: float = 10.0, seed: int = 0) -> None:
        """
        :param blocks: blocks along a side of the patch, at most ``patch_size``.
        :param noise: standard deviation of the brightness of a block, 0 to 255.
        :param seed: varies the noise, together with the identity.
        """
        if not 1 <= blocks <= patch_size:
            raise ValueError(f"blocks must lie in 1..{patch_size}, not {blocks}")
        self._patch_size = patch_size
        self._blocks = blocks
        self._noise = noise
        self._seed = seed

    @property
    def patch_size(self) -> int:
        return self._patch_size

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return one replacement for each patch."""
        return [Replacement(patch, self._paint(patch)) for patch in patches]

    def _paint(self, patch: FacePatch) -> Image:
        size, blocks = patch.image.shape[0], self._blocks
        known = (~patch.mask).astype(np.float32)
        colors = diffused(patch.image.astype(np.float32), known, blocks)
        if colors is None:
            colors = np.full((blocks, blocks, 3), 128.0, dtype=np.float32)
        random = np.random.default_rng((self._seed, patch.track.identity))
        noisy = colors + random.normal(0.0, self._noise, (blocks, blocks, 1))
        small = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
        mosaic = cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST)
        return np.where(patch.mask[..., None], mosaic, patch.image)
