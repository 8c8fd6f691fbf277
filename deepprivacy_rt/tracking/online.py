"""The tracker for live use: answers at once, from the past alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepprivacy_rt.tracking.linking import Link, Linker
from deepprivacy_rt.tracking.one_euro import OneEuroFilter
from deepprivacy_rt.tracking.settings import TrackerSettings
from deepprivacy_rt.tracking.state import State, box_of, coasted, kept_near, keypoints_of, size_of
from deepprivacy_rt.types import Detection, Evidence, FaceTrack


@dataclass(slots=True, eq=False)
class _Smoothed:
    """The smoothed life of one track."""

    filter: OneEuroFilter
    state: State
    last: int


class OnlineTracker:
    """Follows faces frame by frame. Implements :class:`deepprivacy_rt.stages.Tracker`.

    A face is covered from its very first detection of at least ``start_score``. When it is lost, its box keeps moving,
    ever slower, and grows, for ``coast_seconds``; what was covered when it was last seen stays covered all that time.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._linker = Linker(self._settings)
        self._smoothed: dict[int, _Smoothed] = {}

    def update(self, frame_index: int, detections: Sequence[Detection]) -> list[FaceTrack]:
        """Return all faces to cover in this frame.

        :param frame_index: above that of the call before; a gap is time without a look.
        :raises StageError: a detection is broken, or the index did not rise.
        """
        self._linker.step(frame_index, detections)
        active = self._linker.active
        self._smoothed = {
            link.track_id: self._smooth(link) if link.last == frame_index else self._smoothed[link.track_id]
            for link in active
        }
        return [self._track(link, frame_index) for link in active if not link.disbelieved]

    def _smooth(self, link: Link) -> _Smoothed:
        before = self._smoothed.get(link.track_id)
        if before is None:
            before = _Smoothed(OneEuroFilter(self._settings.min_cutoff, self._settings.beta), link.state, link.last)
        seconds = max(1, link.last - before.last) / self._settings.frame_rate
        raw = before.filter(link.state, seconds, size_of(link.state))
        state = kept_near(raw, link.state, self._settings.slack)
        before.filter.move_to(state)
        return _Smoothed(before.filter, state, link.last)

    def _track(self, link: Link, frame_index: int) -> FaceTrack:
        state = self._smoothed[link.track_id].state
        lost = frame_index - link.last
        if lost:
            state = coasted(state, link.velocity, lost, self._settings)
        return FaceTrack(
            track_id=link.track_id,
            identity=link.identity,
            box=box_of(state),
            keypoints=keypoints_of(state),
            score=link.score,
            evidence=Evidence.COASTED if lost else Evidence.DETECTED,
            uncertain=link.uncertain,
        )
