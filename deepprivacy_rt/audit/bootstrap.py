"""Shares with intervals that respect that frames of one clip resemble each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

ROUNDS = 2000


class Share(NamedTuple):
    """A share with its 95 % interval.

    :ivar hits, total: the count.
    :ivar value: hits / total; NaN where there is nothing to count.
    :ivar low, high: interval; NaN with fewer than two groups, for then nothing tells how much they differ.
    :ivar groups: clips or tracks that were drawn.
    """

    hits: int
    total: int
    value: float
    low: float
    high: float
    groups: int


def share(hits: Sequence[bool], groups: Sequence[Hashable]) -> Share:
    """Return the share of True with its percentile interval, by drawing whole groups with replacement.

    (Cluster bootstrap, Davison & Hinkley 1997, section 3.8.) Where no group has a hit, or none a miss, drawing them
    again shows no spread; the bound on that side is then the "rule of three" over groups, 3 / groups.

    :param hits: one entry for each face.
    :param groups: its clip or track.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    found, counts = np.zeros(len(names)), np.zeros(len(names))
    for hit, group in zip(hits, groups, strict=True):
        found[names[group]] += hit
        counts[names[group]] += 1
    total = int(counts.sum())
    if not total:
        return Share(0, 0, np.nan, np.nan, np.nan, 0)
    value = float(found.sum() / total)
    if len(names) < 2:
        return Share(int(found.sum()), total, value, np.nan, np.nan, 1)
    drawn = np.random.default_rng(0).integers(len(names), size=(ROUNDS, len(names)))
    low, high = np.percentile(found[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    margin = min(1.0, 3 / len(names))
    if value == 0:
        high = margin
    if value == 1:
        low = 1 - margin
    return Share(int(found.sum()), total, value, float(low), float(high), len(names))
