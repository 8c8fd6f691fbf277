"""Replacing the faces of one frame on a device, failing closed as :mod:`deepprivacy_rt.pipeline.replacing` does."""

from __future__ import annotations

from collections.abc import Sequence

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.pipeline.replacing import Replacer, check_erased, check_tracks, describe, is_visible
from deepprivacy_rt.pipeline.reports import FaceReport, FrameReport
from deepprivacy_rt.pipeline.timing import StageTimes
from deepprivacy_rt.stages import Canvas, ExpressionReader, Painter
from deepprivacy_rt.types import Coverage, FaceTrack, Frame, SafeFrame


class CanvasReplacer(Replacer):
    """Erases, paints and fetches a frame.

    When erasing or fetching fails, the frame is withheld; when painting fails, its faces stay filled. A device may tell
    of a failure late: then it is the fetching that fails.
    """

    def __init__(
        self, painter: Painter, times: StageTimes | None = None, expressions: ExpressionReader | None = None
    ) -> None:
        super().__init__(times, expressions)
        self._painter = painter

    def replace(self, frame: Frame, tracks: Sequence[FaceTrack]) -> tuple[SafeFrame, FrameReport]:
        """See :class:`deepprivacy_rt.pipeline.replacing.Replacer`."""
        problems: list[str] = []
        try:
            check_tracks(tracks)
            tracks = self._with_expressions(frame, tracks, problems)
            with self._times.measure("erase"):
                canvas = self._painter.erase(frame, tracks)
            visible = [track for track in tracks if is_visible(track, frame)]
        except Exception as error:
            return self.withheld(frame, tracks, [*problems, describe("erase", error)])
        failures = self._paint(canvas, visible)
        problems += failures
        try:
            with self._times.measure("fetch"):
                safe, painted = canvas.fetch()
            check_erased(frame, tracks, safe)
            done = {id(track) for track in painted}
            if not done <= {id(track) for track in visible}:
                raise StageError("a face was painted that was not asked for")
        except Exception as error:
            return self.withheld(frame, tracks, [*problems, describe("fetch", error)])
        if not failures:
            problems += [f"paint: track {track.track_id} was left out" for track in visible if id(track) not in done]
        generated = {id(track) for track in painted if not track.uncertain}
        faces = tuple(
            FaceReport.of(track, Coverage.GENERATED if id(track) in generated else Coverage.FILLED) for track in visible
        )
        return safe, FrameReport(frame.index, frame.pts, faces, problems=tuple(problems))

    def _paint(self, canvas: Canvas, tracks: Sequence[FaceTrack]) -> list[str]:
        """Return what went wrong."""
        try:
            with self._times.measure("paint"):
                canvas.paint(tracks)
        except Exception as error:
            return [describe("paint", error)]
        return []
