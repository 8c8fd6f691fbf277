"""How harsh portraits are, beside faces in front of cameras: the mean slope of the luma, over its mean.

And how much grain there is on skin and foreheads of portraits as they are drawn, in three bands (docs/adr/0039).

    python benchmarks/harshness.py CLIP... --finder YUNET

Clips are looked at in every tenth frame, each face in the resolution of a portrait's texture. docs/adr/0020 has the
results.
"""

from __future__ import annotations

import argparse
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.floors import face_ellipse
from deepprivacy_rt.audit.recogniser import INPUT_SIDE, similarity_to_template
from deepprivacy_rt.portraits.bank import read_portraits
from deepprivacy_rt.portraits.texture import Texture, harshness
from deepprivacy_rt.resampling import warped
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.types import Image, Points
from deepprivacy_rt.weights import Weights

_EVERY = 10
_BANDS = 1.0, 2.0, 4.0
"""Deviations of the blurs between which bands lie, in pixels of a texture as it is drawn, which is of 384."""
_DETAIL, _BROWS = 1.12, 0.235
"""Detail of face256; part of a texture's rows above which there are no brows."""
_SIDE = 200
"""Side of an aligned face whose eyes are as far apart as in a texture of 192."""


def spread(values: list[float]) -> str:
    """Return median, least and largest."""
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def face_harshness(image: Image, points: Points) -> float:
    """Return the harshness of one face of a frame; points: (5, 2)."""
    transform = similarity_to_template(points) * (_SIDE / INPUT_SIDE)
    return harshness(warped(image, transform, _SIDE), face_ellipse(_SIDE))


def grain(image: Image, inside: NDArray[np.bool_]) -> list[float]:
    """Return the deviation of a picture's luma in three bands, over the luma. :param inside: of its pixels."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    blurs = [luma, *(cv2.GaussianBlur(luma, (0, 0), deviation) for deviation in _BANDS)]
    light = np.maximum(luma, 1)
    return [float(((one - other) / light)[inside].std()) for one, other in pairwise(blurs)]


def main() -> None:
    """Print a line for each clip, and two for portraits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--finder", type=Path, required=True, metavar="ONNX", help="YuNet")
    args = parser.parse_args()
    finder = FaceFinder(args.finder)
    for clip in args.clips:
        with FileSource(clip) as source:
            frames = [frame.image for frame in islice(source, 0, None, _EVERY)]
        found = [(image, finder.find(image)) for image in frames]
        print(f"{clip.stem}: {spread([face_harshness(image, faces[0].points) for image, faces in found if faces])}")
    bank = read_portraits(Weights().path("portraits"))
    inside = bank.cover[..., 0] > 0.5
    usual = [Texture.of(one.texture, bank.cover).image for one in bank.portraits]
    as_fine = [cv2.resize(one, inside.shape, interpolation=cv2.INTER_AREA) for one in usual]
    for name, images in (("pictures", [one.texture for one in bank.portraits]), ("portraits", as_fine)):
        print(f"{name}: {spread([harshness(np.asarray(image, np.uint8), inside) for image in images])}")
    pictures = [Texture.of(one.texture, bank.cover, detail=_DETAIL).image for one in bank.portraits]
    skin = cv2.resize(bank.cover[..., 1], pictures[0].shape[:2]) > 0.9
    forehead = skin & (np.arange(len(skin))[:, None] < _BROWS * len(skin))
    for name, where in (("skin", skin), ("foreheads", forehead)):
        bands = np.median([grain(image, where) for image in pictures], axis=0)
        print(f"grain of {name}: {', '.join(f'{band:.4f}' for band in bands)}")


if __name__ == "__main__":
    main()
