"""The rows of the report, and what each number has to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deepprivacy_rt.audit.bootstrap import Estimate

STEADINESS_MARGIN = 0.02
GROUP_POINTS = 0.03


@dataclass(frozen=True, slots=True)
class Row:
    """One row. :ivar percent: whether the number is a share."""

    key: str
    title: str
    percent: bool = False


ROWS = (
    Row("exposed_large", "exposed faces, >=48 px", True),
    Row("exposed_small", "exposed faces, 24-48 px", True),
    Row("kept_video", "still found as faces, video, >=48 px", True),
    Row("kept_still", "still found as faces, stills, >=48 px", True),
    Row("same_person", "same person at FAR 1e-3", True),
    Row("rank_1", "right person as first guess (rank 1)", True),
    Row("similarity", "similarity to the original, median"),
    Row("keypoint_error", "keypoint error, inter-ocular distances"),
    Row("sharpness", "sharpness over the original's, median"),
    Row("flicker", "flicker over the original's"),
    Row("steadiness", "identity steadiness along a track"),
    Row("mouth", "mouth opening, correlation with the original"),
    Row("eyes", "eyelid opening, correlation with the original"),
    Row("smile", "smile, correlation with the original"),
    Row("latents", "similarity of two latents, same context"),
    Row("people", "similarity of two people, same latent"),
    Row("frechet", "Fréchet distance to held-out faces (embeddings)"),
    Row("kernel", "kernel distance to held-out faces (embeddings)"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a number has to reach. :ivar text: for the report."""

    text: str
    met: Callable[[float], bool]


def targets(original: Mapping[str, Estimate], people: int | None) -> dict[str, Target]:
    """Return the targets by the keys of the rows.

    :param original: the floor "original" of each row, for targets that are relative to it.
    :param people: in the gallery; guessing is right once in as many.
    """
    found = {
        "exposed_large": _at_most(0.0, "0"),
        "exposed_small": _at_most(0.01, "<= 1 %"),
        "kept_video": _at_least(0.98, ">= 98 %"),
        "kept_still": _at_least(0.95, ">= 95 %"),
        "same_person": _at_most(0.005, "<= 0.5 %"),
        "keypoint_error": _at_most(0.10, "<= 0.10"),
        "sharpness": Target("0.5 to 1.5", lambda value: 0.5 <= value <= 1.5),
        "flicker": _at_most(1.1, "<= 1.1"),
        "mouth": _at_least(0.8, ">= 0.8"),
        "latents": _at_most(0.35, "<= 0.35"),
    }
    if "steadiness" in original:
        least = original["steadiness"].value - STEADINESS_MARGIN
        found["steadiness"] = _at_least(least, f">= {least:.3f} (the original's - {STEADINESS_MARGIN})")
    if people is not None:
        found["rank_1"] = _at_most(2 / people, f"<= {2 / people:.1%} (twice chance of {people})")
    return found


def group_target() -> Target:
    """Return the target for the distance of the worst group from the best."""
    return _at_most(GROUP_POINTS, f"<= {GROUP_POINTS:.0%} points".replace("%", ""))


def _at_most(limit: float, text: str) -> Target:
    return Target(text, lambda value: value <= limit)


def _at_least(limit: float, text: str) -> Target:
    return Target(text, lambda value: value >= limit)
