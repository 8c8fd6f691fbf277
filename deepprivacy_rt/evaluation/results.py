"""All numbers of an evaluation, over everything, by input and by group of people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.bootstrap import Estimate
from deepprivacy_rt.audit.records import FileAudit
from deepprivacy_rt.audit.summary import LARGE
from deepprivacy_rt.audit.thresholds import Threshold
from deepprivacy_rt.evaluation.copies import GENERATED
from deepprivacy_rt.evaluation.distribution import LEAST_FACES, frechet_distance, kernel_distance
from deepprivacy_rt.evaluation.diversity import Variants, similarity_over_latents, similarity_over_people
from deepprivacy_rt.evaluation.groups import Attributes, Spread, person_of, spread
from deepprivacy_rt.evaluation.measures import Guessed, Sample, estimates, first_guesses, one_per_track, samples
from deepprivacy_rt.evaluation.observer import FileRun
from deepprivacy_rt.evaluation.strangers import Strangers, strangers
from deepprivacy_rt.evaluation.targets import Target, targets

Values: TypeAlias = dict[str, dict[str, Estimate]]
"""By key of the row, then by treatment; what could not be measured is not there."""
Faces: TypeAlias = dict[str, list[Sample]]
"""By treatment."""

SPREAD_ROWS = {"kept": "still found as faces", "same_person": "same person at FAR 1e-3", "rank_1": "rank 1"}


@dataclass(slots=True, eq=False)
class Results:
    """Everything but the pictures.

    :ivar frames: of the originals, looked at.
    :ivar faces: of at least 48 px, over all these frames.
    :ivar draws: of identities; each counts every face once more.
    :ivar notes: what a reader of a row has to know, by its key.
    :ivar by_input: the rows for each input alone.
    :ivar by_group: for each column of the group table and each group in it, the rows of the generated faces.
    :ivar spreads: for each column, by key of ``SPREAD_ROWS``, then by treatment.
    :ivar strangers: what real people of the same groups would give.
    """

    files: int
    frames: int
    faces: int
    tracks: int
    threshold: Threshold
    draws: int = 1
    values: Values = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    by_input: dict[str, Values] = field(default_factory=dict)
    by_group: dict[str, dict[str, Values]] = field(default_factory=dict)
    spreads: dict[str, dict[str, dict[str, Spread]]] = field(default_factory=dict)
    strangers: list[Strangers] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def met(self, key: str) -> bool | None:
        """Return whether a row reaches its target; None where it has none, or was not measured."""
        value, target = self.values.get(key, {}).get(GENERATED), self.targets.get(key)
        return None if value is None or target is None else target.met(value.value)


def summarise(
    runs: Mapping[str, Sequence[FileRun]],
    threshold: Threshold,
    variants: Mapping[str, Variants | None],
    reference: NDArray[np.float32] | None,
    attributes: Attributes,
) -> Results:
    """Return all numbers.

    :param runs: by treatment.
    :param variants: by treatment; see ``diversity``.
    :param reference: embeddings of held-out faces, or None.
    :param attributes: group columns; may be empty.
    """
    faces: Faces = {name: samples(part) for name, part in runs.items()}
    first = [run for run in runs[GENERATED] if run.draw == 0]
    large = [face for face in faces[GENERATED] if face.run.draw == 0 and face.record.face.size >= LARGE]
    results = Results(
        files=len(first),
        frames=sum(run.audit.frames for run in first),
        faces=len(large),
        tracks=len({face.track for face in large}),
        threshold=threshold,
        draws=1 + max((run.draw for run in runs[GENERATED]), default=0),
    )
    known: dict[str, str] = {}
    for named in attributes.values():
        known |= named

    def name_of(audit: FileAudit) -> str | None:
        return person_of(audit.name, known)

    guessed, people = {}, None
    for treatment, part in faces.items():
        guessed[treatment], people = first_guesses(part, threshold, name_of)
    results.values = _values(faces, threshold, guessed)
    _add_diversity(results, variants)
    _add_distances(results, faces, reference)
    original = {key: part["original"] for key, part in results.values.items() if "original" in part}
    results.targets = targets(original, people)
    inputs = list(dict.fromkeys(face.run.input for face in faces[GENERATED]))
    if len(inputs) > 1:
        for name in inputs:
            part_of = _grouped(faces, name, lambda face: face.run.input)
            results.by_input[name] = _values(part_of, threshold, guessed)
    for column, group_of in attributes.items():
        _add_groups(results, faces, guessed, column, group_of)
    results.strangers = _strangers(large, attributes)
    results.doubts += _doubts(first)
    return results


def _values(faces: Faces, threshold: Threshold, guessed: Mapping[str, Guessed]) -> Values:
    """Return the rows that single faces tell."""
    values: Values = {}
    for treatment, part in faces.items():
        for key, value in estimates(part, threshold, guessed[treatment]).items():
            values.setdefault(key, {})[treatment] = value
    return values


def _only(faces: Faces, wanted: Callable[[Sample], bool]) -> Faces:
    return {treatment: [face for face in part if wanted(face)] for treatment, part in faces.items()}


def _grouped(faces: Faces, name: str, group: Callable[[Sample], str | None]) -> Faces:
    return _only(faces, lambda face: group(face) == name)


def _add_diversity(results: Results, variants: Mapping[str, Variants | None]) -> None:
    rows: Values = {"latents": {}, "people": {}}
    for treatment, found in variants.items():
        if found is None:
            continue
        if treatment == GENERATED:
            own = similarity_over_people(found, results.threshold.value, of_originals=True)
            rows["people"]["original"] = own
            results.notes["latents"] = f"{len(found.names)} contexts, {found.embeddings.shape[1]} latents each"
        rows["latents"][treatment] = similarity_over_latents(found)
        rows["people"][treatment] = similarity_over_people(found, results.threshold.value)
    for key, part in rows.items():
        measured = {name: value for name, value in part.items() if np.isfinite(value.value)}
        if measured:
            results.values[key] = measured


def _add_distances(results: Results, faces: Faces, reference: NDArray[np.float32] | None) -> None:
    if reference is None:
        results.notes["frechet"] = results.notes["kernel"] = "not measured: no --pack"
        return
    sets = {treatment: one_per_track(part) for treatment, part in faces.items()}
    count = len(sets[GENERATED])
    if count < LEAST_FACES:
        results.notes["frechet"] = results.notes["kernel"] = f"not measured: {count} tracks, {LEAST_FACES} are needed"
        return
    results.values["frechet"], results.values["kernel"] = {}, {}
    for treatment, rows in sets.items():
        distance = frechet_distance(rows, reference)
        results.values["frechet"][treatment] = Estimate(distance, np.nan, np.nan, count, count)
        results.values["kernel"][treatment] = kernel_distance(rows, reference)
    # What the formulas give for faces of the very distribution, at this number.
    drawn = np.random.default_rng(0).permutation(len(reference))
    few = min(count, len(reference) // 2)
    one, rest = reference[drawn[:few]], reference[drawn[few:]]
    same = f"{few} held-out faces against the other {len(rest)}"
    results.notes["frechet"] = f"{same}: {frechet_distance(one, rest):.3f}"
    results.notes["kernel"] = f"{same}: {kernel_distance(one, rest).value:.3f}"


def _add_groups(
    results: Results, faces: Faces, guessed: Mapping[str, Guessed], column: str, group_of: Mapping[str, str]
) -> None:
    def group(face: Sample) -> str | None:
        person = person_of(face.run.audit.name, group_of)
        return None if person is None else group_of[person]

    known = _only(faces, lambda face: group(face) is not None and face.record.face.size >= LARGE)
    groups = sorted({str(group(face)) for face in known[GENERATED]})
    if len(groups) < 2:
        results.doubts.append(f"{column}: no two groups among the files; their names begin with a person of the table")
        return
    one = {GENERATED: known[GENERATED]}
    results.by_group[column] = {
        name: _values(_grouped(one, name, group), results.threshold, guessed) for name in groups
    }
    results.spreads[column] = {key: {} for key in SPREAD_ROWS}
    for treatment, part in known.items():
        people = [str(person_of(face.run.audit.name, group_of)) for face in part]
        hits = {
            "kept": [float(face.record.kept) for face in part],
            "same_person": [float((face.record.similarity or 0.0) > results.threshold.value) for face in part],
            "rank_1": [float(guessed[treatment].get(id(face.record), False)) for face in part],
        }
        for key, values in hits.items():
            results.spreads[column][key][treatment] = spread(values, people, group_of)


def _strangers(faces: Sequence[Sample], attributes: Attributes) -> list[Strangers]:
    """Return what strangers would give for the people whom all columns know. :param faces: each once."""
    columns = list(attributes.values())
    originals, people = [], []
    for face in faces:
        name = person_of(face.run.audit.name, columns[0]) if columns else None
        if name is not None and face.record.embeddings is not None and all(name in column for column in columns):
            originals.append(face.record.embeddings[0])
            people.append(name)
    return strangers(originals, people, attributes) if len(set(people)) > 1 else []


def _doubts(runs: Sequence[FileRun]) -> list[str]:
    lines = [f"{run.audit.name}: no face of the original was found" for run in runs if not run.audit.faces]
    lines += [f"{run.audit.name}: {run.audit.missing} frames have no counterpart" for run in runs if run.audit.missing]
    return lines
