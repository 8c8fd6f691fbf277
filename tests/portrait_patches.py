"""A patch with an upright face in its middle, for tests of portraits."""

from __future__ import annotations

import numpy as np

from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.testing import make_detection, make_frame
from deepprivacy_rt.types import REST, Evidence, Expression, FacePatch, FaceTrack


def patch_of(
    identity: int = 0, track_id: int = 0, shift: float = 0.0, doing: Expression = REST, size: int = 128, face: int = 80
) -> FacePatch:
    """:param shift: pixels by which nose and mouth lie to the right: a head that is turned."""
    found = make_detection(100, 75, face)
    keypoints = found.keypoints + np.array([[0, 0], [0, 0], [shift, 0], [shift / 2, 0], [0, 0], [0, 0]], np.float32)
    track = FaceTrack(track_id, identity, found.box, keypoints, 0.9, Evidence.DETECTED, expression=doing)
    cropper = AlignedCropper(size)
    return cropper.cut(cropper.erase(make_frame(0, 200, 150, 0), [track]), track)
