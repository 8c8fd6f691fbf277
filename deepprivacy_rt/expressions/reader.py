"""Reads what the faces of a stream do, and says it in a way that tells little about whose faces they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.types import REST, Evidence, Expression, FaceTrack, Frame

_LEAST_SIDE = 32.0
"""Pixels of a box below which lips are two pixels wide: such a face stays at rest."""
_SMOOTHING_SECONDS = 0.03
"""Time constant: the points tremble by a pixel from frame to frame."""
_RESTING_SECONDS = 0.15
"""Time constant with which a face that is not seen comes to rest."""
_HELD_SECONDS = 0.18
"""For so long a face that is not seen keeps its expression: live, it is looked for no oftener at times."""
_LEAST_TURN_RATE = 20.0
"""Frames per second below which every face is read in every frame."""
_RISE_SECONDS, _FALL_SECONDS = 0.2, 8.0
"""Time constants with which the opening that counts as an eye's own rest follows it up and down: no blink lowers it."""
_LEAST_EYES = 0.25
_SEEN = (Evidence.DETECTED, Evidence.INTERPOLATED)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is known of one face.

    :ivar said: the last expression. :ivar read: the last one that was read, towards which it goes.
    :ivar eyes: the opening at which these eyes rest, 0..1. :ivar unread: seconds since they were read.
    """

    said: Expression = REST
    read: Expression = REST
    eyes: float | None = None
    unread: float = math.inf


class ExpressionReader:
    """Face Mesh on every frame (a :class:`deepprivacy_rt.stages.ExpressionReader`), for one stream.

    Several faces are read in turns, each at every second frame.

    How wide eyes are at rest differs between people, and could tell them apart. So the lids are told as parts of the
    same eyes' own rest, which all faces are said to have in common.

    :param frame_rate: frames per second, above 0.
    :param turns_from: so many faces in a frame that turns are taken; 1: a single one, too, is read at every second.
    """

    def __init__(self, mesh: FaceMesh, frame_rate: float, turns_from: int = 2) -> None:
        if not frame_rate > 0:
            raise ValueError(f"frame_rate must be above 0, not {frame_rate}")
        self._mesh = mesh
        self._seconds = 1.0 / frame_rate
        self._turns_from = self._made_for = turns_from
        self._memories: dict[int, _Memory] = {}

    def take_turns(self, faces: int) -> None:
        """See :class:`deepprivacy_rt.stages.TakesTurns`; here all faces count as at rest."""
        self._turns_from = min(faces, self._made_for)

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[Expression]:
        """Return one expression per track. A track that is missing in a call is forgotten. Raises StageError."""
        before, self._memories = self._memories, {}
        waiting = self._waiting(tracks, before)
        for track in tracks:
            memory = before.get(track.track_id, _Memory())
            if _is_readable(track) and track.track_id not in waiting:
                found = to_expression(openings(self._mesh.points(frame.image, crop_of(track.box, track.keypoints))))
                memory = self._followed(found, memory)
            else:
                memory = self._unread(memory)
            self._memories[track.track_id] = memory
        return [self._memories[track.track_id].said for track in tracks]

    def _waiting(self, tracks: Sequence[FaceTrack], before: dict[int, _Memory]) -> set[int]:
        """Return the tracks that are not read this time: half of all (or the only one), and none twice in a row."""
        if len(tracks) < self._turns_from or self._seconds > 1 / _LEAST_TURN_RATE:
            return set()
        fresh = (one.track_id for one in tracks if one.track_id in before and not before[one.track_id].unread)
        return set(islice(fresh, max(len(tracks) // 2, 1)))

    def _unread(self, memory: _Memory) -> _Memory:
        """Go on towards what was read last; where that is too long ago, come to rest."""
        unread = memory.unread + self._seconds
        if unread <= _HELD_SECONDS:
            said = _mixed(memory.said, memory.read, _share(self._seconds, _SMOOTHING_SECONDS))
            return replace(memory, said=said, unread=unread)
        said = _mixed(memory.said, REST, _share(self._seconds, _RESTING_SECONDS))
        return replace(memory, said=said, read=REST, unread=unread)

    def _followed(self, found: Expression, memory: _Memory) -> _Memory:
        open_ = max(found.right_eye, found.left_eye)
        if memory.eyes is None:
            eyes = max(open_, _LEAST_EYES)
        else:
            constant = _RISE_SECONDS if open_ > memory.eyes else _FALL_SECONDS
            share = _share(min(memory.unread, _HELD_SECONDS) + self._seconds, constant)
            eyes = max(memory.eyes + (open_ - memory.eyes) * share, _LEAST_EYES)
        right, left = (min(REST.right_eye * eye / eyes, 1.0) for eye in (found.right_eye, found.left_eye))
        read = Expression(found.mouth, right, left)
        said = read if memory.eyes is None else _mixed(memory.said, read, _share(self._seconds, _SMOOTHING_SECONDS))
        return _Memory(said, read, eyes, 0.0)


def _is_readable(track: FaceTrack) -> bool:
    side = min(track.box.width, track.box.height)
    return track.evidence in _SEEN and not track.uncertain and side >= _LEAST_SIDE


def _share(seconds: float, constant: float) -> float:
    """Return by how much an exponential average moves in that time."""
    return 1.0 - math.exp(-seconds / constant)


def _mixed(earlier: Expression, now: Expression, share: float) -> Expression:
    return Expression(*(a + (b - a) * share for a, b in zip(earlier, now, strict=True)))
