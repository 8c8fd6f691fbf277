"""Crude treatments of a face, to know how high or low similarities can be."""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.audit.recogniser import INPUT_SIDE
from deepprivacy_rt.types import Image, Mask

_CENTRE, _AXES = (56, 68), (36, 50)
"""The face from the brows to the chin on the aligned picture."""
_CELL = INPUT_SIDE // 14
"""Side of a mosaic cell: about nine across the face."""


def face_ellipse(side: int) -> Mask:
    """Return where an aligned picture of ``side`` pixels shows the face, from the brows to the chin: (side, side)."""
    ellipse = np.zeros((side, side), np.uint8)
    scale = side / INPUT_SIDE
    centre, axes = ([round(value * scale) for value in pair] for pair in (_CENTRE, _AXES))
    cv2.ellipse(ellipse, centre, axes, 0, 0, 360, 1, cv2.FILLED)
    return np.asarray(ellipse > 0)


def floors(aligned: Image) -> dict[str, Image]:
    """Return an aligned picture (112, 112, 3) after each treatment, by its name.

    ``untouched``: only encoded again (JPEG at quality 50); ``pixelated`` and ``solid``: an ellipse over the face.
    """
    covered = face_ellipse(INPUT_SIDE)[..., None]
    cells = (INPUT_SIDE // _CELL, INPUT_SIDE // _CELL)
    small = cv2.resize(aligned, cells, interpolation=cv2.INTER_AREA)
    mosaic = cv2.resize(small, aligned.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    fill = np.median(aligned[~covered[..., 0]], axis=0)
    return {
        "untouched": _encoded_again(aligned),
        "pixelated": np.asarray(np.where(covered, mosaic, aligned), np.uint8),
        "solid": np.asarray(np.where(covered, fill, aligned), np.uint8),
    }


def _encoded_again(picture: Image) -> Image:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 50])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
