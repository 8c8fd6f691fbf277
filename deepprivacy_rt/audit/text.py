"""The numbers of an audit as rows of text, for the terminal and for the HTML report."""

from __future__ import annotations

import math

from deepprivacy_rt.audit.bootstrap import Share
from deepprivacy_rt.audit.summary import Recognition, Summary


def rows(summary: Summary) -> list[tuple[str, str, str]]:
    """Return what was measured, its value, and its 95 % interval with the counts behind it."""
    lines = [_row(f"exposed faces, {name}", value) for name, value in summary.exposed.items()]
    lines += [_row(f"still found as faces, {name}", value) for name, value in summary.kept.items() if name[0] != "<"]
    if summary.recognition is None:
        return [*lines, ("same person by the recogniser", "not measured", "no --recogniser, or no face of 48 px")]
    return lines + _recognition_rows(summary.recognition)


def _recognition_rows(recognition: Recognition) -> list[tuple[str, str, str]]:
    limit = f"threshold {recognition.threshold:.3f} at a false accept rate of 0.001, {recognition.origin}"
    lines = [
        _row("same person by the recogniser, >=48 px", recognition.same),
        ("similarity, median and highest", f"{recognition.median:.2f}, {recognition.highest:.2f}", limit),
    ]
    if recognition.identification is None:
        lines.append(("right person as first guess", "not measured", "one person only: give --impostors"))
    else:
        chance = (
            f"; guessing among {recognition.identification.people} people: {1 / recognition.identification.people:.1%}"
        )
        what, value, detail = _row("right person as first guess", recognition.identification.correct)
        lines.append((what, value, detail + chance))
    for name, (same, median) in recognition.floors.items():
        lines.append((f"for comparison, same person if {name}", f"{same:.1%}", f"median similarity {median:.2f}"))
    return lines


def _row(what: str, value: Share) -> tuple[str, str, str]:
    if not value.total:
        return what, "none seen", ""
    counts = f"{value.hits} of {value.total}"
    if math.isnan(value.low):
        return what, f"{value.value:.2%}", f"{counts}; one clip or track: no interval"
    return what, f"{value.value:.2%}", f"{counts}; 95 %: {value.low:.2%} to {value.high:.2%} over {value.groups}"
