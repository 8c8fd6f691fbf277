"""The before/after contact sheet of ``--preview``. Its "before" row shows original faces, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from deepprivacy_rt.cli.files import write_side_file
from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.stages import Sink, Source
from deepprivacy_rt.types import Frame, Image, SafeFrame

SUFFIXES = (".jpg", ".jpeg", ".png")
_COLUMNS = 4
_CELL = (400, 300)
_MOST_PAIRS = 16
_MOST_FILES = 12
_PAPER = 245
_TITLE_HEIGHT = 26


class ContactSheet:
    """Collects a few evenly spread frames of each file, before and after; memory does not grow with their length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: list[Image] = []
        self._more_files = 0
        self._restart()

    def _restart(self) -> None:
        self._stride = 1
        self._before: dict[int, Image] = {}
        self._after: dict[int, Image] = {}

    def watch_source(self, source: Source) -> Source:
        """Return a source that delivers the same frames and notes some of them."""
        return _WatchedSource(source, self)

    def watch_sink(self, sink: Sink) -> Sink:
        """Return a sink that writes the same frames and notes some of them."""
        return _WatchedSink(sink, self)

    def see_before(self, frame: Frame) -> None:
        if frame.index % self._stride == 0:
            self._before[frame.index] = _thumbnail(frame.image)

    def see_after(self, frame: SafeFrame) -> None:
        if frame.index % self._stride == 0:
            self._after[frame.index] = _thumbnail(frame.image)
        while len(self._after) > _MOST_PAIRS:
            self._stride *= 2
            for kept in (self._before, self._after):
                for index in [index for index in kept if index % self._stride]:
                    del kept[index]

    def end_file(self, name: str, *, complete: bool) -> None:
        """Add the frames seen since the last call as a block of the sheet, or forget them."""
        pairs = [(self._before[index], after) for index, after in self._after.items() if index in self._before]
        if complete and pairs:
            if len(self._blocks) < _MOST_FILES:
                self._blocks.append(_block(name, pairs))
            else:
                self._more_files += 1
        self._restart()

    def save(self) -> bool:
        """Write the sheet; return False where there is nothing to show. Raises SinkError."""
        if not self._blocks:
            return False
        blocks = list(self._blocks)
        if self._more_files:
            blocks.append(_title(f"and {self._more_files} more files", _width(_COLUMNS)))
        width = max(block.shape[1] for block in blocks)
        sheet = np.concatenate([_padded(block, width) for block in blocks])
        done, data = cv2.imencode(self._path.suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        if not done:
            raise SinkError(f"{self._path}: the contact sheet cannot be encoded as {self._path.suffix}")
        write_side_file(self._path, data.tobytes())
        return True


class _WatchedSource:
    def __init__(self, source: Source, sheet: ContactSheet) -> None:
        self._source = source
        self._sheet = sheet

    def __enter__(self) -> Source:
        self._source.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.__exit__(*exc)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            self._sheet.see_before(frame)
            yield frame


class _WatchedSink:
    def __init__(self, sink: Sink, sheet: ContactSheet) -> None:
        self._sink = sink
        self._sheet = sheet

    def __enter__(self) -> Sink:
        self._sink.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._sink.__exit__(*exc)

    def write(self, frame: SafeFrame) -> None:
        self._sink.write(frame)
        self._sheet.see_after(frame)


def _thumbnail(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(_CELL[0] / width, _CELL[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _block(name: str, pairs: list[tuple[Image, Image]]) -> Image:
    """Return name, before row and after row of one file."""
    columns = min(_COLUMNS, len(pairs))
    chosen = [pairs[int((column + 0.5) * len(pairs) / columns)] for column in range(columns)]
    width = _width(columns)
    rows = [_title(f"{name}: before (original faces: do not share)", width), _row([before for before, _ in chosen])]
    rows += [_title("after", width), _row([after for _, after in chosen])]
    return np.concatenate(rows)


def _width(columns: int) -> int:
    return columns * _CELL[0]


def _row(thumbnails: list[Image]) -> Image:
    height = max(thumbnail.shape[0] for thumbnail in thumbnails)
    row = np.full((height, _width(len(thumbnails)), 3), _PAPER, np.uint8)
    for column, thumbnail in enumerate(thumbnails):
        left = _width(column) + (_CELL[0] - thumbnail.shape[1]) // 2
        row[: thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
    return row


def _title(text: str, width: int) -> Image:
    strip = np.full((_TITLE_HEIGHT, width, 3), _PAPER, np.uint8)
    ascii_text = text.encode("ascii", "replace").decode()  # OpenCV's font has nothing else
    cv2.putText(strip, ascii_text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return strip


def _padded(block: Image, width: int) -> Image:
    return np.pad(block, ((0, 0), (0, width - block.shape[1]), (0, 0)), constant_values=_PAPER)
