"""From frames to safe frames, failing closed: no way leads from "could not replace" to "show the original".

- :class:`FaceReplacer`: one frame and its tracks in, one safe frame and an account of every face out;
  :class:`CanvasReplacer`: the same on a device.
- :class:`Pipeline`: one frame at a time, for live use.
- :func:`process_stream`: a whole stream, with lookahead and one thread per stage.

Knows no media and no network library.
"""

from deepprivacy_rt.pipeline.on_canvas import CanvasReplacer
from deepprivacy_rt.pipeline.online import Pipeline
from deepprivacy_rt.pipeline.replacing import FaceReplacer, Replacer, withhold
from deepprivacy_rt.pipeline.reports import FaceReport, FrameReport, StreamSummary
from deepprivacy_rt.pipeline.streaming import process_stream
from deepprivacy_rt.pipeline.timing import StageTimes
from deepprivacy_rt.pipeline.window import DelayedTracker

__all__ = [
    "CanvasReplacer",
    "DelayedTracker",
    "FaceReplacer",
    "FaceReport",
    "FrameReport",
    "Pipeline",
    "Replacer",
    "StageTimes",
    "StreamSummary",
    "process_stream",
    "withhold",
]
