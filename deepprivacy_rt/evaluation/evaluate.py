"""The whole evaluation: make copies of every file, look at them, and sum up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.examine import Examiner
from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.recogniser import Recogniser
from deepprivacy_rt.audit.thresholds import Threshold
from deepprivacy_rt.errors import DeepPrivacyError, SinkError, SourceError, StageError, UsageError
from deepprivacy_rt.evaluation.copies import GENERATED, TREATMENTS, CopyMaker, copy_name
from deepprivacy_rt.evaluation.diversity import MOST_CONTEXTS, Variants, make_variants
from deepprivacy_rt.evaluation.groups import Attributes
from deepprivacy_rt.evaluation.observer import Context, FileRun, Observer
from deepprivacy_rt.evaluation.results import Results, summarise
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.sources import is_image

_SUCCESSIVE = 2
"""Flicker is between neighbours in time: with every N-th frame, the one after it is looked at too."""
_IDENTITIES = 1000
"""More than a file has faces: each file gets latents of its own."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to evaluate.

    :ivar name: unique, for reports.
    :ivar input: the input it belongs to.
    :ivar targets: where its copies go, by treatment; those of further draws by ``copy_name``.
    """

    name: str
    input: str
    source: Path
    targets: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Networks:
    """The judges: none of them is part of the pipeline. :ivar mesh: None leaves mouth and eyes out."""

    finder: FaceFinder
    recogniser: Recogniser
    mesh: FaceMesh | None
    threshold: Threshold


@dataclass(slots=True, eq=False)
class Evaluation:
    """What came out, with the pictures for the page. Private: it holds original faces.

    :ivar failed: files that could not be evaluated, with the cause, one line each.
    """

    results: Results
    runs: dict[str, list[FileRun]]
    variants: dict[str, Variants | None]
    failed: list[str]


def evaluate(
    jobs: Sequence[Job],
    makers: Sequence[CopyMaker],
    networks: Networks,
    *,
    every: int,
    cache_folder: Path,
    reference: NDArray[np.float32] | None = None,
    attributes: Attributes | None = None,
    reuse: bool = False,
    on_step: Callable[[str], None] = lambda what: None,
) -> Evaluation:
    """Evaluate all files; one that fails does not end the others, but where all fail that is raised.

    :param makers: one for each draw of identities; the first one makes the floors, too.
    :param every: look at every n-th frame and the one after it.
    :param cache_folder: for what is found in the originals, which every treatment needs; holds biometric data.
    :param reuse: measure copies that are there already, without making them again.
    :param on_step: is told what is being done, once for each file.
    """
    runs: dict[str, list[FileRun]] = {treatment: [] for treatment in TREATMENTS}
    contexts: list[Context] = []
    failures: list[DeepPrivacyError] = []
    examiner = Examiner(
        networks.finder,
        networks.recogniser,
        every=every,
        successive=_SUCCESSIVE,
        measure_floors=False,
        cache_folder=cache_folder,
    )
    chosen = {int(place) for place in np.linspace(0, len(jobs) - 1, MOST_CONTEXTS)}
    for number, job in enumerate(jobs):
        on_step(job.name)
        observer = Observer(job.name, networks.mesh)
        try:
            _make_copies(job, makers, number * _IDENTITIES, reuse=reuse)
            looks = {treatment: [_look(examiner, observer, job, treatment)] for treatment in TREATMENTS}
            looks[GENERATED] += [_look(examiner, observer, job, GENERATED, draw) for draw in range(1, len(makers))]
        except (SourceError, SinkError, StageError, UsageError) as error:
            failures.append(error)
            continue
        for treatment, seen in looks.items():
            runs[treatment] += seen
        if number in chosen and observer.context is not None:
            contexts.append(observer.context)
    if len(failures) == len(jobs):
        raise failures[0]
    on_step("other identities")
    variants: dict[str, Variants | None] = {
        treatment: make_variants(
            makers if treatment == GENERATED else makers[:1], treatment, contexts, networks.finder, networks.recogniser
        )
        for treatment in (GENERATED, "pixelate", "solid")
    }
    results = summarise(runs, networks.threshold, variants, reference, attributes or {})
    failed = [f"not evaluated: {error}" for error in failures]
    results.doubts += failed
    return Evaluation(results, runs, variants, failed)


def _make_copies(job: Job, makers: Sequence[CopyMaker], identity: int, *, reuse: bool) -> None:
    missing = {name: path for name, path in job.targets.items() if not (reuse and path.is_file())}
    others = {copy_name(draw): draw for draw in range(1, len(makers))}
    detector = makers[0].new_detector()
    first = {name: path for name, path in missing.items() if name not in others}
    makers[0].make(job.source, first, identity, detector)
    for name, draw in others.items():
        if name in missing:
            makers[draw].make(job.source, {GENERATED: missing[name]}, identity, detector)


def _look(examiner: Examiner, observer: Observer, job: Job, treatment: str, draw: int = 0) -> FileRun:
    observer.begin()
    copy = job.targets[copy_name(draw) if treatment == GENERATED else treatment]
    audit = examiner.examine(job.source, copy, name=job.name, on_face=observer.see)
    return FileRun(job.input, is_image(job.source), audit, observer.measures, draw)
