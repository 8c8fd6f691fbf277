"""The same numbers for groups of people, and how far the worst group lies from the best."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import UsageError

Attributes: TypeAlias = dict[str, dict[str, str]]
"""By column: the group of each person."""

_MOST_GROUPS = 8
_SHUFFLES = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """The distance of the worst group from the best.

    :ivar difference: largest mean of a group less the smallest; NaN with fewer than two groups.
    :ivar by_chance: what 95 % of random groups of the same sizes stay below: less than this tells nothing.
    :ivar lowest, highest: the groups.
    """

    difference: float
    by_chance: float
    lowest: str
    highest: str


def read_groups(path: Path) -> Attributes:
    """Read a table with a header: people in the first column, one attribute in each other.

    Columns with more than eight values, such as ages, are left out. Raises UsageError.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table with a header: {error}") from error
    columns: Attributes = {}
    for place, name in enumerate(header[1:], start=1):
        column = {row[0]: row[place] for row in rows if len(row) > place}
        if 2 <= len(set(column.values())) <= _MOST_GROUPS:
            columns[name] = column
    if not columns:
        raise UsageError(f"{path}: no column with 2 to {_MOST_GROUPS} groups; the first column names the people")
    return columns


def person_of(name: str, people: Mapping[str, str]) -> str | None:
    """Return whose picture a file is: the person whose name its own is, or begins with, up to a ``_``."""
    stem = Path(name).stem
    return next((person for person in (stem, stem.partition("_")[0]) if person in people), None)


def spread(values: Sequence[float], people: Sequence[str], group_of: Mapping[str, str]) -> Spread:
    """Return how far the means of the groups lie apart, and how far those of random groups would.

    Largest less smallest of several means is never 0, and with few people it is large, by chance alone; so the groups
    are shuffled over the people (a permutation test).

    :param values: one for each face, such as 0 and 1.
    :param people: whose face it is.
    """
    numbers = {person: number for number, person in enumerate(dict.fromkeys(people))}
    members = np.array([numbers[person] for person in people], np.intp)
    faces = np.asarray(values, np.float64)
    sums = np.bincount(members, faces, minlength=len(numbers)).astype(np.float64)
    counts = np.bincount(members, minlength=len(numbers)).astype(np.float64)
    names = sorted({group_of[person] for person in numbers})
    labels = np.array([names.index(group_of[person]) for person in numbers], np.intp)
    if len(names) < 2:
        return Spread(float("nan"), float("nan"), "", "")
    means = _means(sums, counts, labels, len(names))
    random = np.random.default_rng(0)
    others = [np.ptp(_means(sums, counts, random.permutation(labels), len(names))) for _ in range(_SHUFFLES)]
    lowest, highest = names[int(np.argmin(means))], names[int(np.argmax(means))]
    return Spread(float(np.ptp(means)), float(np.percentile(others, 95)), lowest, highest)


def _means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], labels: NDArray[np.intp], groups: int
) -> NDArray[np.float64]:
    return np.asarray(np.bincount(labels, sums, minlength=groups) / np.bincount(labels, counts, minlength=groups))
