"""Links detections of successive frames to tracks with an identity; both trackers are built on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.tracking.association import boxes_of, match, merged, overlap
from deepprivacy_rt.tracking.settings import TrackerSettings
from deepprivacy_rt.tracking.state import State, Velocity, check_detections, moved, observe
from deepprivacy_rt.types import Detection

_REACH = 0.7
"""How far from its predicted place, in face sizes, a face may be found."""
_REACH_NEW = 1.0
"""The same for a face seen once, whose velocity is unknown."""
_REACH_WEAK = 0.5
"""The same for a detection of low score."""
_REACH_LARGEST = 1.5
"""A face lost for longer may be farther away, up to this; a face that returns this near keeps its identity."""
_SHADOW_OVERLAP = 0.6
_SHADOW_FRAMES = 8
"""A lost track that lies over a seen one with this IoU for so many frames is the same face."""
_SURE_SCORE = 0.65
"""A track seen once with this score is surely a face. Plants, prints and hands that were taken for faces stayed below
it for minutes; see docs/adr/0004."""

_MANY_LOOKS = 8
_DISBELIEVED_SCORE = 0.45
"""A track that was never sure, and after so many looks has a lower mean score than this, is taken for no face."""


@dataclass(slots=True, eq=False)
class Link:
    """One track as the linker knows it.

    :ivar last: index of the frame of the latest detection.
    :ivar state: latest detection, raw.
    :ivar velocity: of the centre, pixels per frame.
    :ivar hits: number of detections.
    :ivar shadowed: number of frames for which it, lost, has lain over a seen track.
    """

    track_id: int
    identity: int
    last: int
    state: State
    score: float
    best_score: float
    velocity: Velocity = field(default_factory=lambda: np.zeros(2))
    hits: int = 1
    shadowed: int = 0
    score_sum: float = 0.0

    def __post_init__(self) -> None:
        self.score_sum = self.score

    @property
    def uncertain(self) -> bool:
        return self.best_score < _SURE_SCORE

    @property
    def disbelieved(self) -> bool:
        """Whether the detector takes it for no face, on the average of many looks. One sure look changes that."""
        return self.uncertain and disbelieved(self.score_sum, self.hits)

    def see(self, frame_index: int, state: State, score: float) -> None:
        """Take a new detection."""
        frames = frame_index - self.last
        velocity = (state[:2] - self.state[:2]) / frames
        # The second look gives the first velocity; after that, a running mean.
        self.velocity = velocity if self.hits == 1 else self.velocity + 0.6 * (velocity - self.velocity)
        self.last, self.state, self.score = frame_index, state, score
        self.best_score = max(self.best_score, score)
        self.score_sum += score
        self.hits += 1
        self.shadowed = 0


def disbelieved(score_sum: float, looks: int) -> bool:
    """Tell whether so many looks are enough, and their scores low enough, to take what they saw for no face."""
    return looks >= _MANY_LOOKS and score_sum < _DISBELIEVED_SCORE * looks


@dataclass(frozen=True, slots=True)
class Step:
    """What one frame brought.

    :ivar seen: tracks with a detection in this frame, the new ones included.
    :ivar weak: detections of low score that belong to no track.
    """

    seen: list[Link]
    weak: list[Detection]


class Linker:
    """Association with constant velocity, in two passes: strong detections first, weak ones for what is left.

    The two passes follow Zhang et al.: ByteTrack, ECCV 2022.
    """

    def __init__(self, settings: TrackerSettings, first_identity: int = 0) -> None:
        self._settings = settings
        self._active: list[Link] = []
        self._gone: list[Link] = []
        self._next_track = 0
        self._next_identity = first_identity
        self._last_index: int | None = None

    @property
    def active(self) -> Sequence[Link]:
        """All tracks seen within the coasting time, oldest first."""
        return tuple(self._active)

    def step(self, frame_index: int, detections: Sequence[Detection]) -> Step:
        """Link the detections of the next frame.

        :param frame_index: above that of the call before; gaps are frames without a look.
        :raises StageError: a detection is broken, or the index did not rise. The state is as before then.
        """
        check_detections(detections)
        if self._last_index is not None and frame_index <= self._last_index:
            raise StageError(f"tracker got frame {frame_index} after frame {self._last_index}")
        self._last_index = frame_index
        self._retire(frame_index)
        faces = merged([one for one in detections if one.score >= self._settings.continue_score])
        strong = [one for one in faces if one.score >= self._settings.start_score]
        weak = [one for one in faces if one.score < self._settings.start_score]
        strong = self._continue(frame_index, strong, lambda link: self._reach(link, frame_index))
        weak = self._continue(frame_index, weak, lambda _: _REACH_WEAK)
        strong = self._resume(frame_index, strong)
        for detection in strong:
            self._start(frame_index, detection)
        self._drop_shadows(frame_index)
        return Step([link for link in self._active if link.last == frame_index], weak)

    def _continue(
        self, frame_index: int, detections: Sequence[Detection], reach: Callable[[Link], float]
    ) -> list[Detection]:
        """Extend tracks not seen yet in this frame; return the detections that fit none."""
        links = [link for link in self._active if link.last < frame_index]
        predicted = [moved(one.state, one.velocity, frame_index - one.last, self._settings) for one in links]
        return self._take(frame_index, links, predicted, detections, [reach(one) for one in links])

    def _resume(self, frame_index: int, detections: Sequence[Detection]) -> list[Detection]:
        """Extend lost tracks whose face is back where it was last seen, not where it seemed to be going."""
        links = [link for link in self._active if link.last < frame_index - 1]
        places = [link.state for link in links]
        return self._take(frame_index, links, places, detections, [_REACH_LARGEST] * len(links))

    def _take(
        self,
        frame_index: int,
        links: Sequence[Link],
        places: Sequence[State],
        detections: Sequence[Detection],
        reaches: Sequence[float],
    ) -> list[Detection]:
        if not links or not detections:
            return list(detections)
        pairs = match(places, boxes_of(detections), reaches)
        for row, column in pairs:
            link, detection = links[row], detections[column]
            link.see(frame_index, observe(detection, link.state), detection.score)
        taken = {column for _, column in pairs}
        return [one for i, one in enumerate(detections) if i not in taken]

    def _reach(self, link: Link, frame_index: int) -> float:
        start = _REACH_NEW if link.hits == 1 else _REACH
        return min(_REACH_LARGEST, start + 1.5 * (frame_index - link.last - 1) / self._settings.frame_rate)

    def _start(self, frame_index: int, detection: Detection) -> None:
        state = observe(detection)
        returned = self._recognise(state)
        if returned is None:
            identity = self._next_identity
            self._next_identity += 1
        else:
            identity = returned.identity
            self._gone.remove(returned)
        self._active.append(Link(self._next_track, identity, frame_index, state, detection.score, detection.score))
        self._next_track += 1

    def _recognise(self, state: State) -> Link | None:
        """Return the track gone lately from this place, if there is one."""
        places = [link.state for link in self._gone]
        pairs = match(places, state[None, :4], [_REACH_LARGEST] * len(places))
        return self._gone[pairs[0][0]] if pairs else None

    def _retire(self, frame_index: int) -> None:
        """Drop tracks lost for too long; remember them for a while, by the place where they were last seen."""
        oldest = frame_index - self._settings.coast_frames
        self._gone += [link for link in self._active if link.last < oldest]
        self._active = [link for link in self._active if link.last >= oldest]
        forgotten = frame_index - max(self._settings.reentry_frames, self._settings.coast_frames)
        self._gone = [link for link in self._gone if link.last >= forgotten]

    def _drop_shadows(self, frame_index: int) -> None:
        """Drop lost tracks that have lain over a seen one for a while: they are that face."""
        lost = [link for link in self._active if link.last < frame_index]
        seen = [link for link in self._active if link.last == frame_index]
        if not lost or not seen:
            return
        places = np.array([moved(one.state, one.velocity, frame_index - one.last, self._settings) for one in lost])
        shaded: list[bool] = (
            overlap(places, np.array([one.state for one in seen])).max(axis=1) >= _SHADOW_OVERLAP
        ).tolist()
        for link, is_shaded in zip(lost, shaded, strict=True):
            link.shadowed = link.shadowed + 1 if is_shaded else 0
        dropped = [link for link in lost if link.shadowed >= _SHADOW_FRAMES]
        self._active = [link for link in self._active if link not in dropped]
        self._gone += dropped
