"""Making the portraits that generated faces get their features from.

    python -m deepprivacy_rt.training.portraits FACES configs/portraits.toml weights/portraits.safetensors

All pictures of the folder in which the detector's keypoints agree with the manifest's give the mean face and tell where
keypoints lie on it; those that are listed become portraits.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.portraits.bank import write_portraits
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.training import canonical_face as canonical
from deepprivacy_rt.training.dataset import decode, disagreement, find, records
from deepprivacy_rt.types import Image
from deepprivacy_rt.weights import Weights

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXTURE, RELIEF = 192, 48
"""Sides of the maps: the training pictures have no more than about 110 pixels across a face."""
_GROUPS = {"women", "men", ""}
_MOST_DISAGREEMENT = 0.25
_FRONTAL, _NEARLY_FRONTAL, _SHUT = 0.08, 0.14, 0.12
"""Distance of the nose's tip from the middle of the eyes, up to which a face counts towards the mean, and up to which
it can be a portrait; opening of the mouth up to which it counts towards the mean."""


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    """A picture and its points. :ivar mesh: (468, 3) pixels. :ivar keypoints: (6, 2)."""

    record: dict[str, Any]
    mesh: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    mouth: float

    @property
    def turned(self) -> float:
        """Distance of the nose's tip from the middle of the eyes, over that of their outer corners."""
        corners = self.mesh[[33, 263]]
        off = self.mesh[1, 0] - corners[:, 0].mean()
        return float(abs(off) / np.linalg.norm(corners[0] - corners[1]))

    @property
    def is_calm(self) -> bool:
        return self.turned < _FRONTAL and self.mouth < _SHUT


def read_list(path: Path) -> dict[str, str]:
    """Return the group of each picture that a list names, in its order. Raises TrainingError."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["portraits"]
        groups = {str(row["file"]): str(row.get("group", "")) for row in rows}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path}: not a list of portraits: {error}") from error
    if len(groups) < 2 or len(groups) < len(rows):
        raise TrainingError(f"{path}: names fewer than two portraits, or one twice")
    unknown = set(groups.values()) - _GROUPS
    if unknown:
        raise TrainingError(f"{path}: a group is women or men, not {min(unknown)!r}")
    return groups


def make(
    folder: Path,
    groups: Mapping[str, str] | None,
    target: Path,
    detector: Detector,
    mesh: FaceMesh,
    report: Callable[[str], None] = print,
) -> None:
    """Write a file of portraits. Raises TrainingError.

    :param groups: pictures to take, and their groups; None: all that look about into the camera, of no group.
    """
    faces = [face for record in records(folder) if (face := _look(folder, record, detector, mesh)) is not None]
    known = {face.record["file"]: face for face in faces}
    if groups is None:
        groups = {name: "" for name, face in known.items() if face.turned < _NEARLY_FRONTAL}
    missing = [name for name in groups if name not in known]
    if missing:
        raise TrainingError(f"{folder}: no usable face in {', '.join(missing)}")
    calm = [face.mesh for face in faces if face.is_calm]
    if not calm:
        raise TrainingError(f"{folder}: no face looks into the camera")
    mean = canonical.mean_face(calm)
    offsets = canonical.keypoint_offsets(mean, [face.mesh for face in faces], [face.keypoints for face in faces])
    fine, coarse = canonical.Spreader(mean, TEXTURE), canonical.Spreader(mean, RELIEF)
    textures, places, heads = [], [], []
    for face in (known[name] for name in groups):
        own = canonical.aligned(face.mesh, mean)(face.mesh)
        textures.append(canonical.texture(_picture(folder, face.record), face.mesh, fine))
        places.append(coarse.spread(own))
        heads.append(canonical.head_keypoints(own, offsets))
    keys = ("file", "source", "licence", "made_by", "sha256")
    sources = [{key: str(known[name].record[key]) for key in keys} | {"group": group} for name, group in groups.items()]
    write_portraits(
        target, textures, np.stack(places), np.stack(heads).astype(np.float32), mean.astype(np.float32), sources
    )
    report(f"{target}: {len(groups)} portraits, mean of {len(calm)} faces, keypoints of {len(faces)}")


def _picture(folder: Path, record: dict[str, Any]) -> Image:
    data = (folder / record["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise TrainingError(f"{folder / record['file']}: checksum differs from the manifest")
    return decode(data)


def _look(folder: Path, record: dict[str, Any], detector: Detector, mesh: FaceMesh) -> _Face | None:
    picture = _picture(folder, record)
    found = find(detector, picture)
    if found is None or disagreement(found.keypoints, record["points5"]) > _MOST_DISAGREEMENT:
        return None
    way = crop_of(found.box, found.keypoints)
    points = mesh.points(picture, way).astype(np.float64)
    back = np.linalg.inv(np.vstack([way, [0.0, 0.0, 1.0]]))[:2]
    flat = points[:, :2] @ back[:, :2].T + back[:, 2]
    deep = points[:, 2:] * np.hypot(*back[:, 0])
    mouth = to_expression(openings(points.astype(np.float32))).mouth
    return _Face(record, np.hstack([flat, deep]), found.keypoints.astype(np.float64), mouth)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.portraits", description=__doc__)
    parser.add_argument("folder", type=Path, help="training pictures with manifest.jsonl")
    parser.add_argument("list", help="TOML file with the pictures to take, or 'all' that look into the camera")
    parser.add_argument("target", type=Path, help="file of portraits to write")
    args = parser.parse_args()
    weights = Weights()
    detector = BlazeFaceDetector(weights.path("blazeface-full-range"), weights.path("blazeface-short-range"))
    groups = None if args.list == "all" else read_list(Path(args.list))
    make(args.folder, groups, args.target, detector, FaceMesh(weights.path("face-landmark")))
    print(f"{args.target.stat().st_size} bytes, sha256 = {hashlib.sha256(args.target.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
