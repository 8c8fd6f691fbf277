"""How alike the faces of many identities are in the same place, and how like the original's.

    python benchmarks/likeness.py PICTURE... --models MODELS --identities 36

``deepprivacy-rt evaluate`` tries twelve identities, the same in all pictures: which ones moves its figures more than
most changes do. Similarities are those of the recogniser, of which 0.53 is the same person at FAR 1e-3; the mean over
pairs, by picture and over pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.faces import FaceFinder, best_match
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.evaluation.copies import GENERATED, CopyMaker
from deepprivacy_rt.types import Image
from deepprivacy_rt.weights import Weights

_SEED = 1


def embeddings(
    picture: Image, identities: int, maker: CopyMaker, finder: FaceFinder, recogniser: Recogniser
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return those of a picture's largest face with so many identities, (n, d), and the original's, (d,)."""
    face = max(finder.find(picture), key=lambda one: one.box.width)
    made = []
    for image in maker.variants(GENERATED, picture, range(identities)):
        match, _ = best_match(face.box, finder.find(image))
        made.append(recogniser.embed(image, (match or face).points))
    return np.stack(made), recogniser.embed(picture, face.points)


def main() -> None:
    """Print a line for each picture, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    parser.add_argument("--models", type=Path, required=True, metavar="FOLDER", help="YuNet and the recogniser")
    parser.add_argument("--identities", type=int, default=36, metavar="N", help="(default: %(default)s)")
    args = parser.parse_args()
    finder = FaceFinder(args.models / "yunet_n_dynamic.onnx")
    recogniser = Recogniser(args.models / "mobileface_v3_112.onnx")
    maker, count, found = CopyMaker(FaceConfig(seed=_SEED), Weights()), args.identities, []
    for path in args.pictures:
        picture = np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        made, original = embeddings(picture, count, maker, finder, recogniser)
        alike = float((made @ made.T).sum() - count) / (count * (count - 1))
        found.append((alike, float((made @ original).mean())))
        print(f"{path.stem}: two identities {alike:.3f}, to the original {found[-1][1]:.3f}", flush=True)
    print("mean: two identities {:.3f}, to the original {:.3f}".format(*np.mean(found, axis=0)))


if __name__ == "__main__":
    main()
