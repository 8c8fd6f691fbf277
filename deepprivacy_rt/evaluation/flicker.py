"""How much a face changes from one frame to the next, once its movement is taken out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.floors import face_ellipse


def change(earlier: NDArray[np.float32], later: NDArray[np.float32]) -> float:
    """Return the mean absolute difference of two aligned pictures over the face, in levels of 255.

    Both the original's and the anonymized pair are aligned by the original's five points in each frame: a new face
    that swims on the head, or lags behind it, counts as changing.

    :param earlier, later: (s, s) luma of one face in successive frames, see ``aligned_luma``.
    """
    return float(np.abs(later - earlier)[face_ellipse(len(earlier))].mean())
