"""The frames that wait while the tracker looks ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from deepprivacy_rt.pipeline.replacing import describe
from deepprivacy_rt.types import Detection, FaceTrack, Frame

Answer: TypeAlias = tuple[int, Sequence[FaceTrack]]
"""A frame's index and all faces to cover in it."""


class DelayedTracker(Protocol):
    """Follows faces with a delay, and so knows the future."""

    @property
    def lookahead(self) -> int:
        """Number of frames that wait for an answer."""
        ...

    def shorten(self, frames: int) -> None:
        """Lower the lookahead."""
        ...

    def push(self, frame_index: int, detections: Sequence[Detection]) -> Sequence[Answer]:
        """Take the next frame's detections; return the frames that are ready, in order, with all faces to cover."""
        ...

    def flush(self) -> Sequence[Answer]:
        """Return the frames that still wait."""
        ...


@dataclass(slots=True, eq=False)
class Tracked:
    """A frame with what is known about it.

    :ivar problems: what went wrong; with any, nobody can say where the faces are, and the frame must be withheld.
    """

    frame: Frame
    tracks: Sequence[FaceTrack] = ()
    problems: list[str] = field(default_factory=list)


class FrameWindow:
    """Keeps frames until the tracker has answered for them; hands them out in order, each exactly once.

    A frame for which no answer comes in time gets a problem. Memory is bounded by a number of bytes: for large frames
    the lookahead is shortened.
    """

    def __init__(self, tracker: DelayedTracker, most_bytes: int) -> None:
        self._tracker = tracker
        self._most_bytes = most_bytes
        self._waiting: deque[Tracked] = deque()

    def push(self, frame: Frame, detections: Sequence[Detection], problems: Sequence[str]) -> list[Tracked]:
        """Take the next frame; return those that are ready."""
        fitting = self._most_bytes // frame.image.nbytes
        if fitting < self._tracker.lookahead:
            self._tracker.shorten(fitting)
        entry = Tracked(frame, problems=list(problems))
        self._waiting.append(entry)
        answers = self._ask(lambda: self._tracker.push(frame.index, detections), entry)
        if answers is None:
            # The tracker learns that time went on: its faces stay covered in the frames to come.
            answers = self._ask(lambda: self._tracker.push(frame.index, []), entry)
        ready = self._take(answers or [])
        while len(self._waiting) > self._tracker.lookahead:
            ready.append(self._give_up())
        return ready

    def flush(self) -> list[Tracked]:
        """Return all frames that still wait."""
        if not self._waiting:
            return []
        ready = self._take(self._ask(self._tracker.flush, self._waiting[-1]) or [])
        return ready + [self._give_up() for _ in range(len(self._waiting))]

    @staticmethod
    def _ask(question: Callable[[], Sequence[Answer]], entry: Tracked) -> list[Answer] | None:
        """Return the tracker's answers, or None with a problem noted."""
        try:
            return [(index, list(tracks)) for index, tracks in question()]
        except Exception as error:
            entry.problems.append(describe("track", error))
            return None

    def _take(self, answers: Sequence[Answer]) -> list[Tracked]:
        ready = []
        for index, tracks in answers:
            while self._waiting and self._waiting[0].frame.index < index:
                ready.append(self._give_up())
            if self._waiting and self._waiting[0].frame.index == index:
                entry = self._waiting.popleft()
                entry.tracks = tracks
                ready.append(entry)
        return ready

    def _give_up(self) -> Tracked:
        entry = self._waiting.popleft()
        entry.problems.append("track: no answer for this frame")
        return entry
