"""Similarities among many embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.recogniser import Embedding


def mean_similarity(embeddings: Sequence[Embedding]) -> float:
    """Return the mean similarity over all pairs; along a track, how steady an identity is. NaN for fewer than two.

    For n vectors of length 1: (|sum|² - n) / (n (n - 1)).
    """
    count = len(embeddings)
    if count < 2:
        return float("nan")
    total = np.sum(np.stack(embeddings).astype(np.float64), axis=0)
    return float((total @ total - count) / (count * (count - 1)))


def similarity_to_others(embeddings: NDArray[np.floating], different: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean similarity of each row to the rows that are marked as different people, (n,); NaN without any.

    :param embeddings: (n, d), of length 1.
    :param different: (n, n) bool.
    """
    similar = np.where(different, embeddings.astype(np.float64) @ embeddings.T, 0.0)
    counts = different.sum(axis=1)
    return np.asarray(np.where(counts > 0, similar.sum(axis=1) / np.maximum(counts, 1), np.nan), np.float64)
