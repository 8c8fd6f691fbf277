"""The training faces: packed once with our own detector's keypoints, then held on the device that trains.

A pack is one ``.npz``: the JPEG files as they are, and per picture the face's box centre, unit and roll (see
:mod:`deepprivacy_rt.cropping`) and keypoints. It is small enough to carry to a GPU for a short lease.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.geometry import about_the_middle, roll_of
from deepprivacy_rt.stages import Detector
from deepprivacy_rt.types import Detection, Frame, Image

CANVAS = 288
"""Side of the square that pictures are held on, in pixels; smaller ones lie in its top left corner."""
_BORDER = 0.35
"""Added around a picture before detection, as a share of its side: tight crops are not what detectors expect."""
_LANDMARKS = "eyeR", "eyeL", "nose", "mouthR", "mouthL"
"""What rendered heads call the five points of the other manifests."""
_OPEN_MOUTH, _NARROW_EYES = 0.25, 0.4
_RARE = 4.0
"""How much more often than others faces with an open mouth or narrow eyes are drawn: they are a fifth of all."""
_MAX_DISAGREEMENT = 0.36
"""Largest distance of eyes, nose and mouth from the manifest's points, in inter-ocular distances."""


@dataclass(frozen=True)
class FaceData:
    """Pictures and face geometry on one device.

    :ivar images: (n, 3, 288, 288) uint8 RGB.
    :ivar sizes: (n, 2) float32 width and height of each picture.
    :ivar centers: (n, 2) middles of faces in picture pixels.
    :ivar units: (n,) face units in picture pixels.
    :ivar rolls: (n,) radians.
    :ivar keypoints: (n, 6, 2) picture pixels.
    :ivar expressions: (n, 3) opening of mouth, right and left eye, 0..1.
    :ivar weights: (n,) how often each is drawn.
    """

    images: Tensor
    sizes: Tensor
    centers: Tensor
    units: Tensor
    rolls: Tensor
    keypoints: Tensor
    expressions: Tensor
    weights: Tensor


def held_out(name: str) -> bool:
    """Return whether a picture belongs to the tenth that is never trained on; decided by its name alone."""
    return hashlib.sha256(name.encode()).digest()[0] < 26


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a folder's ``manifest.jsonl``, rendered heads' landmarks as ``points5``."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise TrainingError(f"{manifest}: not found; a training folder has one JSON record per picture there")
    for line in manifest.read_text().splitlines():
        record = json.loads(line)
        if "landmarks" in record:
            record["points5"] = [record["landmarks"][name] for name in _LANDMARKS]
        yield record


def find(detector: Detector, image: Image) -> Detection | None:
    height, width = image.shape[:2]
    border = round(_BORDER * max(height, width))
    padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
    found = detector.detect(Frame(image=np.asarray(padded, np.uint8), index=0, pts=Fraction(0)))
    large = [d for d in found if d.score >= 0.4]
    if not large:
        return None
    best = max(large, key=lambda d: d.box.width)
    box = type(best.box)(*(v - border for v in best.box))
    return Detection(box=box, keypoints=best.keypoints - np.float32(border), score=best.score)


def disagreement(keypoints: NDArray[np.float32], points5: list[list[float]]) -> float:
    """Return the largest distance between our eyes, nose and mouth and the manifest's, in inter-ocular distances."""
    theirs = np.asarray(points5, np.float32)
    theirs = np.vstack([theirs[:3], theirs[3:].mean(axis=0)])
    # In profile the eyes nearly coincide; the eye-to-mouth distance is the other measure of size.
    size = max(np.hypot(*(theirs[1] - theirs[0])), np.hypot(*(theirs[3] - theirs[:2].mean(axis=0))))
    return float(np.max(np.hypot(*(keypoints[:4] - theirs).T)) / size)


def pack(folder: Path, output: Path, detector: Detector, mesh: FaceMesh, report: Callable[[str], None] = print) -> int:
    """Detect, filter and pack the faces of a folder with their expressions; return how many were kept.

    Dropped: pictures without a face, and those where our keypoints disagree with the manifest's by more than 0.36
    inter-ocular distances (misplaced points, half faces, stylised pictures). Raises TrainingError.
    """
    names, jpegs, geometry, expressions = [], [], [], []
    dropped = {"no face": 0, "keypoints disagree": 0}
    for record in records(folder):
        data = (folder / record["file"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            raise TrainingError(f"{folder / record['file']}: checksum differs from the manifest")
        picture = decode(data)
        found = find(detector, picture)
        if found is None:
            dropped["no face"] += 1
        elif disagreement(found.keypoints, record["points5"]) > _MAX_DISAGREEMENT:
            dropped["keypoints disagree"] += 1
        else:
            names.append(record["file"])
            jpegs.append(data)
            unit = (found.box.width + found.box.height) / 2
            geometry.append([*found.box.center, unit, roll_of(found.keypoints), *found.keypoints.ravel()])
            done = to_expression(openings(mesh.points(picture, crop_of(found.box, found.keypoints))))
            expressions.append(done.openings)
    if not names:
        raise TrainingError(f"{folder}: no usable face")
    offsets = np.cumsum([0, *(len(j) for j in jpegs)])
    np.savez(
        output,
        names=np.array(names),
        jpegs=np.frombuffer(b"".join(jpegs), np.uint8),
        offsets=offsets,
        geometry=np.array(geometry, np.float32),
        expressions=np.array(expressions, np.float32),
    )
    report(f"{output}: {len(names)} faces kept, dropped: {dropped}")
    return len(names)


def decode(data: bytes) -> Image:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise TrainingError("a training picture cannot be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _on_canvas(data: bytes) -> tuple[Image, float]:
    """Decode onto the canvas; a picture larger than it is shrunk. Return the factor too."""
    picture = decode(data)
    factor = min(1.0, CANVAS / max(picture.shape[:2]))
    if factor < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    return picture, factor


def load(pack_file: Path, device: torch.device, keep: Callable[[str], bool], region_side: float) -> FaceData:
    """Load the pictures whose name passes ``keep``.

    Pictures too tight for the region are drawn less often: the weight is the share of the patch that has pixels,
    to the third power. Rare expressions are drawn more often. Raises TrainingError.
    """
    if not pack_file.is_file():
        raise TrainingError(f"{pack_file}: not found; make it with: deepprivacy-rt train --pack FOLDER CONFIG")
    packed = np.load(pack_file)
    chosen = [i for i, name in enumerate(packed["names"]) if keep(str(name))]
    if not chosen:
        raise TrainingError(f"{pack_file}: no picture is left for this split")
    offsets, blob = packed["offsets"], packed["jpegs"].tobytes()
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(_on_canvas, _slices(blob, offsets, chosen)))
    canvases = np.zeros((len(chosen), CANVAS, CANVAS, 3), np.uint8)
    sizes = np.zeros((len(chosen), 2), np.float32)
    for row, (picture, _) in enumerate(pictures):
        height, width = picture.shape[:2]
        canvases[row] = cv2.copyMakeBorder(picture, 0, CANVAS - height, 0, CANVAS - width, cv2.BORDER_REPLICATE)
        sizes[row] = width, height
    factors = np.array([factor for _, factor in pictures], np.float32)[:, None]
    geometry = np.stack([_about_the_middle(row) for row in packed["geometry"][chosen]])
    scaled = np.hstack([geometry[:, :3] * factors, geometry[:, 3:4], geometry[:, 4:] * factors])
    table = torch.from_numpy(scaled.astype(np.float32)).to(device)
    images = torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous().to(device)
    size = torch.from_numpy(sizes).to(device)
    half = 0.5 * region_side * table[:, 2:3]
    low, high = (table[:, :2] - half).clamp(min=0), torch.minimum(table[:, :2] + half, size)
    expressions = torch.from_numpy(packed["expressions"][chosen]).to(device)
    rare = ((expressions[:, 0] > _OPEN_MOUTH) | (expressions[:, 1:].mean(dim=1) < _NARROW_EYES)).float()
    share = ((high - low).clamp(min=0) / (2 * half)).prod(dim=1)
    return FaceData(
        images=images,
        sizes=size,
        centers=table[:, :2],
        units=table[:, 2],
        rolls=table[:, 3],
        keypoints=table[:, 4:].reshape(-1, 6, 2),
        expressions=expressions,
        weights=share**3 * (1 + _RARE * rare),
    )


def _about_the_middle(row: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a row of a pack's geometry, centre, unit, roll and keypoints, with the middle of the face and its unit."""
    (x, y, unit, roll), keypoints = (float(one) for one in row[:4]), row[4:].reshape(6, 2)
    c, s = unit * math.cos(roll), unit * math.sin(roll)
    to_frame = about_the_middle(np.array([[c, -s, x], [s, c, y]]), keypoints)
    return np.concatenate([to_frame[:, 2], [math.hypot(*to_frame[:, 0])], row[3:]])


def _slices(blob: bytes, offsets: NDArray[np.int64], chosen: Iterable[int]) -> Iterator[bytes]:
    return (blob[offsets[i] : offsets[i + 1]] for i in chosen)
