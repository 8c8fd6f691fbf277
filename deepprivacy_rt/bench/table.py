"""Results as text: tables of a run, and ratios between two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deepprivacy_rt.bench.results import Cell, Run

_Row = Sequence[str]


def text(run: Run) -> str:
    """Return the tables of a run."""
    machine = run.machine
    gpu = f", {machine['gpu']['name']}" if machine["gpu"] else ""
    load = f", load {machine['load_before']} before the run" if machine["load_before"] is not None else ""
    lines = [f"{machine['cpu']}, {machine['cores']} cores{gpu}{load}", ""]
    lines += _aligned(_without_empty([_HEAD, *(_row(cell) for cell in run.cells)]))
    lines += ["", "per stage, ms: wall time of a call; of all calls per frame; CPU; share of all stages' wall time"]
    lines += _aligned([_STAGE_HEAD, *(row for cell in run.cells for row in _stage_rows(cell))])
    warnings = [f"warning: {cell.label}: {line}" for cell in run.cells for line in cell.warnings]
    return "\n".join([*lines, *([""] if warnings else []), *warnings])


_MEMORY = ("RAM MiB", "VRAM")
_FACES = ("placed", "covered", "generated")
_STREAMS = ("fps/stream", "faces/call")
_HEAD = (
    "cell",
    "fps",
    *_STREAMS,
    "latency p50",
    "p95",
    "p99 ms",
    "CPU ms/f",
    *_MEMORY,
    "drops",
    *_FACES,
    "looks for faces at",
)
_STAGE_HEAD = ("cell", "stage", "calls", "p50", "p95", "p99", "per frame", "CPU/frame", "share")


def _row(cell: Cell) -> _Row:
    latency = cell.latency_ms
    return (
        cell.label,
        f"{cell.fps:.1f}",
        *_of_streams(cell),
        f"{latency.p50:.0f}",
        f"{latency.p95:.0f}",
        f"{latency.p99:.0f}",
        f"{cell.cpu_ms_per_frame:.1f}",
        _whole(cell.ram_peak_mib),
        _whole(cell.vram_peak_mib),
        str(cell.drops.total) if cell.mode == "live" else "-",
        "?" if cell.faces_placed is None else str(cell.faces_placed),
        f"{cell.faces_covered:.2f}",
        f"{cell.faces_generated:.2f}",
        cell.pace or "its own pace",
    )


def _of_streams(cell: Cell) -> _Row:
    """Return the slowest and the fastest stream, and the mean batch; nothing where there is one stream only."""
    if cell.streams == 1:
        return "", ""
    mean = "-" if cell.batch_mean is None else f"{cell.batch_mean:.2f}"
    return f"{min(cell.fps_by_stream):.1f}-{max(cell.fps_by_stream):.1f}", mean


def _without_empty(rows: Sequence[_Row]) -> list[_Row]:
    """Leave out the columns that are empty below their head."""
    kept = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    return [[row[column] for column in kept] for row in rows]


def _stage_rows(cell: Cell) -> list[_Row]:
    return [
        (
            cell.label,
            name,
            str(stage.calls),
            f"{stage.wall_ms.p50:.2f}",
            f"{stage.wall_ms.p95:.2f}",
            f"{stage.wall_ms.p99:.2f}",
            f"{stage.wall_ms_per_frame:.2f}",
            f"{stage.cpu_ms_per_frame:.2f}",
            f"{stage.share:.0%}",
        )
        for name, stage in cell.stages.items()
    ]


def comparison(new: Run, old: Run) -> str:
    """Return ratios, new by old, of the cells that are in both, and what else differs between the runs."""
    before = {cell.key: cell for cell in old.cells}
    both = [(cell, before[cell.key]) for cell in new.cells if cell.key in before]
    lines = [f"compared with {old.created}: new / old"]
    for what, ours, theirs in _differences(new, old):
        lines.append(f"warning: {what}: {ours}, was {theirs}")
    if not both:
        return "\n".join([*lines, "no cell is in both"])
    fullest = sorted((cell for cell, _ in both), key=lambda cell: -len(cell.stages))
    stages = list(dict.fromkeys(name for cell in fullest for name in cell.stages))
    head = ("cell", *_RATIOS, *(f"{name} ms/f" for name in stages))
    rows = []
    for ours, theirs in both:
        values = [_ratio(read(ours), read(theirs)) for read in _RATIOS.values()]
        values += [_ratio(_per_frame(ours, name), _per_frame(theirs, name)) for name in stages]
        rows.append((ours.label, *values))
    return "\n".join([*lines, *_aligned([head, *rows])])


_RATIOS: dict[str, Callable[[Cell], float | None]] = {
    "fps": lambda cell: cell.fps,
    "slowest fps": lambda cell: min(cell.fps_by_stream),
    "p50": lambda cell: cell.latency_ms.p50,
    "p95": lambda cell: cell.latency_ms.p95,
    "CPU ms/f": lambda cell: cell.cpu_ms_per_frame,
    "RAM": lambda cell: cell.ram_peak_mib,
    "generated": lambda cell: cell.faces_generated,
    "faces/call": lambda cell: cell.batch_mean,
}


def _differences(new: Run, old: Run) -> list[tuple[str, object, object]]:
    """Return what makes a comparison doubtful: other hardware, libraries, settings."""
    pairs = [(name, new.machine.get(name), old.machine.get(name)) for name in ("cpu", "cores", "gpu")]
    for ours, theirs in ((new.versions, old.versions), (new.settings, old.settings)):
        pairs += [(name, ours.get(name), theirs.get(name)) for name in {**ours, **theirs}]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _per_frame(cell: Cell, name: str) -> float | None:
    return cell.stages[name].wall_ms_per_frame if name in cell.stages else None


def _ratio(new: float | None, old: float | None) -> str:
    return "-" if new is None or not old else f"{new / old:.2f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _aligned(rows: Sequence[_Row]) -> list[str]:
    """Text to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = 2 if rows[0][1] == "stage" else 1
    return [
        "  ".join(
            text.ljust(width) if column < words else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
