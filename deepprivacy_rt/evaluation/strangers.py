"""What re-identification would give if people were replaced by real other people of the same group.

A face that keeps the skin and the hair that are to be seen around it looks like somebody of the same group. A
recogniser that tells groups apart then guesses among the few of that group, and is right more often than one in all,
whoever the face is. A photograph of another person of the group has nothing of the original's face; what it scores is
what the group alone gives away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepprivacy_rt.audit.bootstrap import Estimate, mean
from deepprivacy_rt.audit.recogniser import Embedding


@dataclass(frozen=True, slots=True)
class Strangers:
    """How often the right person is the first guess for a stranger of the same group.

    :ivar column: of the table of people, or all of them. :ivar group: empty: over all groups.
    :ivar people: who have a stranger of their group.
    """

    column: str
    group: str
    people: int
    rank_1: Estimate


def strangers(
    originals: Sequence[Embedding], people: Sequence[str], attributes: Mapping[str, Mapping[str, str]]
) -> list[Strangers]:
    """Return rank 1 of strangers, by column, over all groups and in each, and last for those alike in all columns.

    Each picture of each other person of somebody's group is looked up among all pictures but that person's own. All of
    somebody's strangers count as much as somebody else's, however many they are.

    :param originals: embeddings of all pictures. :param people: whose they are, known in every column.
    :param attributes: by column, the group of each person.
    """
    columns = {name: dict(group_of) for name, group_of in attributes.items()}
    if len(columns) > 1:
        both = {one: ", ".join(group_of[one] for group_of in columns.values()) for one in set(people)}
        columns[" and ".join(columns)] = both
    rows: list[Strangers] = []
    for column, group_of in columns.items():
        shares = _shares(originals, people, group_of)
        whole = len(rows)
        for group in sorted({group_of[one] for one in shares}):
            rows += _row(column, group, {one: value for one, value in shares.items() if group_of[one] == group})
        rows[whole:whole] = _row(column, "", shares)
    return rows


def _row(column: str, group: str, shares: Mapping[str, float]) -> list[Strangers]:
    if not shares:
        return []
    return [Strangers(column, group, len(shares), mean(list(shares.values()), list(shares)))]


def _shares(originals: Sequence[Embedding], people: Sequence[str], group_of: Mapping[str, str]) -> dict[str, float]:
    """Return for each person who has strangers, which share of their pictures is taken for that person."""
    vectors, names = np.stack(originals).astype(np.float64), np.array(people)
    similar = vectors @ vectors.T
    similar[names[:, None] == names[None]] = -np.inf
    guesses = names[similar.argmax(axis=1)]
    shares = {}
    for one in dict.fromkeys(people):
        others = [row for row, name in enumerate(people) if name != one and group_of[name] == group_of[one]]
        if others:
            shares[one] = float((guesses[others] == one).mean())
    return shares
