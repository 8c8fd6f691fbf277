"""One frame at a time, for live use."""

from __future__ import annotations

from collections.abc import Sequence

from deepprivacy_rt.pipeline.replacing import Replacer, describe
from deepprivacy_rt.pipeline.reports import FrameReport
from deepprivacy_rt.stages import Detector, Tracker
from deepprivacy_rt.types import FaceTrack, Frame, SafeFrame


class Pipeline:
    """Detects, tracks and replaces, answering every frame at once."""

    def __init__(self, detector: Detector, tracker: Tracker, replacer: Replacer) -> None:
        self._detector = detector
        self._tracker = tracker
        self._replacer = replacer

    def process(self, frame: Frame) -> tuple[SafeFrame, FrameReport]:
        """Return the safe frame and the account of it. A frame in which nobody could look is withheld."""
        problems: list[str] = []
        tracks = self._look(frame, problems)
        if problems:
            return self._replacer.withheld(frame, tracks, problems)
        return self._replacer.replace(frame, tracks)

    def _look(self, frame: Frame, problems: list[str]) -> Sequence[FaceTrack]:
        times = self._replacer.times
        try:
            with times.measure("detect"):
                detections = self._detector.detect(frame)
            with times.measure("track"):
                return self._tracker.update(frame.index, detections)
        except Exception as error:
            problems.append(describe("look", error))
        try:
            # The tracker learns that time went on: its faces stay covered in the frames to come.
            return self._tracker.update(frame.index, [])
        except Exception as error:
            problems.append(describe("track", error))
            return []
