"""Face recognition for the audit: alignment, embeddings, and the threshold at a false accept rate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError, UsageError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork
from deepprivacy_rt.types import Affine, Image, Points

Embedding: TypeAlias = NDArray[np.float32]
"""(d,) float32 of length 1; the dot product of two is their similarity, -1 to 1."""

INPUT_SIDE = 112
TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], dtype=np.float64)
"""Where right eye, left eye, nose tip and mouth corners lie in the aligned picture (ArcFace, Deng et al. 2019)."""


class Recogniser:
    """A network that maps an aligned face to a vector: RGB 0 to 255, (1, 3, 112, 112) float32 in, (1, d) out.

    :param model: an ONNX file such as MobileFace. Evaluation only; none is shipped with this package.

    Raises EnvironmentProblem without OpenVINO, WeightsError for a file that is missing or unreadable.
    """

    def __init__(self, model: Path) -> None:
        self._network = OpenVinoNetwork(model)
        self.model = model
        self.sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        shapes = self._network.input_shapes
        if len(shapes) != 1 or shapes[0][1:] != (3, INPUT_SIDE, INPUT_SIDE):
            raise UsageError(f"{model}: takes {shapes}, not one 3x112x112 picture; cure: give a MobileFace ONNX file")

    def embed(self, image: Image, points: Points) -> Embedding:
        """Return the vector of the face at ``points`` ((5, 2), see ``Face``). Raises StageError."""
        return self.embed_aligned(align(image, points))

    def embed_aligned(self, picture: Image) -> Embedding:
        """Return the vector of an aligned picture, (112, 112, 3) RGB. Raises StageError."""
        blob = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        vector = np.asarray(self._network.infer([blob])[0][0], np.float32)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise StageError(f"{self.model.name}: the recogniser returned a vector without direction")
        return np.asarray(vector / np.float32(length), np.float32)


def align(image: Image, points: Points, side: int = INPUT_SIDE) -> Image:
    """Return the face at ``points``, turned and scaled onto the template: (side, side, 3) RGB."""
    transform = similarity_to_template(points) * (side / INPUT_SIDE)
    flags = cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, transform, (side, side), flags=flags), np.uint8)


def similarity_to_template(points: Points) -> Affine:
    """Return the rotation, scale and shift, (2, 3), that brings ``points`` nearest to ``TEMPLATE`` (least squares)."""
    source = points.astype(np.float64)
    rows = []
    for x, y in source:
        rows += [(x, -y, 1.0, 0.0), (y, x, 0.0, 1.0)]
    (a, b, dx, dy), *_ = np.linalg.lstsq(np.array(rows), TEMPLATE.ravel(), rcond=None)
    return np.array([[a, -b, dx], [b, a, dy]])


def threshold_at_far(impostor_similarities: Sequence[float] | NDArray[np.floating], far: float) -> float:
    """Return the lowest threshold at which at most the share ``far`` of different people is taken for the same.

    A pair counts as the same person when its similarity is above the threshold (greater, not equal).

    :param impostor_similarities: similarities of pairs of different people.
    :param far: false accept rate, 0 to 1 (exclusive).

    Raises ValueError with fewer than 1 / far pairs: such a rate cannot be read from them.
    """
    values = np.sort(np.asarray(impostor_similarities, np.float64))[::-1]
    if not 0 < far < 1 or len(values) * far < 1 - 1e-9:
        raise ValueError(f"a false accept rate of {far:g} cannot be read from {len(values)} pairs")
    allowed = int(np.floor(len(values) * far + 1e-9))
    return float(values[allowed])


def impostor_similarities(embeddings: Sequence[Embedding]) -> NDArray[np.float64]:
    """Return the similarities of all pairs of ``embeddings``, one for each person."""
    vectors = np.stack(embeddings).astype(np.float64)
    return np.asarray((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
