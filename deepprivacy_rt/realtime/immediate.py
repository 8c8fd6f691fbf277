"""An online tracker in the place of one that looks ahead."""

from __future__ import annotations

from collections.abc import Sequence

from deepprivacy_rt.pipeline.window import Answer
from deepprivacy_rt.stages import Tracker
from deepprivacy_rt.types import Detection


class Immediate:
    """Answers for every frame at once: a :class:`deepprivacy_rt.pipeline.DelayedTracker` without delay."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    @property
    def lookahead(self) -> int:
        """Zero frames."""
        return 0

    def shorten(self, frames: int) -> None:
        """There is nothing to shorten."""

    def push(self, frame_index: int, detections: Sequence[Detection]) -> Sequence[Answer]:
        """Return this frame with its tracks. Raises what the tracker raises."""
        return [(frame_index, self._tracker.update(frame_index, detections))]

    def flush(self) -> Sequence[Answer]:
        """No frame waits."""
        return []
