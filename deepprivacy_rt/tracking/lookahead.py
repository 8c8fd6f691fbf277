"""The tracker for files: answers some frames late, and uses the future."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from deepprivacy_rt.tracking.association import boxes_of, match, overlap
from deepprivacy_rt.tracking.linking import Link, Linker, disbelieved
from deepprivacy_rt.tracking.settings import TrackerSettings
from deepprivacy_rt.tracking.state import (
    State,
    Velocity,
    box_of,
    coasted,
    enlarged,
    kept_near,
    keypoints_of,
    moved,
    observe,
)
from deepprivacy_rt.types import Detection, Evidence, FaceTrack

_SPREAD_SECONDS = 0.07
"""Standard deviation of the smoothing kernel."""
_BACKWARD_REACH = 0.6
"""How far from its extrapolated place, in face sizes, a weak detection before a track's birth may lie."""
_BACKWARD_GAP_SECONDS = 0.2
"""Weak detections before a birth may be this far apart."""
_SAME_FACE = 0.6
"""A guessed place that overlaps a seen face with this IoU is that face."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One detection of a face."""

    frame: int
    state: State
    score: float
    before_birth: bool = False


@dataclass(slots=True, eq=False)
class _Life:
    """Everything remembered of one track: its looks in the window and the last few before."""

    link: Link
    looks: deque[_Look] = field(default_factory=deque)

    @property
    def disbelieved(self) -> bool:
        """As the link's, or by the looks in the window, those before its birth included."""
        scores = [look.score for look in self.looks]
        return self.link.disbelieved or (self.link.uncertain and disbelieved(sum(scores), len(scores)))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a face is in one frame, with the same not enlarged; sure: seen there, or a moment before and after."""

    life: _Life
    state: State
    plain: State
    score: float
    evidence: Evidence
    sure: bool


class LookaheadTracker:
    """Follows faces with a delay of some frames.

    Frames come out in order, each ``lookahead`` frames after it went in. A newborn track is extended backwards through
    detections of low score, and then backwards with growth for ``backtrack_seconds``, but never beyond the lookahead.
    Gaps are interpolated, lost faces coast as in :class:`OnlineTracker`. Positions are smoothed by a local line fit,
    which has no lag. Memory depends on the lookahead and the number of faces, not on the length of the stream.
    """

    def __init__(self, settings: TrackerSettings | None = None, lookahead: int = 30, first_identity: int = 0) -> None:
        """:param lookahead: frames of delay, at least 0. :param first_identity: of the first face; others count on."""
        if lookahead < 0:
            raise ValueError(f"lookahead must be at least 0, not {lookahead}")
        self._settings = settings or TrackerSettings()
        self._lookahead = lookahead
        self._linker = Linker(self._settings, first_identity)
        self._lives: dict[int, _Life] = {}
        self._pending: deque[int] = deque()
        self._weak: deque[tuple[int, list[Detection]]] = deque()
        self._spread = max(1.0, _SPREAD_SECONDS * self._settings.frame_rate)
        self._radius = round(2.5 * self._spread)

    @property
    def lookahead(self) -> int:
        """Frames of delay."""
        return self._lookahead

    def shorten(self, frames: int) -> None:
        """Lower the delay from the next push on; a higher number changes nothing."""
        self._lookahead = min(self._lookahead, max(0, frames))

    def push(self, frame_index: int, detections: Sequence[Detection]) -> list[tuple[int, list[FaceTrack]]]:
        """Take the detections of the next frame; return the frames that are now ready with all faces to cover.

        :raises StageError: a detection is broken, or the index did not rise; the frame does not come out then.
        """
        step = self._linker.step(frame_index, detections)
        self._pending.append(frame_index)
        self._weak.append((frame_index, step.weak))
        for link in step.seen:
            life = self._lives.get(link.track_id)
            if life is None:
                life = self._lives[link.track_id] = _Life(link)
                life.looks.append(_Look(frame_index, link.state, link.score))
                self._extend_backwards(life)
            else:
                life.looks.append(_Look(frame_index, link.state, link.score))
        ready = []
        while len(self._pending) > self._lookahead:
            ready.append(self._emit())
        return ready

    def flush(self) -> list[tuple[int, list[FaceTrack]]]:
        """Return all frames still waiting; the stream is over."""
        return [self._emit() for _ in range(len(self._pending))]

    def _extend_backwards(self, life: _Life) -> None:
        """Find a newborn face among the weak detections of the frames still waiting."""
        longest_gap = max(1, self._settings.frames(_BACKWARD_GAP_SECONDS))
        for frame, weak in reversed(self._weak):
            first = life.looks[0]
            if first.frame - frame > longest_gap:
                return
            if frame >= first.frame or not weak:
                continue
            place = moved(first.state, self._slope(life, first.frame), frame - first.frame, self._settings)
            pairs = match([place], boxes_of(weak), [_BACKWARD_REACH])
            if pairs:
                found = weak.pop(pairs[0][1])
                life.looks.appendleft(_Look(frame, observe(found, first.state), found.score, before_birth=True))

    def _emit(self) -> tuple[int, list[FaceTrack]]:
        frame = self._pending.popleft()
        while self._weak and self._weak[0][0] <= frame:
            self._weak.popleft()
        lives = [life for life in self._lives.values() if not life.disbelieved]
        places = [place for life in lives if (place := self._place(life, frame)) is not None]
        tracks = [_track(place) for place in _without_echoes(places)]
        self._forget(frame)
        return frame, tracks

    def _place(self, life: _Life, frame: int) -> _Place | None:
        looks = life.looks
        after = bisect_left(looks, frame, key=lambda look: look.frame)
        if after < len(looks) and looks[after].frame == frame:
            look = looks[after]
            state = self._smoothed(life, look)
            evidence = Evidence.BACKTRACKED if look.before_birth else Evidence.DETECTED
            return _Place(life, state, state, look.score, evidence, sure=not look.before_birth)
        if after == 0:
            return self._before(life, frame)
        if after == len(looks):
            return self._after(life, frame)
        return self._between(life, looks[after - 1], looks[after], frame)

    def _before(self, life: _Life, frame: int) -> _Place | None:
        first = life.looks[0]
        if first.frame - frame > self._settings.backtrack_frames:
            return None
        return self._guess(life, first, frame, Evidence.BACKTRACKED)

    def _after(self, life: _Life, frame: int) -> _Place | None:
        last = life.looks[-1]
        if frame - last.frame > self._settings.coast_frames:
            return None
        return self._guess(life, last, frame, Evidence.COASTED)

    def _guess(self, life: _Life, look: _Look, frame: int, evidence: Evidence) -> _Place:
        state, velocity, frames = self._smoothed(life, look), self._slope(life, look.frame), frame - look.frame
        plain = moved(state, velocity, frames, self._settings)
        return _Place(life, coasted(state, velocity, frames, self._settings), plain, look.score, evidence, sure=False)

    def _between(self, life: _Life, left: _Look, right: _Look, frame: int) -> _Place:
        share = (frame - left.frame) / (right.frame - left.frame)
        weak = right.before_birth or left.before_birth
        score = min(left.score, right.score)
        unsure_frames = min(frame - left.frame, right.frame - frame) - self._settings.sure_frames
        if unsure_frames <= 0:
            middle = (1.0 - share) * left.state + share * right.state
            state = kept_near(self._fit(life, frame)[0], middle, self._settings.slack)
            evidence = Evidence.BACKTRACKED if weak else Evidence.DETECTED
            return _Place(life, state, state, score, evidence, sure=not weak)
        plain = (1.0 - share) * self._smoothed(life, left) + share * self._smoothed(life, right)
        state = enlarged(plain, self._settings.growth(unsure_frames))
        evidence = Evidence.BACKTRACKED if weak else Evidence.INTERPOLATED
        return _Place(life, state, plain, score, evidence, sure=False)

    def _fit(self, life: _Life, frame: int) -> tuple[State, State]:
        """Return the value and the slope per frame at a frame of a line fitted to the looks nearby."""
        near = [look for look in life.looks if abs(look.frame - frame) <= self._radius]
        times = np.array([look.frame - frame for look in near], dtype=np.float64)
        states = np.array([look.state for look in near])
        weights = np.exp(-0.5 * (times / self._spread) ** 2)
        total, first, second = weights.sum(), weights @ times, weights @ (times * times)
        determinant = total * second - first * first
        mean = (weights @ states) / total
        if determinant <= 1e-9 * total * total:
            return mean, np.zeros_like(mean)
        slope = (total * ((weights * times) @ states) - first * (weights @ states)) / determinant
        return mean - slope * (first / total), slope

    def _smoothed(self, life: _Life, look: _Look) -> State:
        return kept_near(self._fit(life, look.frame)[0], look.state, self._settings.slack)

    def _slope(self, life: _Life, frame: int) -> Velocity:
        return self._fit(life, frame)[1][:2]

    def _forget(self, frame: int) -> None:
        """Drop looks that no frame to come needs, and lives that are over."""
        for life in self._lives.values():
            # While a face coasts, the looks that gave its velocity stay.
            needed = min(frame, life.looks[-1].frame) - 2 * self._radius
            while life.looks[0].frame < needed and life.looks[1].frame < needed:
                life.looks.popleft()
        oldest = frame - self._settings.coast_frames
        over = [track_id for track_id, life in self._lives.items() if life.looks[-1].frame < oldest]
        for track_id in over:
            del self._lives[track_id]


def _without_echoes(places: Sequence[_Place]) -> list[_Place]:
    """Drop guesses that lie on a face that is surely there: they are that face, and it is covered."""
    seen = [place for place in places if place.sure]
    guesses = [place for place in places if not place.sure]
    if not seen or not guesses:
        return list(places)
    shared = overlap(np.array([one.plain for one in guesses]), np.array([one.state for one in seen])).max(axis=1)
    return seen + [guess for guess, part in zip(guesses, shared, strict=True) if part < _SAME_FACE]


def _track(place: _Place) -> FaceTrack:
    link = place.life.link
    return FaceTrack(
        track_id=link.track_id,
        identity=link.identity,
        box=box_of(place.state),
        keypoints=keypoints_of(place.state),
        score=place.score,
        evidence=place.evidence,
        uncertain=link.uncertain,
    )
