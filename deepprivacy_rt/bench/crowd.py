"""What is shown to the anonymizer: a few prepared frames that can be played for ever, and where their faces are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.letterbox import letterbox
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.types import Box, Image, Points

MOST_BYTES = 200 << 20
"""Memory for prepared frames."""
_FRAMES, _CLIP_FRAMES = 30, 300
_TILE = 192
_FACE_BOX = (49.6, 38.0, 143.6, 167.9)
_FACE_POINTS = ((68.7, 94.4), (113.0, 89.8), (90.7, 120.5), (76.3, 134.8), (117.2, 131.5))
"""Of ``face.jpg``, in its pixels: eyes, nose, corners of the mouth."""
_NOISE = 2.0


@dataclass(frozen=True, slots=True)
class PlacedFace:
    """A face that is known to be there: its box, and five points inside of it, (5, 2), both in pixels."""

    box: Box
    points: Points


@dataclass(frozen=True, slots=True)
class Scene:
    """Prepared frames: after the last comes the first again, without a jump.

    :ivar images: the frames; all of one size.
    :ivar faces: the faces of each frame; None where nobody knows them.
    """

    images: tuple[Image, ...]
    faces: tuple[tuple[PlacedFace, ...], ...] | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.images[0].shape[:2]
        return width, height

    @property
    def placed(self) -> int | None:
        """Number of faces in every frame."""
        return None if self.faces is None else len(self.faces[0])


def crowd(count: int, size: tuple[int, int]) -> Scene:
    """Return a synthetic crowd: one face of nobody, ``count`` times on a grid, each going round a small circle.

    :param size: width and height. Frames carry light noise, for an encoder has an easy life without.
    """
    width, height = size
    frames = max(2, min(_FRAMES, MOST_BYTES // (3 * width * height)))
    portrait, weight = _portrait()
    random = np.random.default_rng(0)
    images, faces = [], []
    background = _background(width, height)
    for index in range(frames):
        image = background.copy()
        angle = 2 * math.pi * index / frames
        faces.append(tuple(_place(image, portrait, weight, cell, angle) for cell in _cells(count, width, height)))
        noise = random.normal(0, _NOISE, (height, width, 1)).astype(np.float32)
        images.append(np.clip(image + noise, 0, 255).astype(np.uint8))
    return Scene(tuple(images), tuple(faces))


def clip(path: Path, size: tuple[int, int] | None) -> Scene:
    """Return the first frames of a video, 300 or as many as fit into memory, forward and backward again.

    :param size: width and height to fit them into; None leaves them as they are. Raises SourceError.
    """
    with FileSource(path) as source:
        width, height = size or (source.info.width & ~1, source.info.height & ~1)
        most = max(2, min(_CLIP_FRAMES, MOST_BYTES // (3 * width * height)))
        images = [letterbox(frame.image, (width, height)) for frame in islice(source, most)]
    if not images:
        raise SourceError(f"{path}: holds no frames")
    return Scene((*images, *images[-2:0:-1]), None)


def _cells(count: int, width: int, height: int) -> list[tuple[float, float, float, float]]:
    """Return centre x, centre y, side of the portrait, and phase for every face, in pixels and radians."""
    if not count:
        return []
    columns = max(range(1, count + 1), key=lambda n: min(width / n, height / math.ceil(count / n)))
    rows = math.ceil(count / columns)
    side = min(0.9 * min(width / columns, height / rows), 0.6 * height)
    return [
        ((i % columns + 0.5) * width / columns, (i // columns + 0.5) * height / rows, side, 2.4 * i)
        for i in range(count)
    ]


def _place(
    image: NDArray[np.float32],
    portrait: NDArray[np.float32],
    weight: NDArray[np.float32],
    cell: tuple[float, float, float, float],
    angle: float,
) -> PlacedFace:
    """Draw the portrait into the picture, and return where its face is."""
    x, y, side, phase = cell
    scale, radius = side / _TILE, 0.02 * side
    left = x - side / 2 + radius * math.cos(angle + phase)
    top = y - side / 2 + radius * math.sin(angle + phase)
    rows = slice(max(0, math.floor(top)), min(image.shape[0], math.ceil(top + side) + 1))
    columns = slice(max(0, math.floor(left)), min(image.shape[1], math.ceil(left + side) + 1))
    region = image[rows, columns]
    affine = np.array([[scale, 0, left - columns.start], [0, scale, top - rows.start]])
    size = region.shape[1], region.shape[0]
    shrunk = cv2.GaussianBlur(portrait, (0, 0), 0.4 / scale) if scale < 0.8 else portrait  # else it would alias
    shown, share = (cv2.warpAffine(one, affine, size, flags=cv2.INTER_LINEAR) for one in (shrunk, weight))
    region += share[..., None] * (shown - region)
    points = np.array(_FACE_POINTS, np.float32) * scale + np.array([left, top], np.float32)
    x0, y0, x1, y1 = _FACE_BOX
    return PlacedFace(Box(x0 * scale + left, y0 * scale + top, x1 * scale + left, y1 * scale + top), points)


def _portrait() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the portrait, (192, 192, 3) RGB, and how much of it is seen, (192, 192) 0 to 1, soft at the edges."""
    stored = resources.files(__package__).joinpath("face.jpg").read_bytes()
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    edge = np.minimum(np.arange(_TILE), np.arange(_TILE)[::-1]).astype(np.float32) / 12
    ramp = np.clip(edge, 0, 1)
    return image.astype(np.float32), np.minimum.outer(ramp, ramp)


def _background(width: int, height: int) -> NDArray[np.float32]:
    """(height, width, 3): grey, a little darker below, as behind the portrait."""
    shade = np.linspace(150, 110, height, dtype=np.float32)[:, None, None]
    tint = np.array([0.95, 1.0, 1.04], np.float32)
    picture: NDArray[np.float32] = np.repeat(shade * tint, width, axis=1)
    return picture
