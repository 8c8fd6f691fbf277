"""From what was seen on single faces to numbers with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.bootstrap import Estimate, mean, median, ratio, share
from deepprivacy_rt.audit.people import guess
from deepprivacy_rt.audit.recogniser import Embedding
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.summary import LARGE
from deepprivacy_rt.audit.thresholds import Threshold
from deepprivacy_rt.evaluation.expression import correlation
from deepprivacy_rt.evaluation.observer import FaceMeasures, FileRun
from deepprivacy_rt.evaluation.similarity import mean_similarity
from deepprivacy_rt.expressions.face_mesh import Openings

Guessed: TypeAlias = dict[int, bool]
"""Whether the first guess was right, by the ``id`` of the record; records outlive it."""

_SMALL = 24.0
LEAST_MOMENTS = 10
"""A track with fewer frames tells nothing about steadiness or correlation."""
LEAST_MOUTH, LEAST_EYES, LEAST_SMILE = 0.02, 0.02, 1.0
"""Standard deviation of an opening, or a smile, in the original below which a track has nothing to follow but noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One face in one frame. :ivar track: its file and track, the unit of all intervals, whatever was drawn for it."""

    run: FileRun
    record: FaceRecord
    measures: FaceMeasures | None
    track: str


def samples(runs: Sequence[FileRun]) -> list[Sample]:
    """Return all faces of the runs of one treatment."""
    return [
        Sample(run, record, measures, f"{run.audit.name} {record.track}")
        for run in runs
        for record, measures in zip(run.audit.faces, run.measures, strict=True)
    ]


def estimates(faces: Sequence[Sample], threshold: Threshold, guessed: Guessed) -> dict[str, Estimate]:
    """Return every number that can be told from the faces of one treatment, by the keys of ``targets.ROWS``.

    :param guessed: see :func:`first_guesses`, over all faces, whatever part of them ``faces`` is.
    """
    large = [face for face in faces if face.record.face.size >= LARGE]
    small = [face for face in faces if _SMALL <= face.record.face.size < LARGE]
    found = {
        "exposed_large": _share(large, lambda face: face.record.exposed),
        "exposed_small": _share(small, lambda face: face.record.exposed),
        "kept_video": _share([face for face in large if not face.run.still], lambda face: face.record.kept),
        "kept_still": _share([face for face in large if face.run.still], lambda face: face.record.kept),
        "same_person": _share(large, lambda face: (face.record.similarity or 0.0) > threshold.value),
        "rank_1": _share([face for face in large if id(face.record) in guessed], lambda face: guessed[id(face.record)]),
        "similarity": _median(large, lambda face: face.record.similarity),
        "keypoint_error": _mean(large, lambda face: None if face.measures is None else face.measures.keypoint_error),
        "sharpness": _median(large, _sharpness_ratio),
        "flicker": _flicker(large),
        "steadiness": _steadiness(large),
        "mouth": _following(large, lambda seen: seen.mouth, LEAST_MOUTH),
        "eyes": _following(large, lambda seen: seen.eyes, LEAST_EYES),
        "smile": _following(large, lambda seen: seen.smile, LEAST_SMILE),
    }
    return {key: value for key, value in found.items() if np.isfinite(value.value)}


def first_guesses(
    faces: Sequence[Sample], threshold: Threshold, name_of: Callable[[FileAudit], str | None] | None = None
) -> tuple[Guessed, int | None]:
    """Return for whom the right person is the first guess, and among how many; nobody and None with one person.

    The gallery holds the originals of all tracks, and the people of the impostor pictures but those who may be in the
    files as well: they would be wrong answers that are right.

    :param name_of: see :func:`deepprivacy_rt.audit.people.guess`.
    """
    probes: list[tuple[FileAudit, FaceRecord]] = [
        (face.run.audit, face.record)
        for face in faces
        if face.record.face.size >= LARGE and face.record.embeddings is not None
    ]
    if not probes:
        return {}, None
    own = np.stack([embeddings[0] for _, record in probes if (embeddings := record.embeddings) is not None])
    others = [other for other in threshold.others if float((own @ other).max()) <= threshold.value]
    found = guess(probes, others, threshold.value, name_of)
    if found is None:
        return {}, None
    return {id(record): hit for (_, record), hit in zip(probes, found.hits, strict=True)}, found.people


def one_per_track(faces: Sequence[Sample]) -> NDArray[np.float32]:
    """Return the copy's embedding of the best scored large face of each track, (tracks, d)."""
    best: dict[str, Sample] = {}
    for face in faces:
        if face.record.face.size >= LARGE and face.record.embeddings is not None:
            known = best.get(face.track)
            if known is None or face.record.face.score > known.record.face.score:
                best[face.track] = face
    rows = [face.record.embeddings[1] for face in best.values() if face.record.embeddings is not None]
    return np.stack(rows) if rows else np.zeros((0, 1), np.float32)


def _share(faces: Sequence[Sample], hit: Callable[[Sample], bool]) -> Estimate:
    value = share([bool(hit(face)) for face in faces], [face.track for face in faces])
    return Estimate(value.value, value.low, value.high, value.total, value.groups)


def _known(faces: Sequence[Sample], value: Callable[[Sample], float | None]) -> tuple[list[float], list[str]]:
    pairs = [(number, face.track) for face in faces if (number := value(face)) is not None]
    return [number for number, _ in pairs], [track for _, track in pairs]


def _mean(faces: Sequence[Sample], value: Callable[[Sample], float | None]) -> Estimate:
    return mean(*_known(faces, value))


def _median(faces: Sequence[Sample], value: Callable[[Sample], float | None]) -> Estimate:
    return median(*_known(faces, value))


def _sharpness_ratio(face: Sample) -> float | None:
    if face.measures is None or face.measures.sharpness[0] <= 0:
        return None
    return face.measures.sharpness[1] / face.measures.sharpness[0]


def _flicker(faces: Sequence[Sample]) -> Estimate:
    changes = [(face.measures.change, face.track) for face in faces if face.measures and face.measures.change]
    return ratio([copy for (_, copy), _ in changes], [own for (own, _), _ in changes], [track for _, track in changes])


def _tracks(faces: Sequence[Sample]) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the tracks of videos that are long enough, once for each draw of identities."""
    tracks: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for face in faces:
        if not face.run.still:
            tracks[face.track, face.run.draw].append(face)
    return ((name, members) for (name, _), members in tracks.items() if len(members) >= LEAST_MOMENTS)


def _steadiness(faces: Sequence[Sample]) -> Estimate:
    names, values = [], []
    for name, members in _tracks(faces):
        embeddings: list[Embedding] = [one.record.embeddings[1] for one in members if one.record.embeddings is not None]
        if embeddings:  # there is a recogniser
            names.append(name)
            values.append(mean_similarity(embeddings))
    return mean(values, names)


def _following(faces: Sequence[Sample], part: Callable[[Openings], float], least: float) -> Estimate:
    names, values = [], []
    for name, members in _tracks(faces):
        pairs = [one.measures.openings for one in members if one.measures and one.measures.openings]
        original, copy = ([part(pair[side]) for pair in pairs] for side in (0, 1))
        if len(pairs) >= LEAST_MOMENTS and np.std(original) >= least:
            names.append(name)
            values.append(correlation(original, copy))
    return mean(values, names)
