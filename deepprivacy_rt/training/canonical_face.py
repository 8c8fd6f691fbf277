"""From Face Mesh's points of many pictures to one canonical face, and from a picture to a portrait of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.portraits.canonical import map_points
from deepprivacy_rt.types import Image

Doubles = NDArray[np.float64]

_CORNERS = (33, 263)
_FOREHEAD, _CHIN = 10, 152
_ROUNDS = 5
_SMOOTHNESS = 1e-3
_KEYPOINTS: tuple[tuple[int, ...], ...] = (
    (33, 133, 159, 145),
    (263, 362, 386, 374),
    (1,),
    (13, 14),
    (234,),
    (454,),
)
"""Face Mesh's points about each of BlazeFace's keypoints."""
_OUTLIER = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """x → scale · rotation · x + shift, in space."""

    scale: float
    rotation: Doubles
    shift: Doubles

    def __call__(self, points: Doubles) -> Doubles:
        return np.asarray(self.scale * points @ self.rotation.T + self.shift)


def aligned(source: Doubles, target: Doubles) -> Similarity:
    """Return the similarity that brings (n, 3) points nearest to others (Umeyama, 1991), without mirroring."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / (a**2).sum())
    return Similarity(scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0))


def mean_face(meshes: Sequence[Doubles]) -> Doubles:
    """Return the symmetric mean of near-frontal faces, (468, 3) canonical (generalised Procrustes; Gower, 1975)."""
    mean = meshes[0] - meshes[0].mean(axis=0)
    mean = mean / np.linalg.norm(mean[_CORNERS[0]] - mean[_CORNERS[1]])
    mirror = np.array([-1.0, 1.0, 1.0])
    pairs: NDArray[np.intp] | None = None
    for _ in range(_ROUNDS):
        mean = np.mean([aligned(mesh, mean)(mesh) for mesh in meshes], axis=0)
        mean -= mean.mean(axis=0)
        mirrored = mean * mirror
        if pairs is None:
            pairs = np.array([int(np.argmin(((mirrored - point) ** 2).sum(axis=1))) for point in mean])
        mean = (mean + mirrored[pairs]) / 2
        mean /= np.linalg.norm(mean[_CORNERS[0]] - mean[_CORNERS[1]])
    upright = mean[_CHIN] - mean[_FOREHEAD]
    angle = np.arctan2(upright[2], upright[1])
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(mean @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T)


def keypoint_offsets(mean: Doubles, meshes: Sequence[Doubles], keypoints: Sequence[Doubles]) -> Doubles:
    """Return where BlazeFace's keypoints lie from Face Mesh's points about them, (6, 3) canonical.

    Each is the point in space whose projections, over faces in many poses, come nearest to what the detector said.
    """
    ways = [aligned(mesh, mean) for mesh in meshes]
    rows = np.vstack([way.rotation.T[:2] for way in ways])
    places = np.zeros((len(_KEYPOINTS), 3))
    for number in range(len(_KEYPOINTS)):
        seen = np.concatenate(
            [
                way.scale * points[number] + (way.rotation.T @ way.shift)[:2]
                for way, points in zip(ways, keypoints, strict=True)
            ]
        )
        place = np.linalg.lstsq(rows, seen, rcond=None)[0]
        off = np.hypot(*(rows @ place - seen).reshape(-1, 2).T)
        sound = np.repeat(off < _OUTLIER * np.median(off), 2)
        places[number] = np.linalg.lstsq(rows[sound], seen[sound], rcond=None)[0]
    return places - _about_keypoints(mean)


def head_keypoints(mesh: Doubles, offsets: Doubles) -> Doubles:
    """Return the six keypoints of a canonical face, (6, 3)."""
    return np.asarray(_about_keypoints(mesh) + offsets)


def _about_keypoints(mesh: Doubles) -> Doubles:
    return np.stack([mesh[list(points)].mean(axis=0) for points in _KEYPOINTS])


class Spreader:
    """Spreads what is known at Face Mesh's points over a map, by a thin plate spline (Duchon, 1977).

    :param mean: (468, 3) canonical. :param size: side of the map.
    """

    def __init__(self, mean: Doubles, size: int) -> None:
        points, count = mean[:, :2], len(mean)
        pixels = map_points(size).reshape(-1, 2).astype(np.float64)
        affine = np.hstack([np.ones((count, 1)), points])
        kernel = _bending(points, points) + _SMOOTHNESS * np.eye(count)
        system = np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])
        basis = np.hstack([_bending(pixels, points), np.ones((len(pixels), 1)), pixels])
        self._weights = basis @ np.linalg.inv(system)[:, :count]
        self._size = size

    def spread(self, values: Doubles) -> NDArray[np.float32]:
        """Return (size, size, k) of (468, k)."""
        return np.asarray((self._weights @ values).reshape(self._size, self._size, -1), np.float32)


def _bending(a: Doubles, b: Doubles) -> Doubles:
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    return np.asarray(squares * np.log(np.maximum(squares, 1e-12)))


def texture(picture: Image, mesh: Doubles, spreader: Spreader) -> Image:
    """Return a picture in canonical coordinates. :param mesh: (468, 3) its points in pixels."""
    x, y = cv2.split(spreader.spread(mesh[:, :2]))
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
