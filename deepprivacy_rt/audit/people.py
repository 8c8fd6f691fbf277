"""Rank-1 identification: is the person behind a new face the first guess among all people known?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepprivacy_rt.audit.bootstrap import Share, share
from deepprivacy_rt.audit.recogniser import Embedding
from deepprivacy_rt.audit.records import FaceRecord, FileAudit


@dataclass(frozen=True, slots=True)
class Identification:
    """The result of asking "who is it?" for every anonymized face.

    :ivar correct: share for whom the most similar entry of the gallery was the right person.
    :ivar people: persons in the gallery, those who are not in the files included; 1 / people is what guessing gives.
    """

    correct: Share
    people: int


def identify(
    probes: Sequence[tuple[FileAudit, FaceRecord]],
    groups: Sequence[object],
    others: Sequence[Embedding],
    same_person: float,
) -> Identification | None:
    """Look each anonymized face up in a gallery of the originals of all tracks, and of other people.

    Tracks whose mean embeddings are more similar than ``same_person`` count as one person (a signer seen in many
    clips must not be a wrong answer). Returns None where the gallery has fewer than two people: then every guess is
    right, and the share says nothing.

    :param probes: faces with embeddings, each with its file.
    :param groups: clip or track of each probe, for the interval.
    :param others: embeddings of people who are not in the files, one each.
    """
    found = guess(probes, others, same_person)
    return None if found is None else Identification(share(found.hits, [repr(group) for group in groups]), found.people)


@dataclass(frozen=True, slots=True)
class Guesses:
    """:ivar hits: for each probe, whether the right person was the first guess. :ivar people: in the gallery."""

    hits: list[bool]
    people: int


def guess(
    probes: Sequence[tuple[FileAudit, FaceRecord]],
    others: Sequence[Embedding],
    same_person: float,
    name_of: Callable[[FileAudit], str | None] | None = None,
) -> Guesses | None:
    """Look each anonymized face up; see :func:`identify`.

    :param name_of: tells whose clip or picture a file is. Where all are known, similarity need not tell who is one
        person: a recogniser that confuses people of one group would call each of them right for the other.
    """
    tracks: dict[tuple[int, int], list[Embedding]] = {}
    names: list[str | None] = []
    for audit, record in probes:
        assert record.embeddings is not None
        if (id(audit), record.track) not in tracks:
            names.append(name_of(audit) if name_of is not None else None)
        tracks.setdefault((id(audit), record.track), []).append(record.embeddings[0])
    if not tracks:
        return None
    own = [_mean(members) for members in tracks.values()]
    gallery = [*own, *others]
    persons = _persons(own, same_person) if None in names else [names.index(name) for name in names]
    persons += [len(own) + number for number in range(len(others))]
    people = len(set(persons))
    if people < 2:
        return None
    matrix = np.stack(gallery)
    place = {track: number for number, track in enumerate(tracks)}
    hits = []
    for audit, record in probes:
        assert record.embeddings is not None
        guess = int(np.argmax(matrix @ record.embeddings[1]))
        hits.append(persons[guess] == persons[place[id(audit), record.track]])
    return Guesses(hits, people)


def _mean(members: Sequence[Embedding]) -> Embedding:
    mean = np.mean(np.stack(members), axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def _persons(gallery: Sequence[Embedding], same_person: float) -> list[int]:
    """Number the entries so that those linked by similarities above the threshold share a number."""
    matrix = np.stack(gallery)
    alike = matrix @ matrix.T > same_person
    persons = list(range(len(gallery)))
    for first, second in zip(*np.nonzero(np.triu(alike, 1)), strict=True):
        old, new = persons[second], persons[first]
        persons = [new if person == old else person for person in persons]
    return persons
