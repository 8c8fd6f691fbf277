"""Reads what the faces of a stream do, and says it in a way that tells little about whose faces they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.types import REST, Evidence, Expression, FaceTrack, Frame

_LEAST_SIDE = 32.0
"""Pixels of a box below which lips are two pixels wide: such a face stays at rest."""
_SMOOTHING_SECONDS = 0.03
"""Time constant: the points tremble by a pixel from frame to frame."""
_RESTING_SECONDS = 0.15
"""Time constant with which a face that is not seen comes to rest."""
_RISE_SECONDS, _FALL_SECONDS = 0.2, 8.0
"""Time constants with which the opening that counts as an eye's own rest follows it up and down: no blink lowers it."""
_LEAST_EYES = 0.25
_SEEN = (Evidence.DETECTED, Evidence.INTERPOLATED)


@dataclass(frozen=True, slots=True)
class _Memory:
    """:ivar said: the last expression. :ivar eyes: the opening at which these eyes rest, 0..1."""

    said: Expression
    eyes: float | None


class ExpressionReader:
    """Face Mesh on every frame (a :class:`deepprivacy_rt.stages.ExpressionReader`), for one stream.

    How wide eyes are at rest differs between people, and could tell them apart. So the lids are told as parts of the
    same eyes' own rest, which all faces are said to have in common.

    :param frame_rate: frames per second, above 0.
    """

    def __init__(self, mesh: FaceMesh, frame_rate: float) -> None:
        if not frame_rate > 0:
            raise ValueError(f"frame_rate must be above 0, not {frame_rate}")
        self._mesh = mesh
        self._seconds = 1.0 / frame_rate
        self._memories: dict[int, _Memory] = {}

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[Expression]:
        """Return one expression per track. A track that is missing in a call is forgotten. Raises StageError."""
        before, self._memories = self._memories, {}
        for track in tracks:
            memory = before.get(track.track_id)
            if _is_readable(track):
                found = to_expression(openings(self._mesh.points(frame.image, crop_of(track.box, track.keypoints))))
                memory = self._followed(found, memory)
            elif memory is not None:
                memory = _Memory(_mixed(memory.said, REST, _share(self._seconds, _RESTING_SECONDS)), memory.eyes)
            self._memories[track.track_id] = memory or _Memory(REST, None)
        return [self._memories[track.track_id].said for track in tracks]

    def _followed(self, found: Expression, memory: _Memory | None) -> _Memory:
        open_ = max(found.right_eye, found.left_eye)
        if memory is None or memory.eyes is None:
            eyes = max(open_, _LEAST_EYES)
        else:
            constant = _RISE_SECONDS if open_ > memory.eyes else _FALL_SECONDS
            eyes = max(memory.eyes + (open_ - memory.eyes) * _share(self._seconds, constant), _LEAST_EYES)
        right, left = (min(REST.right_eye * eye / eyes, 1.0) for eye in (found.right_eye, found.left_eye))
        said = Expression(found.mouth, right, left)
        if memory is not None:
            said = _mixed(memory.said, said, _share(self._seconds, _SMOOTHING_SECONDS))
        return _Memory(said, eyes)


def _is_readable(track: FaceTrack) -> bool:
    side = min(track.box.width, track.box.height)
    return track.evidence in _SEEN and not track.uncertain and side >= _LEAST_SIDE


def _share(seconds: float, constant: float) -> float:
    """Return by how much an exponential average moves in that time."""
    return 1.0 - math.exp(-seconds / constant)


def _mixed(earlier: Expression, now: Expression, share: float) -> Expression:
    return Expression(*(a + (b - a) * share for a, b in zip(earlier, now, strict=True)))
