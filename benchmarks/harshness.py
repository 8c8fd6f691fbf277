"""How harsh portraits are, beside faces in front of cameras: the mean slope of the luma, over its mean.

    python benchmarks/harshness.py CLIP... --finder YUNET

Clips are looked at in every tenth frame, each face in the resolution of a portrait's texture. docs/adr/0020 has the
results.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

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
_SIDE = 200
"""Side of an aligned face whose eyes are as far apart as in a texture of 192."""


def spread(values: list[float]) -> str:
    """Return median, least and largest."""
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def face_harshness(image: Image, points: Points) -> float:
    """Return the harshness of one face of a frame; points: (5, 2)."""
    transform = similarity_to_template(points) * (_SIDE / INPUT_SIDE)
    return harshness(warped(image, transform, _SIDE), face_ellipse(_SIDE))


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
    for name, images in (
        ("pictures", [one.texture for one in bank.portraits]),
        ("portraits", [Texture.of(one.texture, bank.cover).image for one in bank.portraits]),
    ):
        print(f"{name}: {spread([harshness(image, inside) for image in images])}")


if __name__ == "__main__":
    main()
