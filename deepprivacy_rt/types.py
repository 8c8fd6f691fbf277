"""The values that travel through the pipeline: frozen, and checked when they are made.

The way of one picture: ``Frame`` (original pixels) → ``Detection`` → ``FaceTrack`` → ``SafeFrame`` (faces erased;
the original ends here) → ``FacePatch`` → ``Replacement`` → ``SafeFrame`` (faces replaced). A sink accepts a
``SafeFrame`` only, so the type checker already forbids writing an original.

Coordinates: pixels, x to the right, y down; the centre of the top left pixel is (0, 0). Colour order is RGB.
Left and right are the subject's, unless said otherwise.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(h, w, 3) uint8, RGB."""
Mask: TypeAlias = NDArray[np.bool_]
"""(h, w) bool."""
Points: TypeAlias = NDArray[np.float32]
"""(n, 2) float32: x, y."""
Affine: TypeAlias = NDArray[np.float64]
"""(2, 3) float64: maps column vectors (x, y, 1)."""

KEYPOINT_NAMES = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
"""The six sparse keypoints, in the order of ``Detection.keypoints``: eye centres, nose tip, mouth centre, tragions."""


def _check_image(image: Image, what: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{what} must be (h, w, 3) uint8, not {image.shape} {image.dtype}")


def _check_keypoints(keypoints: Points) -> None:
    if keypoints.shape != (len(KEYPOINT_NAMES), 2) or keypoints.dtype != np.float32:
        raise ValueError(f"keypoints must be (6, 2) float32, not {keypoints.shape} {keypoints.dtype}")
    if not np.isfinite(keypoints).all():
        raise ValueError("keypoints must be finite")


class Box(NamedTuple):
    """Axis-aligned rectangle in pixels: left, top, right, bottom."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


def _check_box(box: Box) -> None:
    if not all(np.isfinite(box)) or box.width <= 0 or box.height <= 0:
        raise ValueError(f"box must be finite with positive sides, not {tuple(box)}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture as it came from a source: original, privacy-sensitive pixels.

    :ivar image: (h, w, 3) uint8 RGB, upright as shown (rotation applied).
    :ivar index: position in the stream, from 0.
    :ivar pts: presentation time in seconds of stream time.
    """

    image: Image
    index: int
    pts: Fraction

    def __post_init__(self) -> None:
        _check_image(self.image, "frame image")


@dataclass(frozen=True, slots=True, eq=False)
class SafeFrame:
    """A picture in which every tracked face is erased or replaced. The only thing a sink accepts.

    Only :mod:`deepprivacy_rt.cropping` (erasing), :mod:`deepprivacy_rt.blending` (pasting) and
    :func:`deepprivacy_rt.pipeline.withhold` (a grey frame) make one.

    :ivar image: (h, w, 3) uint8 RGB.
    :ivar cover: (h, w) bool, True where original pixels were erased.
    """

    image: Image
    cover: Mask
    index: int
    pts: Fraction

    def __post_init__(self) -> None:
        _check_image(self.image, "safe image")
        if self.cover.dtype != np.bool_ or self.cover.shape != self.image.shape[:2]:
            raise ValueError(f"cover must be {self.image.shape[:2]} bool, not {self.cover.shape} {self.cover.dtype}")


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found in one frame.

    :ivar box: face box in frame pixels, in BlazeFace's convention (a square from above the brows to under the chin);
        detectors with another convention convert.
    :ivar keypoints: (6, 2) float32 frame pixels, in the order of ``KEYPOINT_NAMES``.
    :ivar score: confidence, 0 to 1.
    """

    box: Box
    keypoints: Points
    score: float

    def __post_init__(self) -> None:
        _check_box(self.box)
        _check_keypoints(self.keypoints)
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must lie in 0..1, not {self.score}")


class Evidence(enum.Enum):
    """Why a track is where it is in a frame."""

    DETECTED = "detected"
    """Seen in this frame, or between two frames, one of them moments away: video is not looked at in every frame."""
    COASTED = "coasted"
    """Lost for the moment: extrapolated, with a growing box."""
    INTERPOLATED = "interpolated"
    """Between two detections, known by looking ahead."""
    BACKTRACKED = "backtracked"
    """Before the first detection, known by looking ahead."""


class Expression(NamedTuple):
    """What a face does, all that is read off it but its keypoints.

    :ivar mouth, right_eye, left_eye: openings, 0 (shut) to 1 (wide open). :ivar smile: 0 (none) to 1 (broad).
    """

    mouth: float
    right_eye: float
    left_eye: float
    smile: float = 0.0

    @property
    def openings(self) -> tuple[float, float, float]:
        """What networks are told."""
        return self.mouth, self.right_eye, self.left_eye


REST = Expression(mouth=0.08, right_eye=0.7, left_eye=0.7)
"""A face at rest: the middle of the training faces."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One face in one frame, followed over time.

    :ivar track_id: unique within the stream, from 0.
    :ivar identity: names the latent that the generator draws; equal numbers give equal faces. A track that comes back
        at the same place within a few seconds keeps it.
    :ivar box: smoothed, in frame pixels; grown when the evidence is weak.
    :ivar keypoints: (6, 2) float32, smoothed, frame pixels.
    :ivar score: confidence of the latest detection behind it.
    :ivar uncertain: seen so faintly that it may be no face at all; it is covered all the same, by a fill.
    :ivar expression: at rest, unless something reads it off the face.
    """

    track_id: int
    identity: int
    box: Box
    keypoints: Points
    score: float
    evidence: Evidence
    uncertain: bool = False
    expression: Expression = REST

    def __post_init__(self) -> None:
        _check_box(self.box)
        _check_keypoints(self.keypoints)
        if not all(0.0 <= value <= 1.0 for value in self.expression):
            raise ValueError(f"expression must lie in 0..1, not {tuple(self.expression)}")


@dataclass(frozen=True, slots=True, eq=False)
class FacePatch:
    """A roll-aligned square crop around one face, already erased: all that a generator gets to see.

    :ivar track: the face it belongs to.
    :ivar image: (s, s, 3) uint8 RGB; 0 where ``mask`` is True. A few pixels along the cover may repeat the nearest
        visible ones.
    :ivar mask: (s, s) bool, True where pixels are unknown: under any face's cover, or outside of the frame.
    :ivar keypoints: (6, 2) float32, patch pixels.
    :ivar transform: (2, 3) float64, maps frame pixels to patch pixels (a similarity).
    :ivar outline: (n, 2) float32 frame pixels: the polygon around this track's own cover, all of which is erased.
    :ivar hint: (2, s, s) float32 of the portrait to be put over the face, see ``portraits.hint``; None: there is none.
    """

    track: FaceTrack
    image: Image
    mask: Mask
    keypoints: Points
    transform: Affine
    outline: Points
    hint: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check_image(self.image, "patch image")
        size = self.image.shape[0]
        if self.image.shape[1] != size or self.mask.shape != (size, size) or self.mask.dtype != np.bool_:
            raise ValueError(f"patch must be square with a bool mask, not {self.image.shape}, {self.mask.shape}")
        red, green, blue = self.image.transpose(2, 0, 1)
        if ((red | green | blue).astype(np.bool_) & self.mask).any():
            raise ValueError("patch pixels under the mask must be erased (0)")
        if self.transform.shape != (2, 3) or not np.isfinite(self.transform).all():
            raise ValueError("patch transform must be a finite (2, 3) matrix")
        if self.hint is not None and self.hint.shape != (2, size, size):
            raise ValueError(f"hint must be {(2, size, size)}, not {self.hint.shape}")
        _check_keypoints(self.keypoints)


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """A synthetic face for one patch.

    :ivar image: (k · s, k · s, 3) uint8 RGB over the whole patch, in 1 to ``LARGEST_ZOOM`` times its resolution; pixels
        outside of the mask serve only to blend.
    """

    patch: FacePatch
    image: Image

    def __post_init__(self) -> None:
        _check_image(self.image, "replacement image")
        if not is_image_of(self.image, self.patch):
            raise ValueError(f"replacement must be {self.patch.image.shape} or a multiple, not {self.image.shape}")

    @property
    def zoom(self) -> int:
        """Its pixels per patch pixel, along a side."""
        return int(self.image.shape[0] // self.patch.image.shape[0])

    @property
    def transform(self) -> Affine:
        """(2, 3) float64, maps frame pixels to pixels of ``image``."""
        matrix = self.patch.transform * self.zoom
        # Pixel centres: zoomed = (patch + 0.5) * zoom - 0.5
        matrix[:, 2] += 0.5 * self.zoom - 0.5
        return matrix


LARGEST_ZOOM = 4


def is_image_of(image: object, patch: FacePatch) -> bool:
    """Say whether something is a picture of a whole patch, in its resolution or a small multiple of it."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        return False
    size = patch.image.shape[0]
    zoom = int(image.shape[0] // size)
    return 1 <= zoom <= LARGEST_ZOOM and bool(image.shape == (zoom * size, zoom * size, 3))


class Coverage(enum.Enum):
    """How one face in one frame was covered, for the report."""

    GENERATED = "generated"
    FILLED = "filled"
    WITHHELD = "withheld"
    """The whole frame was replaced by a fill."""
