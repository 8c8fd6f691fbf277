"""Distance of two sets of faces, on the recogniser's embeddings.

These are the formulas of FID (Heusel et al. 2017) and KID (Bińkowski et al. 2018), but **not** FID and KID: those are
defined on Inception features, and embeddings of a recogniser see identity, not picture quality. Values compare with
each other only, at equal numbers of faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.bootstrap import Estimate
from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Image

LEAST_FACES = 20


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), the squared Fréchet distance of two fitted normal distributions.

    Small sets make it larger than it is: compare sets of one size. Raises ValueError for fewer than two rows.

    :param first, second: (n, d) and (m, d).
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a distribution needs at least two faces")
    a, b = first.astype(np.float64), second.astype(np.float64)
    shift = a.mean(axis=0) - b.mean(axis=0)
    # With X = centred / sqrt(n - 1), C = XᵀX, and tr (C1 C2)^½ is the sum of the singular values of X1 X2ᵀ.
    x, y = ((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (a, b))
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, shift @ shift + (x**2).sum() + (y**2).sum() - 2 * cross))


def kernel_distance(faces: NDArray[np.floating], reference: NDArray[np.floating]) -> Estimate:
    """Return the unbiased squared maximum mean discrepancy under k(x, y) = (x·y + 1)³; 0 on average for equal ones.

    (KID's kernel, without its division by d, for the vectors have length 1.) The interval is 1.96 standard errors by
    the jackknife over ``faces``; drawing with replacement would pair faces with themselves.

    :param faces, reference: (n, d) and (m, d), of length 1; n, m >= 3.
    """
    a, b = faces.astype(np.float64), reference.astype(np.float64)
    count = len(a)
    within, across, other = ((left @ right.T + 1) ** 3 for left, right in ((a, a), (a, b), (b, b)))
    np.fill_diagonal(within, 0)
    np.fill_diagonal(other, 0)
    rest = other.sum() / (len(b) * (len(b) - 1))
    rows, links = within.sum(axis=1), across.sum(axis=1)
    value = within.sum() / (count * (count - 1)) - 2 * across.mean() + rest
    left_out = (within.sum() - 2 * rows) / ((count - 1) * (count - 2)) + rest
    left_out -= 2 * (links.sum() - links) / ((count - 1) * len(b))
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(float(value), float(value - 1.96 * error), float(value + 1.96 * error), count, count)


def held_out_embeddings(pack: Path, finder: FaceFinder, recogniser: Recogniser) -> NDArray[np.float32]:
    """Return the embeddings of the synthetic faces of a training pack that are never trained on, (n, d).

    Raises UsageError where the file is no pack, or holds too few faces.
    """
    rows = []
    for picture in _held_out_pictures(pack):
        faces = finder.find(picture)
        if faces:
            rows.append(recogniser.embed(picture, max(faces, key=lambda face: face.size).points))
    if len(rows) < 2 * LEAST_FACES:
        raise UsageError(f"{pack}: only {len(rows)} held-out faces, too few; cure: a pack of the whole training set")
    return np.stack(rows)


def _held_out_pictures(pack: Path) -> Iterator[Image]:
    from deepprivacy_rt.training.dataset import held_out  # imports PyTorch, which takes seconds

    try:
        with np.load(pack) as packed:
            names, offsets, blob = packed["names"], packed["offsets"], packed["jpegs"]
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"{pack}: not a training pack; cure: deepprivacy-rt train --pack FOLDER CONFIG") from error
    for number, name in enumerate(names):
        if held_out(str(name)):
            data = cv2.imdecode(blob[offsets[number] : offsets[number + 1]], cv2.IMREAD_COLOR)
            if data is not None:
                yield np.ascontiguousarray(np.asarray(data, np.uint8)[..., ::-1])
