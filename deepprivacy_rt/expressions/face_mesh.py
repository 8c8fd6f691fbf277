"""What a face does in one picture, and whether it is one, from MediaPipe's 468 face points and their score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.geometry import RegionGeometry, box_to_frame, to_patch
from deepprivacy_rt.resampling import warped
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, is_installed
from deepprivacy_rt.types import Affine, Box, Expression, Image

if TYPE_CHECKING:
    from deepprivacy_rt.runtimes.tflite_torch import TorchNetwork

SIDE = 192
"""Side in pixels of the picture that the network looks at."""
_CROP = RegionGeometry(center_y=0.0, half_width=0.75, half_height=0.75, side=1.5)
"""MediaPipe's own: 1.5 times BlazeFace's box, upright (face_detection_front_detection_to_roi.pbtxt)."""
_LIPS = (13, 14)
"""Middle of the upper and of the lower lip, inner edge."""
_LIDS = ((159, 145, 33, 133), (386, 374, 263, 362))
"""Upper and lower lid, outer and inner corner, of the right and the left eye."""
_OUTER_CORNERS = (33, 263)
_NOSE_TIP = 1
_CORNERS_OF_MOUTH = (61, 291)
_TOP, _CHIN = 10, 152
_AT_REST, _DEVIATION = (0.541, -0.012), (0.033, 0.011)
"""Width of the mouth, and how far its corners lie above its middle, over the distance of the outer eye corners: mean
and standard deviation over 51 people who look neutral (Face Research Lab London Set)."""
_SMILE_BEGINS, _SMILE_BROAD = 0.8, 5.5
"""Deviations from rest, in both, with which a smile begins, and is a broad one. Of these people at rest 90 % are below
1; asked to smile, half are above 2.0, a quarter above 4.1."""
_MOUTH_WIDE = 0.35
"""Gap between the lips, over the distance of the eyes' outer corners, that counts as fully open."""
_EYE_SHUT, _EYE_WIDE = 0.12, 0.42
"""Eye aspect ratios that count as shut and as fully open; the training faces' median is 0.34, few are below 0.2."""


class Openings(NamedTuple):
    """What a face does.

    :ivar mouth: gap between the lips over the distance of the outer corners of the eyes.
    :ivar right_eye: gap between the lids over the length of the eye (eye aspect ratio, Soukupová & Čech 2016).
    :ivar left_eye: the same of the subject's left eye.
    :ivar smile: by how many standard deviations of faces at rest the mouth is wider, and its corners are higher: the
        smaller of the two, for who says "oh" has high corners, and who says "ee" a wide mouth.
    """

    mouth: float
    right_eye: float
    left_eye: float
    smile: float = 0.0

    @property
    def eyes(self) -> float:
        """Mean of both eyes."""
        return (self.right_eye + self.left_eye) / 2


class Mesh(NamedTuple):
    """What Face Mesh makes of one picture.

    :ivar points: (468, 3) float32, in pixels of the network's picture. :ivar presence: how surely it is a face, 0 to 1.
    """

    points: NDArray[np.float32]
    presence: float


class FaceMesh:
    """MediaPipe's Face Mesh, on OpenVINO where that is installed, else on PyTorch.

    :param model: ``face_landmark.tflite``: (1, 192, 192, 3) RGB 0 to 1 in, 468 points (x, y, z) and a logit out.

    Raises WeightsError for a file that is missing or unreadable.
    """

    def __init__(self, model: Path) -> None:
        self._infer = _network(model).infer

    def look(self, image: Image, transform: Affine) -> Mesh:
        """Return what is seen of one face.

        :param image: (h, w, 3) uint8 RGB.
        :param transform: (2, 3), from the picture's pixels to those of the upright crop of ``SIDE``.
        Raises StageError.
        """
        if not np.isfinite(transform).all():
            raise StageError("a face has degenerate points")
        crop = warped(image, transform, SIDE).astype(np.float32)
        outputs = {out.size: out for out in self._infer([crop[None] * np.float32(1 / 255)])}
        logit = min(max(float(outputs[1].ravel()[0]), -50.0), 50.0)
        return Mesh(np.asarray(outputs[468 * 3].reshape(468, 3), np.float32), 1.0 / (1.0 + math.exp(-logit)))

    def points(self, image: Image, transform: Affine) -> NDArray[np.float32]:
        """Return the points alone, of what is known to be a face. Raises StageError."""
        return self.look(image, transform).points


def _network(model: Path) -> OpenVinoNetwork | TorchNetwork:
    if is_installed():
        return OpenVinoNetwork(model)
    from deepprivacy_rt.runtimes.tflite_torch import TorchNetwork

    return TorchNetwork(model)


def crop_of(box: Box, keypoints: NDArray[np.floating]) -> Affine:
    """Return the map from a picture's pixels to those of the crop that the network wants, (2, 3)."""
    return to_patch(_CROP, box_to_frame(box, keypoints), SIDE)


def openings(mesh: NDArray[np.float32]) -> Openings:
    """Return the openings of mouth and eyes of (468, 3) points. Distances are in space: yaw leaves them alone."""

    def distance(first: int, second: int) -> float:
        return float(np.linalg.norm(mesh[first] - mesh[second]))

    mouth = distance(*_LIPS) / max(distance(*_OUTER_CORNERS), 1e-6)
    right, left = (distance(upper, lower) / max(distance(outer, inner), 1e-6) for upper, lower, outer, inner in _LIDS)
    return Openings(mouth, right, left, _smile(mesh.astype(np.float64)))


def _smile(mesh: NDArray[np.float64]) -> float:
    """See ``Openings.smile``. Up is across the line of the eyes, in space: neither roll nor yaw changes it."""
    across = mesh[_OUTER_CORNERS[1]] - mesh[_OUTER_CORNERS[0]]
    span = max(float(np.linalg.norm(across)), 1e-6)
    across = across / span
    down = mesh[_CHIN] - mesh[_TOP]
    down = down - across * float(down @ across)
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    corners = mesh[list(_CORNERS_OF_MOUTH)]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    lift = float((mesh[list(_LIPS)].mean(axis=0) - corners.mean(axis=0)) @ down)
    found = zip((width / span, lift / span), _AT_REST, _DEVIATION, strict=True)
    return min((value - rest) / deviation for value, rest, deviation in found)


def places(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return right eye, left eye, nose tip and middle of the mouth of (468, 3) points, as keypoints: (4, 2)."""
    flat = mesh[:, :2]
    eyes = [flat[list(lids)].mean(axis=0) for lids in _LIDS]
    mouth = flat[[*_LIPS, *_CORNERS_OF_MOUTH]].mean(axis=0)
    return np.asarray([*eyes, flat[_NOSE_TIP], mouth], np.float32)


def to_expression(found: Openings) -> Expression:
    """Bring openings to 0 (shut) to 1 (wide open)."""
    right, left = ((eye - _EYE_SHUT) / (_EYE_WIDE - _EYE_SHUT) for eye in (found.right_eye, found.left_eye))
    smile = (found.smile - _SMILE_BEGINS) / (_SMILE_BROAD - _SMILE_BEGINS)
    return Expression(*(min(max(value, 0.0), 1.0) for value in (found.mouth / _MOUTH_WIDE, right, left, smile)))
