"""YuNet's face (a high box, five keypoints) in BlazeFace's convention (a square box, six keypoints).

Every missing thing is a sum of vectors measured on the face itself, so that it turns, shifts and grows with it:
``across`` from right to left eye, ``down`` from between the eyes to between the corners of the mouth, ``nose`` from
between the eyes to the tip of the nose (it tells the yaw), ``middle`` from between the eyes to the centre of YuNet's
box. The weights below are a robust fit (least absolute error) to what BlazeFace full range finds on the same pictures:
the 2,452 synthetic faces of the training set, turned by up to 25 degrees and shrunk to 0.45 to 1 of their size.
``benchmarks/fit_yunet_convention.py`` derives them again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deepprivacy_rt.detectors.candidates import Candidates, Floats


class Weights(NamedTuple):
    """Weights of the sums.

    :ivar centre: box centre, from between the eyes: weights of middle, down, nose.
    :ivar side: box side, as a share of the height of YuNet's box.
    :ivar mouth: mouth centre, from between the corners of the mouth: down, nose.
    :ivar ear: left tragion, from between the eyes: across, down, nose. The right one has -across.
    """

    centre: tuple[float, float, float]
    side: float
    mouth: tuple[float, float]
    ear: tuple[float, float, float]


FITTED = Weights(centre=(0.820, -0.108, 0.504), side=0.839, mouth=(-0.231, 0.474), ear=(0.998, 1.271, -1.778))


class Frames(NamedTuple):
    """The vectors of each face, (n, 2) each."""

    eyes: Floats
    lips: Floats
    across: Floats
    down: Floats
    nose: Floats
    middle: Floats


def measure(boxes: Floats, points: Floats) -> Frames:
    """Return the vectors on which the weights act.

    :param boxes: (n, 4), YuNet's.
    :param points: (n, 5, 2): right eye, left eye, nose tip, right and left corner of the mouth.
    """
    eyes = points[:, :2].mean(axis=1)
    lips = points[:, 3:].mean(axis=1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Frames(eyes, lips, points[:, 1] - points[:, 0], lips - eyes, points[:, 2] - eyes, centre - eyes)


def to_blazeface(boxes: Floats, points: Floats, scores: Floats, weights: Weights = FITTED) -> Candidates:
    """Convert YuNet's findings, in isotropic coordinates (pixels); see :func:`measure` for the shapes."""
    face = measure(boxes, points)
    centre = face.eyes + weights.centre[0] * face.middle + weights.centre[1] * face.down + weights.centre[2] * face.nose
    half = np.maximum(boxes[:, 3:] - boxes[:, 1:2], 0) * weights.side / 2
    mouth = face.lips + weights.mouth[0] * face.down + weights.mouth[1] * face.nose
    ears = face.eyes + weights.ear[1] * face.down + weights.ear[2] * face.nose
    side = weights.ear[0] * face.across
    keypoints = np.stack([points[:, 0], points[:, 1], points[:, 2], mouth, ears - side, ears + side], axis=1)
    return Candidates(
        np.concatenate([centre - half, centre + half], axis=1).astype(np.float32),
        keypoints.astype(np.float32),
        scores.astype(np.float32),
        np.zeros(len(scores), np.bool_),
    )
