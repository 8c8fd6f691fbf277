"""The numbers as tables of text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deepprivacy_rt.audit.bootstrap import Estimate
from deepprivacy_rt.evaluation.copies import FLOORS, GENERATED
from deepprivacy_rt.evaluation.groups import Spread
from deepprivacy_rt.evaluation.results import SPREAD_ROWS, Results, Values
from deepprivacy_rt.evaluation.targets import ROWS, Row, group_target

HEAD = ("measure", "generated", "95 % interval", *FLOORS, "target", "met", "over")
GROUP_HEAD = ("group", "tracks", "still found", "same person", "rank 1", "similarity", "keypoint error")
SPREAD_HEAD = ("worst against best group, points", "generated", "by chance, 95 %", *FLOORS, "target", "met", "which")
STRANGER_HEAD = ("real strangers of the same", "group", "people", "rank 1", "95 % interval")
_NOT = "not measured"


def main_rows(results: Results) -> list[tuple[str, ...]]:
    """Return the table over everything, under ``HEAD``."""
    rows = []
    for row in ROWS:
        cells = _cells(row, results.values)
        target = results.targets.get(row.key)
        verdict = {True: "yes", False: "NO", None: "" if target is None else _NOT}[results.met(row.key)]
        note = results.notes.get(row.key, "")
        over = f"{cells[-1]}; {note}" if cells[-1] and note else cells[-1] or note
        rows.append((row.title, *cells[:-1], target.text if target else "", verdict, over))
    return rows


def input_rows(values: Values) -> list[tuple[str, ...]]:
    """Return the table of one input: as the main one, without targets."""
    return [(row.title, *_cells(row, values)) for row in ROWS if GENERATED in values.get(row.key, {})]


def group_rows(groups: dict[str, Values]) -> list[tuple[str, ...]]:
    """Return the generated faces of each group, under ``GROUP_HEAD``."""
    by_key = {row.key: row for row in ROWS}
    table = []
    for name, values in groups.items():
        kept = [key for key in ("kept_video", "kept_still") if key in values]
        shown = [" / ".join(_with_interval(by_key[key], values) for key in kept) or _NOT]
        shown += [_with_interval(by_key[key], values) for key in ("same_person", "rank_1")]
        shown += [_with_interval(by_key[key], values) for key in ("similarity", "keypoint_error")]
        table.append((name, str(values["same_person"][GENERATED].groups), *shown))
    return table


def spread_rows(results: Results) -> list[tuple[str, ...]]:
    """Return the distance of the worst group from the best, under ``SPREAD_HEAD``."""
    target, rows = group_target(), []
    for column, by_key in results.spreads.items():
        for key, by_treatment in by_key.items():
            found = by_treatment[GENERATED]
            floors = [_points(by_treatment[name].difference) for name in FLOORS]
            verdict = "yes" if target.met(found.difference) else "NO"
            chance = _points(found.by_chance)
            title = f"{SPREAD_ROWS[key]}, {column}"
            which = f"{found.lowest} lowest, {found.highest} highest" if found.difference > 0 else ""
            rows.append((title, _points(found.difference), f"<= {chance}", *floors, target.text, verdict, which))
    return rows


def stranger_rows(results: Results) -> list[tuple[str, ...]]:
    """Return what real people of the same groups would give, under ``STRANGER_HEAD``."""
    row = next(row for row in ROWS if row.key == "rank_1")
    return [
        (one.column, one.group or "all", str(one.people), _number(row, one.rank_1.value), _interval(row, one.rank_1))
        for one in results.strangers
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for the terminal that is valid Markdown too."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(results: Results) -> str:
    """Return everything for the terminal."""
    counts = f"{results.files} files, {results.frames} frames looked at, {results.faces} faces of 48 px or more"
    drawn = f", {results.draws} draws of identities" if results.draws > 1 else ""
    limit = f"same person: similarity above {results.threshold.value:.3f} ({results.threshold.origin})"
    parts = [f"{counts} on {results.tracks} tracks{drawn}; {limit}", "", markdown(HEAD, main_rows(results))]
    for column, groups in results.by_group.items():
        parts += ["", f"generated faces by {column}", "", markdown(GROUP_HEAD, group_rows(groups))]
    if results.spreads:
        parts += ["", markdown(SPREAD_HEAD, spread_rows(results))]
    if results.strangers:
        parts += ["", markdown(STRANGER_HEAD, stranger_rows(results))]
    return "\n".join(parts)


def to_json(results: Results) -> dict[str, object]:
    """Return everything as JSON values. Schema: docs/evaluate.md."""
    return {
        "version": 1,
        "files": results.files,
        "frames": results.frames,
        "faces": results.faces,
        "draws": results.draws,
        "tracks": results.tracks,
        "threshold": round(results.threshold.value, 4),
        "threshold_origin": results.threshold.origin,
        "measures": {
            row.key: {
                "title": row.title,
                **_values_json(results.values.get(row.key, {})),
                "target": results.targets[row.key].text if row.key in results.targets else None,
                "met": results.met(row.key),
                "note": results.notes.get(row.key),
            }
            for row in ROWS
        },
        "by_input": {name: _rows_json(values) for name, values in results.by_input.items()},
        "by_group": {
            column: {name: _rows_json(values) for name, values in groups.items()}
            for column, groups in results.by_group.items()
        },
        "spreads": {
            column: {
                key: {name: _spread_json(value) for name, value in by_treatment.items()}
                for key, by_treatment in by_key.items()
            }
            for column, by_key in results.spreads.items()
        },
        "strangers": [
            {"column": one.column, "group": one.group, "people": one.people, "rank_1": estimate_json(one.rank_1)}
            for one in results.strangers
        ],
        "doubts": results.doubts,
    }


def _cells(row: Row, values: Values) -> tuple[str, ...]:
    """Return the value, its interval, the floors, and what it was measured on."""
    part = values.get(row.key, {})
    shown = [_number(row, part[name].value) if name in part else "-" for name in FLOORS]
    if GENERATED not in part:
        return (_NOT, "", *shown, "")
    value = part[GENERATED]
    over = f"{value.total} on {value.groups}" if value.total != value.groups else f"{value.total}"
    return (_number(row, value.value), _interval(row, value), *shown, over)


def _with_interval(row: Row, values: Values) -> str:
    if GENERATED not in values.get(row.key, {}):
        return _NOT
    value = values[row.key][GENERATED]
    interval = _interval(row, value)
    return _number(row, value.value) + (f" ({interval})" if interval else "")


def _interval(row: Row, value: Estimate) -> str:
    return "" if math.isnan(value.low) else f"{_number(row, value.low)} to {_number(row, value.high)}"


def _number(row: Row, value: float) -> str:
    return f"{value:.1%}" if row.percent else f"{value:.3f}"


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _rows_json(values: Values) -> dict[str, object]:
    return {key: _values_json(part) for key, part in values.items()}


def _values_json(part: dict[str, Estimate]) -> dict[str, object]:
    return {name: estimate_json(part[name]) if name in part else None for name in (GENERATED, *FLOORS)}


def estimate_json(value: Estimate) -> dict[str, object]:
    """Return a number as JSON values; null for what cannot be told."""
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    known = {name: None if math.isnan(number) else round(number, 5) for name, number in numbers.items()}
    return {**known, "total": value.total, "groups": value.groups}


def _spread_json(value: Spread) -> dict[str, object]:
    numbers = {"difference": value.difference, "by_chance": value.by_chance}
    known = {name: None if math.isnan(number) else round(number, 5) for name, number in numbers.items()}
    return {**known, "lowest": value.lowest, "highest": value.highest}
