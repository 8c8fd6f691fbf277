"""The file of portraits: pictures of nobody in canonical coordinates, their reliefs, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.portraits.canonical import Floats, covers
from deepprivacy_rt.portraits.gestures import Gestures
from deepprivacy_rt.portraits.matching import PREFIX, Matcher
from deepprivacy_rt.types import Image


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One face of nobody, at rest.

    :ivar texture: (t, t, 3) uint8 RGB over the canonical square.
    :ivar place: (g, g, 3) float32, where the canonical places lie in space.
    :ivar head: (6, 3) float64, where its keypoints are.
    :ivar color: (3,) mean of the skin, 0 to 255.
    :ivar group: ``women``, ``men``, or empty where it may be taken for either.
    """

    texture: Image
    place: Floats
    head: NDArray[np.float64]
    color: Floats
    group: str


@dataclass(frozen=True, slots=True, eq=False)
class PortraitBank:
    """All portraits of a file.

    :ivar cover: (t, t, 2), see ``covers``. :ivar mean: (468, 3) the mean face. :ivar matcher: tells which of them go
        with some surroundings; None: nothing does.
    """

    portraits: Sequence[Portrait]
    cover: Floats
    mean: Floats
    sources: Sequence[dict[str, str]]
    matcher: Matcher | None = None
    gestures: Gestures = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gestures", Gestures(self.mean))


def write_portraits(
    path: Path,
    textures: Sequence[Image],
    places: Floats,
    heads: Floats,
    mean: Floats,
    sources: Sequence[dict[str, str]],
) -> None:
    """Write a bank: textures as JPEG, the rest as float16, and the sources, with their groups, as JSON in the header.

    :param places: (n, g, g, 3). :param heads: (n, 6, 3). :param mean: (468, 3).
    """
    coded = [
        cv2.imencode(".jpg", cv2.cvtColor(one, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 94])[1]
        for one in textures
    ]
    path.write_bytes(
        save(
            {
                "pictures": np.concatenate([one.ravel() for one in coded]),
                "ends": np.cumsum([one.size for one in coded]).astype(np.int64),
                "places": places.astype(np.float16),
                "heads": heads.astype(np.float32),
                "mean": mean.astype(np.float32),
            },
            metadata={"format": "portraits", "sources": json.dumps(list(sources))},
        )
    )


def add_matcher(path: Path, matcher: Matcher) -> None:
    """Write a matcher into a file of portraits, in place of one that it has."""
    with safe_open(path, "numpy") as file:
        parts = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(PREFIX)}  # noqa: SIM118
        metadata = file.metadata()
    path.write_bytes(save(parts | matcher.tensors(), metadata=metadata))


def read_portraits(path: Path) -> PortraitBank:
    """Read a bank. Raises WeightsError."""
    try:
        with safe_open(path, "numpy") as file:
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            sources = json.loads(file.metadata()["sources"])
        return _bank(parts, sources)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, cv2.error) as error:
        raise WeightsError(f"{path}: not a file of portraits: {error}") from error


def _bank(parts: dict[str, NDArray[np.generic]], sources: Sequence[dict[str, str]]) -> PortraitBank:
    ends = [0, *(int(end) for end in parts["ends"])]
    mean = np.asarray(parts["mean"], np.float32)
    places, heads = np.asarray(parts["places"], np.float32), np.asarray(parts["heads"], np.float64)
    textures = [_decoded(np.asarray(parts["pictures"][a:b], np.uint8)) for a, b in pairwise(ends)]
    if not textures or not len(textures) == len(places) == len(heads) == len(sources):
        raise ValueError("its parts are not of the same number")
    cover = covers(mean, len(textures[0]))
    skin = cover[..., 1:]
    portraits = [
        Portrait(texture, place, head, _mean_color(texture, skin), source["group"])
        for texture, place, head, source in zip(textures, places, heads, sources, strict=True)
    ]
    matcher = Matcher.of(parts) if any(name.startswith(PREFIX) for name in parts) else None
    if matcher is not None and len(matcher.looks) != len(portraits):
        raise ValueError("its matcher is of other portraits")
    return PortraitBank(portraits, cover, mean, sources, matcher)


def _mean_color(texture: Image, skin: Floats) -> Floats:
    return np.asarray((texture * skin).sum(axis=(0, 1)) / skin.sum(), np.float32)


def _decoded(data: NDArray[np.uint8]) -> Image:
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None or picture.shape[0] != picture.shape[1]:
        raise ValueError("a picture is no square JPEG")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
