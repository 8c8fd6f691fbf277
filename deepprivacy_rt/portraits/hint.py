"""What a network is told of the portrait whose features will be put over its face: where it is, and its light and dark.

No colours: a portrait takes its tone from the network's face, not the other way round.
"""

from __future__ import annotations

import cv2
import numpy as np

from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.relief import Drawn
from deepprivacy_rt.types import Image

CHANNELS = 2
MOST = 1.5
"""Brightness over that of the skin, less one, beyond which a hint is clipped."""


def hint(drawn: Drawn, size: int) -> Floats:
    """Return a portrait's hint for a patch of ``size``, (2, size, size) float32.

    First its brightness over its skin's mean, less one, times how much of it is to be seen; second the latter, 0 to 1.
    """
    weight = drawn.skin[..., None]
    skin = float((_luma(drawn.coarse) * drawn.skin).sum() / max(float(weight.sum()), 1e-3))
    light = np.clip(_luma(drawn.image) / max(skin, 1.0) - 1.0, -MOST, MOST) * drawn.share
    whole = np.zeros((drawn.side, drawn.side, CHANNELS), np.float32)
    whole[drawn.window] = np.stack([light, drawn.share], axis=-1)
    if drawn.side != size:
        whole = np.asarray(cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    return np.ascontiguousarray(whole.transpose(2, 0, 1))


def _luma(image: Image) -> Floats:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
