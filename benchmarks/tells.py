"""What gives an anonymized face away: what is drawn within its cover, or what is left around it.

    deepprivacy-rt evaluate PICTURES --models MODELS --seed 0 --work work0
    python benchmarks/tells.py PICTURES work0/generated [work1/generated ...] --models MODELS

Pictures of one face each, named ``PERSON_anything``. A recogniser guesses the person of each copy among the means of
the originals, from the whole copy, from what lies within a part of its cover with grey around it, and from the rest
with grey in its place. ``own`` and ``others`` are the mean similarities to the right person, and to everybody.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.cropping import GEOMETRY, Region, unit_outline
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.geometry import face_to_frame, transform_points
from deepprivacy_rt.sources.image import ImageSource
from deepprivacy_rt.types import Frame
from deepprivacy_rt.weights import Weights

_SCALES = (1.0, 0.9, 0.8, 0.7, 0.6)
_GREY = 128


@dataclass(frozen=True, eq=False)
class Copy:
    """An anonymized picture. :ivar points: (5, 2) of its face. :ivar outline: (n, 2) of its cover."""

    person: str
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    outline: NDArray[np.float32]

    def seen(self, scale: float, *, inside: bool) -> NDArray[np.uint8]:
        """Return the picture with grey outside, or inside, of so much of the cover."""
        middle = self.outline.mean(axis=0)
        mask = np.zeros(self.image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(middle + scale * (self.outline - middle)).astype(np.int32)], 1)
        return np.where((mask[..., None] > 0) == inside, self.image, np.uint8(_GREY)).astype(np.uint8)


def picture(path: Path) -> Frame:
    """Read a picture."""
    with ImageSource(path) as source:
        return next(iter(source))


def read(
    originals: Path, folders: list[Path], models: Path, judge: Recogniser
) -> tuple[list[Copy], dict[str, list[NDArray[np.float32]]]]:
    """Return the copies, and the embeddings of each person's originals. Raises what reading raises."""
    finder = FaceFinder(models / "yunet_n_dynamic.onnx")
    weights = Weights()
    detector = BlazeFaceDetector(
        weights.path("blazeface-full-range"), weights.path("blazeface-short-range"), effort="thorough"
    )
    copies, gallery = [], defaultdict(list)
    for path in sorted(originals.iterdir()):
        if path.suffix not in {".jpg", ".png"}:
            continue
        frame, person = picture(path), path.stem.split("_")[0]
        gallery[person].append(judge.embed(frame.image, finder.find(frame.image)[0].points))
        face = detector.detect(frame)[0]
        outline = transform_points(face_to_frame(face.box, face.keypoints), unit_outline(GEOMETRY[Region.FACE]))
        for folder in folders:
            image = picture(next(folder.glob(f"{path.stem}.*"))).image
            copies.append(Copy(person, image, finder.find(image)[0].points, outline))
    return copies, gallery


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=Path)
    parser.add_argument("copies", nargs="+", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    options = parser.parse_args()
    judge = Recogniser(options.models / "mobileface_v3_112.onnx")
    copies, gallery = read(options.originals, options.copies, options.models, judge)
    people = sorted(gallery)
    means = np.stack([np.mean(gallery[person], axis=0) for person in people])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    print(f"{len(copies)} copies of {len(people)} people; guessing: {100 / len(people):.1f} %\n")
    print("| what is seen | right person first | similarity, own | others |\n|---|---|---|---|")

    def row(name: str, seen: Callable[[Copy], NDArray[np.uint8]]) -> None:
        likeness = np.stack([means @ judge.embed(seen(copy), copy.points) for copy in copies])
        own = np.array([people.index(copy.person) for copy in copies])
        first = 100 * float((likeness.argmax(axis=1) == own).mean())
        print(f"| {name} | {first:.1f} % | {likeness[np.arange(len(own)), own].mean():.3f} | {likeness.mean():.3f} |")

    row("all", lambda copy: copy.image)
    for scale in _SCALES:
        row(f"inside of {scale} of the cover", lambda copy, scale=scale: copy.seen(scale, inside=True))  # type: ignore[misc]
    for scale in _SCALES:
        row(f"outside of {scale} of the cover", lambda copy, scale=scale: copy.seen(scale, inside=False))  # type: ignore[misc]


if __name__ == "__main__":
    main()
