"""Reads what the faces of a stream do, and says it in a way that tells little about whose faces they are.

Face Mesh also knows where eyes, nose and mouth lie, at every frame and more exactly than the detector, which looks at
every second one: what is sharp shows it when it swims. The four are told as the keypoints that they are, no others.

And it knows a face better than the detector does, which takes hands, plants and the backs of heads for some. Where it
finds none, the track is uncertain: covered all the same, but not by a face. docs/adr/0031-backs-of-heads.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, places, to_expression
from deepprivacy_rt.geometry import transform_points
from deepprivacy_rt.types import REST, Affine, Evidence, Expression, FaceTrack, Frame

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
_FARTHEST = 0.1
"""Sides of the box by which a keypoint may be moved: more, and a hand was taken for part of the face."""
_PRESENT = 0.4
"""Presence from which on it is a face: of 320 that YuNet finds, too, none has less than 0.5; of 359 others 340 have
less than 0.1."""
_GONE_SECONDS = 0.5
"""For so long a face that was one, and is none now, stays one: it is behind a hand, or turned away for a moment."""
_SEEN = (Evidence.DETECTED, Evidence.INTERPOLATED)


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is known of one face.

    :ivar said: the last expression. :ivar read: the last one that was read, towards which it goes.
    :ivar eyes: the opening at which these eyes rest, 0..1. :ivar unread: seconds since they were read.
    :ivar shift: (6, 2) sides of the box by which the tracker's keypoints were off.
    :ivar met: whether it was ever found to be a face. :ivar absent: seconds of looking since, in which it was none.
    """

    said: Expression = REST
    read: Expression = REST
    eyes: float | None = None
    unread: float = math.inf
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros((6, 2)))
    met: bool = False
    absent: float = 0.0

    @property
    def is_no_face(self) -> bool:
        return self.absent > (_GONE_SECONDS if self.met else 0.0)


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

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
        """See :class:`deepprivacy_rt.stages.ExpressionReader`. A track that is missing in a call is forgotten.

        Raises StageError.
        """
        before, self._memories = self._memories, {}
        waiting = self._waiting(tracks, before)
        for track in tracks:
            memory = before.get(track.track_id, _Memory())
            looks = track.track_id not in waiting and _is_readable(track, memory)
            self._memories[track.track_id] = self._looked(frame, track, memory) if looks else self._unread(memory)
        return [_told(track, self._memories[track.track_id]) for track in tracks]

    def _looked(self, frame: Frame, track: FaceTrack, memory: _Memory) -> _Memory:
        way = crop_of(track.box, track.keypoints)
        mesh = self._mesh.look(frame.image, way)
        if mesh.presence < _PRESENT:
            return replace(self._unread(memory), absent=memory.absent + self._seconds)
        memory = replace(memory, met=True, absent=0.0)
        if track.evidence not in _SEEN:
            return self._unread(memory)
        memory = self._followed(to_expression(openings(mesh.points)), memory)
        return replace(memory, shift=_shift(track, transform_points(_back(way), places(mesh.points))))

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
        share = _share(self._seconds, _RESTING_SECONDS)
        said, shift = _mixed(memory.said, REST, share), memory.shift * (1 - share)
        return replace(memory, said=said, read=REST, unread=unread, shift=shift)

    def _followed(self, found: Expression, memory: _Memory) -> _Memory:
        open_ = max(found.right_eye, found.left_eye)
        if memory.eyes is None:
            eyes = max(open_, _LEAST_EYES)
        else:
            constant = _RISE_SECONDS if open_ > memory.eyes else _FALL_SECONDS
            share = _share(min(memory.unread, _HELD_SECONDS) + self._seconds, constant)
            eyes = max(memory.eyes + (open_ - memory.eyes) * share, _LEAST_EYES)
        right, left = (min(REST.right_eye * eye / eyes, 1.0) for eye in (found.right_eye, found.left_eye))
        read = Expression(found.mouth, right, left, found.smile)
        said = read if memory.eyes is None else _mixed(memory.said, read, _share(self._seconds, _SMOOTHING_SECONDS))
        return replace(memory, said=said, read=read, eyes=eyes, unread=0.0)


def _back(way: Affine) -> Affine:
    return np.asarray(cv2.invertAffineTransform(way), np.float64)


def _shift(track: FaceTrack, found: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return by how much keypoints are off, (6, 2) sides of the box; ears, which Face Mesh has none of, like the rest.

    :param found: (4, 2) frame pixels.
    """
    inner = (found - track.keypoints[:4].astype(np.float64)) / _side(track)
    shift = np.concatenate([inner, np.tile(inner.mean(axis=0), (2, 1))])
    farthest = float(np.hypot(*shift.T).max())
    if not math.isfinite(farthest):
        return np.zeros((6, 2))
    return np.asarray(shift * min(1.0, _FARTHEST / max(farthest, 1e-9)))


def _told(track: FaceTrack, memory: _Memory) -> FaceTrack:
    keypoints = (track.keypoints + memory.shift * _side(track)).astype(np.float32)
    uncertain = track.uncertain or memory.is_no_face
    return replace(track, keypoints=keypoints, expression=memory.said, uncertain=uncertain)


def _side(track: FaceTrack) -> float:
    return (track.box.width + track.box.height) / 2


def _is_readable(track: FaceTrack, memory: _Memory) -> bool:
    """Tell whether it is worth a look; before a first good one, the frames before a detection are, too."""
    side = min(track.box.width, track.box.height)
    there = track.evidence in _SEEN or (track.evidence is Evidence.BACKTRACKED and not memory.met)
    return there and not track.uncertain and side >= _LEAST_SIDE


def _share(seconds: float, constant: float) -> float:
    """Return by how much an exponential average moves in that time."""
    return 1.0 - math.exp(-seconds / constant)


def _mixed(earlier: Expression, now: Expression, share: float) -> Expression:
    return Expression(*(a + (b - a) * share for a, b in zip(earlier, now, strict=True)))
