"""The losses of a run, as lines for the reader and rows of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from deepprivacy_rt.errors import TrainingError


def log_metrics(
    path: Path, pictures: int, rate: float, losses: Mapping[str, Tensor], report: Callable[[str], None]
) -> None:
    """Append a row, below a heading where the file is new, and report it.

    :param rate: pictures per second.
    :param losses: one number each.

    Raises TrainingError where a loss is no longer finite.
    """
    values = {name: round(value.item(), 5) for name, value in sorted(losses.items())}
    if not all(abs(value) < float("inf") for value in values.values()):
        raise TrainingError(f"training diverged at {pictures} pictures: {values}")
    row: dict[str, Any] = {"pictures": pictures, "pictures_per_second": round(rate, 1), **values}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    report(" ".join(f"{name}={value}" for name, value in row.items()))
