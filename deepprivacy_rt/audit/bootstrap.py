"""Shares, means and ratios with intervals that respect that frames of one clip resemble each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 2000


class Estimate(NamedTuple):
    """A number with its 95 % interval.

    :ivar value: NaN where there is nothing to measure.
    :ivar low, high: interval; NaN with fewer than two groups.
    :ivar total: measurements behind it.
    :ivar groups: clips or tracks that were drawn.
    """

    value: float
    low: float
    high: float
    total: int
    groups: int


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
    estimate = ratio([float(hit) for hit in hits], [1.0] * len(hits), groups)
    value, low, high = estimate.value, estimate.low, estimate.high
    if estimate.groups > 1:
        margin = min(1.0, 3 / estimate.groups)
        if value == 0:
            high = margin
        if value == 1:
            low = 1 - margin
    return Share(sum(hits), len(hits), value, low, high, estimate.groups)


def ratio(numerators: Sequence[float], denominators: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Return sum(numerators) / sum(denominators) with its interval, by drawing whole groups with replacement.

    With denominators of 1 it is a mean. NaN where the denominators sum to 0.
    """
    count, members = _numbered(groups)
    above = np.bincount(members, np.asarray(numerators, np.float64), minlength=count)
    below = np.bincount(members, np.asarray(denominators, np.float64), minlength=count)
    if not below.sum() > 0:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    value = float(above.sum() / below.sum())
    if count < 2:
        return Estimate(value, np.nan, np.nan, len(members), count)
    drawn = _draws(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Estimate(value, float(low), float(high), len(members), count)


def mean(values: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Return the mean over all values with its interval, by drawing whole groups with replacement."""
    return ratio(values, [1.0] * len(values), groups)


def median(values: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Return the median over all values with its interval, by drawing whole groups with replacement."""
    count, members = _numbered(groups)
    if not count:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    data = np.asarray(values, np.float64)
    value = float(np.median(data))
    if count < 2:
        return Estimate(value, np.nan, np.nan, len(data), count)
    order = np.argsort(data, kind="stable")
    medians = []
    for draw in _draws(count):
        # A group drawn twice counts twice: the value at which half of the weight is reached.
        reached = np.cumsum(np.bincount(draw, minlength=count)[members[order]])
        medians.append(data[order[np.searchsorted(reached, reached[-1] / 2)]])
    low, high = np.percentile(medians, [2.5, 97.5])
    return Estimate(value, float(low), float(high), len(data), count)


def _numbered(groups: Sequence[Hashable]) -> tuple[int, NDArray[np.intp]]:
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return len(names), np.array([names[group] for group in groups], np.intp)


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(ROUNDS, count))
