"""Takes all measures that need pixels, while the frames of a file and of its copies go by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.summary import LARGE
from deepprivacy_rt.evaluation.crops import aligned_luma
from deepprivacy_rt.evaluation.expression import openings_at
from deepprivacy_rt.evaluation.flicker import change
from deepprivacy_rt.evaluation.keypoints import keypoint_error
from deepprivacy_rt.evaluation.sharpness import sharpness
from deepprivacy_rt.expressions.face_mesh import FaceMesh, Openings
from deepprivacy_rt.types import Frame, Image

_CONTEXT_SIZE, _CONTEXT_SCORE = 64.0, 0.8


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """What was measured on one face of at least 48 px in one frame; pairs are original, copy.

    :ivar keypoint_error: None where the copy has no face.
    :ivar change: against the frame before; None where that was not looked at.
    :ivar openings: None without the network.
    """

    keypoint_error: float | None
    sharpness: tuple[float, float]
    change: tuple[float, float] | None
    openings: tuple[Openings, Openings] | None


@dataclass(slots=True, eq=False)
class FileRun:
    """One file under one treatment.

    :ivar audit: exposure, faces kept and embeddings.
    :ivar measures: by the faces' places in ``audit.faces``; None for small faces.
    :ivar draw: which draw of identities the copy shows, from 0.
    """

    input: str
    still: bool
    audit: FileAudit
    measures: list[FaceMeasures | None]
    draw: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """A large face of an original in its frame, in which other identities are tried. Private."""

    name: str
    image: Image
    face: Face


@dataclass(slots=True, eq=False)
class Observer:
    """The measures of one file; copies are shown to it one after the other.

    :ivar mesh: None leaves mouth and eyes out.
    :ivar measures: of the copy that is shown now.
    :ivar context: the first large face of the file.
    """

    name: str
    mesh: FaceMesh | None
    measures: list[FaceMeasures | None] = field(default_factory=list)
    context: Context | None = None
    _originals: dict[tuple[int, int], tuple[float, Openings | None]] = field(default_factory=dict)
    _last: dict[int, tuple[int, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)

    def begin(self) -> None:
        """Start with another copy."""
        self.measures, self._last = [], {}

    def see(self, before: Frame, after: Frame, record: FaceRecord) -> None:
        """Measure one face. Raises StageError."""
        if record.face.size < LARGE:
            self.measures.append(None)
            return
        if self.context is None and record.face.size >= _CONTEXT_SIZE and record.face.score >= _CONTEXT_SCORE:
            self.context = Context(self.name, before.image.copy(), record.face)
        points = record.face.points
        original_sharpness, original_openings = self._original(before, record)
        error = None if record.copy is None else keypoint_error(points, record.copy.points)
        pair = None
        if self.mesh is not None and original_openings is not None:
            pair = (original_openings, openings_at(self.mesh, after.image, record.face))
        self.measures.append(
            FaceMeasures(
                keypoint_error=error,
                sharpness=(original_sharpness, sharpness(after.image, points)),
                change=self._change(before, after, record),
                openings=pair,
            )
        )

    def _original(self, before: Frame, record: FaceRecord) -> tuple[float, Openings | None]:
        key = (before.index, record.track)
        if key not in self._originals:
            found = None if self.mesh is None else openings_at(self.mesh, before.image, record.face)
            self._originals[key] = (sharpness(before.image, record.face.points), found)
        return self._originals[key]

    def _change(self, before: Frame, after: Frame, record: FaceRecord) -> tuple[float, float] | None:
        lumas = [aligned_luma(frame.image, record.face.points) for frame in (before, after)]
        last = self._last.get(record.track)
        self._last[record.track] = (before.index, lumas[0], lumas[1])
        if last is None or last[0] != before.index - 1:
            return None
        return change(last[1], lumas[0]), change(last[2], lumas[1])
