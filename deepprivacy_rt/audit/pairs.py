"""Brings the frames of an original and its anonymized copy together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from deepprivacy_rt.build import OpenedSource, make_source
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Box, Frame, Image, Mask

Pair: TypeAlias = tuple[Frame, Frame | None]

_THUMBNAIL = 96
_DIFFERENT = 12.0
"""Mean difference of the surroundings, in levels of 255, above which two frames do not show the same thing."""
_LEAST_SURROUNDINGS = 0.05


@dataclass(slots=True, eq=False)
class PairCount:
    """How the frames of two files fit together.

    :ivar originals: frames of the original that were read.
    :ivar missing: of these, without a counterpart at their time.
    :ivar extra: frames of the anonymized file that are no original's counterpart: nobody has looked at them.
    """

    originals: int = 0
    missing: int = 0
    extra: int = 0


class FramePairs:
    """Iterates over the frames of an original, each with the anonymized one of the same time, or None.

    Times count from the first frame of each file, for some tools drop the offset. A counterpart lies within half a
    frame of the original. A copy that is larger or smaller by at most one pixel (encoders want even sizes) is cut or
    padded; other sizes raise UsageError.

    :ivar count: complete when the iteration has ended.
    :ivar frames: number of frames the original promises, or None.
    """

    def __init__(self, original: Path, anonymized: Path) -> None:
        self._paths = (original, anonymized)
        self.count = PairCount()
        self.frames: int | None = None

    def __iter__(self) -> Iterator[Pair]:
        with make_source(self._paths[0]) as before, make_source(self._paths[1]) as after:
            _check_sizes(before, after)
            self.frames = getattr(before.info, "frames", 1)
            tolerance = Fraction(1, 2) / (getattr(before.info, "average_rate", 0) or 1)
            yield from self._pairs(iter(before), iter(after), tolerance)

    def _pairs(self, originals: Iterator[Frame], copies: Iterator[Frame], tolerance: Fraction) -> Iterator[Pair]:
        copy = next(copies, None)
        copies_start = copy.pts if copy else Fraction(0)
        originals_start: Fraction | None = None
        for original in originals:
            originals_start = original.pts if originals_start is None else originals_start
            time = original.pts - originals_start + copies_start
            self.count.originals += 1
            while copy is not None and copy.pts < time - tolerance:
                self.count.extra += 1
                copy = next(copies, None)
            if copy is None or copy.pts > time + tolerance:
                self.count.missing += 1
                yield original, None
                continue
            yield original, _fitted(copy, original.image.shape[0], original.image.shape[1])
            copy = next(copies, None)
        self.count.extra += (copy is not None) + sum(1 for _ in copies)


def _check_sizes(before: OpenedSource, after: OpenedSource) -> None:
    sizes = [(source.info.width, source.info.height) for source in (before, after)]
    if any(abs(a - b) > 1 for a, b in zip(*sizes, strict=True)):
        shown = " and ".join(f"{width}x{height}" for width, height in sizes)
        raise UsageError(
            f"{after.path}: its size differs from the original's ({shown}); give the copy of that original"
        )


def _fitted(frame: Frame, height: int, width: int) -> Frame:
    if frame.image.shape[:2] == (height, width):
        return frame
    rows, columns = height - frame.image.shape[0], width - frame.image.shape[1]
    padded = np.pad(frame.image, ((0, max(0, rows)), (0, max(0, columns)), (0, 0)), mode="edge")
    return Frame(padded[:height, :width], frame.index, frame.pts)


def same_scene(original: Image, anonymized: Image, faces: Sequence[Box]) -> bool:
    """Tell whether two frames show the same surroundings; True where faces leave too little of them to tell.

    Brightness as a whole is no difference. False for a frame that was withheld, and where files do not line up.
    """
    scale = _THUMBNAIL / max(original.shape[:2])
    size = (max(1, round(original.shape[1] * scale)), max(1, round(original.shape[0] * scale)))
    before, after = (
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for image in (original, anonymized)
    )
    outside: Mask = np.ones(before.shape, np.bool_)
    for box in faces:
        (x, y), half = box.center, 1.3 * max(box.width, box.height)
        top, bottom, left, right = (max(0, int(v * scale)) for v in (y - half, y + half, x - half, x + half))
        outside[top : bottom + 1, left : right + 1] = False
    if outside.mean() < _LEAST_SURROUNDINGS:
        return True
    difference = (after - before)[outside]
    return float(np.mean(np.abs(difference - np.median(difference)))) <= _DIFFERENT
