"""A picture of the worst cases: in each pair the original at the left. Private: it shows originals."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepprivacy_rt.audit.examples import SIDE
from deepprivacy_rt.audit.records import Example, FaceRecord, FileAudit
from deepprivacy_rt.types import Image

REASONS = ("exposed", "most similar", "no face found", "ordinary")
"""In this order on a sheet; the names are those of ``Example.why``."""
_COLUMNS = 6
_CAPTION = 30
_TITLE = 26
_PAPER = 245
_GAP = 8


def worst(audits: Sequence[FileAudit], why: str, most: int) -> list[tuple[str, Example]]:
    """Return the examples of one reason over all files with the file's name, worst first, files taking turns."""
    by_file = [[(audit.name, example) for example in audit.examples if example.why == why] for audit in audits]
    if why == "ordinary":
        rounds = max(map(len, by_file), default=0)
        return [examples[turn] for turn in range(rounds) for examples in by_file if turn < len(examples)][:most]
    return sorted((pair for examples in by_file for pair in examples), key=lambda pair: -_badness(pair[1]))[:most]


def draw_sheet(audits: Sequence[FileAudit], most: int = 24) -> Image:
    """Return the sheet, (h, w, 3) RGB. :param most: pairs for each reason."""
    width = _COLUMNS * (2 * SIDE + _GAP)
    strips = [_text(width, _TITLE, "ORIGINAL FACES at the left of each pair: private, do not share")]
    for why in REASONS:
        chosen = worst(audits, why, most)
        strips.append(_text(width, _TITLE, f"{why}: {len(chosen)} shown"))
        for start in range(0, len(chosen), _COLUMNS):
            strips.append(_row(chosen[start : start + _COLUMNS], width))
    return np.concatenate(strips)


def caption(record: FaceRecord) -> str:
    """Return the numbers of one face in one line."""
    like = "" if record.similarity is None else f" sim {record.similarity:.2f}"
    return (
        f"{record.time:.1f}s {record.face.size:.0f}px share {record.exposed_share:.2f} iou {record.overlap:.2f}{like}"
    )


def _badness(example: Example) -> float:
    record = example.record
    if example.why == "most similar":
        return record.similarity or 0.0
    return record.exposed_share if example.why == "exposed" else record.face.score - record.overlap


def _row(chosen: Sequence[tuple[str, Example]], width: int) -> Image:
    row = np.full((SIDE + _CAPTION, width, 3), _PAPER, np.uint8)
    for column, (name, example) in enumerate(chosen):
        left = column * (2 * SIDE + _GAP)
        row[:SIDE, left : left + 2 * SIDE] = example.picture
        row[SIDE : SIDE + _CAPTION // 2, left : left + 2 * SIDE] = _text(2 * SIDE, _CAPTION // 2, name, 0.35)
        row[SIDE + _CAPTION // 2 :, left : left + 2 * SIDE] = _text(
            2 * SIDE, _CAPTION // 2, caption(example.record), 0.35
        )
    return row


def _text(width: int, height: int, text: str, size: float = 0.5) -> Image:
    strip = np.full((height, width, 3), _PAPER, np.uint8)
    shown = text.encode("ascii", "replace").decode()  # OpenCV's font has nothing else
    cv2.putText(strip, shown, (4, height - 5), cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA)
    return strip
