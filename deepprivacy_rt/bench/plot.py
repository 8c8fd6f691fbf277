"""A picture of a run: what a frame's time goes into, and frames per second over faces and sizes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepprivacy_rt.bench.results import Cell, Run
from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.types import Image

_COLOURS = {
    "detect": (66, 114, 196),
    "track": (140, 170, 220),
    "express": (110, 180, 180),
    "erase": (150, 150, 150),
    "cut": (190, 190, 120),
    "generate": (214, 96, 60),
    "paste": (238, 168, 98),
    "paint": (214, 96, 60),
    "fetch": (238, 168, 98),
    "encode": (90, 160, 100),
}
_OTHER = (120, 90, 150)
_INK, _PAPER, _WHITE = (40, 40, 40), (255, 255, 255), (255, 255, 255)
_WIDTH, _MARGIN, _LABEL = 1200, 24, 260
_ROW, _BOX, _LEGEND = 30, 54, 34


def png(run: Run) -> bytes:
    """Return the picture as PNG. Raises SinkError where it cannot be encoded."""
    drawn = np.vstack([_title(run), _bars(run.cells), _grid(run.cells)])
    done, data = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    if not done:
        raise SinkError("the plot cannot be encoded as PNG")
    return bytes(data)


def _title(run: Run) -> Image:
    image = _paper(2 * _MARGIN + 34)
    first = run.cells[0]
    encoder = f", encoder {first.encoder}" if first.mode == "file" else ""
    gpu = run.machine["gpu"]["name"] if run.machine["gpu"] else ""
    _write(image, f"deepprivacy-rt bench: {first.mode}, {first.device}{encoder}", _MARGIN, 34, 0.7)
    _write(image, f"{run.machine['cpu']}, {run.machine['cores']} cores {gpu}  {run.created}", _MARGIN, 62, 0.45)
    return image


def _bars(cells: Sequence[Cell]) -> Image:
    """Draw a bar per cell: wall milliseconds per frame by stage, one after the other."""
    image = _paper(_LEGEND + _ROW * (len(cells) + 1))
    longest = max(_milliseconds(cell) for cell in cells) or 1.0
    room = _WIDTH - _LABEL - 2 * _MARGIN - 90
    # The cell with most stages has them all in order: without faces, some are never called.
    fullest = sorted(cells, key=lambda cell: -len(cell.stages))
    names = list(dict.fromkeys(name for cell in fullest for name in cell.stages))
    x = _LABEL
    for name in names:
        cv2.rectangle(image, (x, 8), (x + 14, 22), _colour(name), -1)
        x = _write(image, name, x + 20, 20, 0.45) + 24
    _write(image, "stages, ms per frame", _MARGIN, 20, 0.45)
    for row, cell in enumerate(cells):
        top = _LEGEND + _ROW * row
        _write(image, cell.label, _MARGIN, top + 19, 0.45)
        reached = 0.0
        for name, stage in cell.stages.items():
            left, reached = reached, reached + stage.wall_ms_per_frame
            ends = [round(_LABEL + value / longest * room) for value in (left, reached)]
            if ends[1] > ends[0]:
                cv2.rectangle(image, (ends[0], top + 4), (ends[1] - 1, top + _ROW - 6), _colour(name), -1)
        _write(image, f"{reached:.1f}", round(_LABEL + reached / longest * room) + 8, top + 19, 0.45)
    return image


def _grid(cells: Sequence[Cell]) -> Image:
    """Draw frames per second, a row per size and number of streams, a column per number of faces; darker is faster."""
    rows = sorted({(cell.size, cell.streams) for cell in cells}, key=lambda row: (row[0][0] * row[0][1], row[1]))
    faces = sorted({cell.faces_placed for cell in cells}, key=lambda number: -1 if number is None else number)
    image = _paper(_BOX * len(rows) + 2 * _LEGEND)
    width = min(150, (_WIDTH - _LABEL - _MARGIN) // len(faces))
    most = max(cell.fps for cell in cells) or 1.0
    _write(image, "frames per second", _MARGIN, 24, 0.45)
    for column, number in enumerate(faces):
        label = "clip" if number is None else f"{number} faces" if number != 1 else "1 face"
        _write(image, label, _LABEL + column * width + 8, 24, 0.45)
    for row, (size, streams) in enumerate(rows):
        top = _LEGEND + row * _BOX
        label = f"{size[0]}x{size[1]}{f', {streams} streams' if streams > 1 else ''}"
        _write(image, label, _MARGIN, top + 32, 0.5)
        for column, number in enumerate(faces):
            found = [c for c in cells if (c.size, c.streams, c.faces_placed) == (size, streams, number)]
            if found:
                corner = _LABEL + column * width, top
                _draw_fps(image, found[0], corner, width, found[0].fps / most)
    _write(
        image,
        "* see the warnings: faces missed, frames dropped or withheld, or too few frames",
        _MARGIN,
        image.shape[0] - 12,
        0.4,
    )
    return image


def _draw_fps(image: Image, cell: Cell, corner: tuple[int, int], width: int, share: float) -> None:
    x, y = corner
    light, dark = np.array([225, 235, 245]), np.array([30, 80, 140])
    colour = tuple(int(value) for value in light + share * (dark - light))
    cv2.rectangle(image, (x + 2, y + 2), (x + width - 3, y + _BOX - 3), colour, -1)
    label = f"{cell.fps:.1f}{' *' if cell.warnings else ''}"
    _write(image, label, x + 12, y + 33, 0.55, _WHITE if share > 0.5 else _INK)


def _milliseconds(cell: Cell) -> float:
    return sum(stage.wall_ms_per_frame for stage in cell.stages.values())


def _colour(name: str) -> tuple[int, int, int]:
    return _COLOURS.get(name, _OTHER)


def _paper(height: int) -> Image:
    return np.full((height, _WIDTH, 3), _PAPER, np.uint8)


def _write(image: Image, text: str, x: int, y: int, scale: float, colour: tuple[int, int, int] = _INK) -> int:
    """Write one line and return where it ends."""
    plain = text.encode("ascii", "replace").decode()  # OpenCV's fonts have no other letters
    cv2.putText(image, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return int(x + cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])
