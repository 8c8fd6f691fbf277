"""Which portraits go with some surroundings: a small network that was taught which face belongs in which.

It sees what a generator sees, at 16 pixels, and tells what the face in the middle is likely to look like, as
coordinates among the looks of portraits. No attribute of anybody is named, in training or here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.types import FacePatch

SIDE = 16
STRIDES = (1, 2, 2)
"""Of its 3×3 convolutions."""
PREFIX = "match."


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """Three convolutions, two layers, and the looks of a bank's portraits.

    :ivar convolutions: weights (outputs, inputs, 3, 3) and biases (outputs,).
    :ivar layers: weights (outputs, inputs) and biases. :ivar looks: (n, q), of each portrait.
    """

    convolutions: tuple[tuple[Floats, Floats], ...]
    layers: tuple[tuple[Floats, Floats], ...]
    looks: Floats

    def scores(self, patch: FacePatch) -> Floats:
        """Return how well each portrait goes with what surrounds a face, (n,): the larger, the better."""
        x = seen(patch)
        for (weight, bias), stride in zip(self.convolutions, STRIDES, strict=True):
            x = np.maximum(_convolved(x, weight, stride) + bias[:, None, None], 0)
        flat = x.ravel()
        (hidden, offset), (last, end) = self.layers
        flat = last @ np.maximum(hidden @ flat + offset, 0) + end
        return np.asarray(self.looks @ flat, np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return all of it by name, for a file."""
        parts = {"looks": self.looks}
        for kind, pairs in (("convolution", self.convolutions), ("layer", self.layers)):
            for number, (weight, bias) in enumerate(pairs):
                parts |= {f"{kind}{number}.weight": weight, f"{kind}{number}.bias": bias}
        return {PREFIX + name: part.astype(np.float16) for name, part in parts.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Matcher:
        """Read what ``tensors`` returned. Raises KeyError."""

        def pairs(kind: str, count: int) -> tuple[tuple[Floats, Floats], ...]:
            return tuple((part(f"{kind}{n}.weight"), part(f"{kind}{n}.bias")) for n in range(count))

        def part(name: str) -> Floats:
            return np.asarray(tensors[PREFIX + name], np.float32)

        return cls(pairs("convolution", len(STRIDES)), pairs("layer", 2), part("looks"))


def seen(patch: FacePatch) -> Floats:
    """Return the surroundings and the mask as the network sees them, (4, SIDE, SIDE): -1 to 1, 0 under the mask."""
    known = (~patch.mask).astype(np.float32)
    image = (patch.image.astype(np.float32) / 127.5 - 1) * known[..., None]
    whole = cv2.resize(np.dstack([image, 1 - known]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(whole.transpose(2, 0, 1), np.float32)


def _convolved(x: Floats, weight: Floats, stride: int) -> Floats:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    return np.asarray(np.einsum("oiyx,ihwyx->ohw", weight, windows, optimize=True), np.float32)
