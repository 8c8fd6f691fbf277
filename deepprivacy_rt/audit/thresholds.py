"""Which similarity means "the same person" for a recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepprivacy_rt.audit.faces import FaceFinder
from deepprivacy_rt.audit.recogniser import Embedding, Recogniser, impostor_similarities, threshold_at_far
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.sources.image import ImageSource

FAR = 1e-3
_MEASURED = {
    # MobileFace V3: 5,050 pairs of 101 people, the 51 of the Face Research Lab London Set with a neutral face and 50
    # portraits (cjdowner/interfaces). Five pairs lie above, all of them looked at: they are different people.
    "bf1bf4768a137fc8a584396def8ac0056b1be3e2da9363d0c23b87109a6ef468": 0.528,
}
"""By SHA-256 of the model file, at a false accept rate of 1e-3."""


@dataclass(frozen=True, slots=True, eq=False)
class Threshold:
    """The similarity above which two faces count as one person.

    :ivar origin: where the value comes from, for the report.
    :ivar others: embeddings of the people it was read from; empty for a stored value.
    """

    value: float
    origin: str
    others: tuple[Embedding, ...] = ()


def stored_threshold(recogniser: Recogniser) -> Threshold:
    """Return the value measured for a known model file. Raises UsageError for another."""
    if recogniser.sha256 not in _MEASURED:
        cause = "no threshold is known for this recogniser"
        raise UsageError(
            f"{recogniser.model}: {cause}; cure: --impostors FOLDER with a picture each of 46 or more people"
        )
    return Threshold(_MEASURED[recogniser.sha256], "stored: 5,050 pairs of 101 people")


def measured_threshold(recogniser: Recogniser, finder: FaceFinder, pictures: Sequence[Path]) -> Threshold:
    """Read the threshold from pictures of different people, the largest face of each.

    Raises UsageError where there are too few people for the rate, SourceError for an unreadable picture.
    """
    people = []
    for path in pictures:
        with ImageSource(path) as source:
            image = next(iter(source)).image
        faces = finder.find(image)
        if faces:
            people.append(recogniser.embed(image, max(faces, key=lambda face: face.size).points))
    pairs = len(people) * (len(people) - 1) // 2
    if pairs * FAR < 1:
        raise UsageError(f"impostors: {len(people)} people give {pairs} pairs, too few for a rate of {FAR:g}; need 46")
    value = threshold_at_far(impostor_similarities(people), FAR)
    return Threshold(value, f"read from {pairs:,} pairs of {len(people)} people", tuple(people))
