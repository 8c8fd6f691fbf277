"""What was done to every face of every frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from deepprivacy_rt.types import Box, Coverage, Evidence, FaceTrack


@dataclass(frozen=True, slots=True)
class FaceReport:
    """One face in one frame.

    :ivar box: frame pixels.
    :ivar score: confidence of the latest detection behind it, 0 to 1.
    :ivar evidence: why it was covered here.
    :ivar coverage: how it was covered.
    :ivar uncertain: may be no face at all.
    """

    track_id: int
    identity: int
    box: Box
    score: float
    evidence: Evidence
    coverage: Coverage
    uncertain: bool

    @classmethod
    def of(cls, track: FaceTrack, coverage: Coverage) -> FaceReport:
        return cls(track.track_id, track.identity, track.box, track.score, track.evidence, coverage, track.uncertain)


@dataclass(frozen=True, slots=True)
class FrameReport:
    """One frame.

    :ivar pts: seconds of stream time.
    :ivar faces: all faces in the picture that were covered; when the frame was withheld, those that were known.
    :ivar withheld: the whole frame was replaced by a fill.
    :ivar problems: what went wrong, one line each; empty when all is well.
    """

    index: int
    pts: Fraction
    faces: tuple[FaceReport, ...] = ()
    withheld: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """One stream, processed to its end.

    :ivar frames: number of frames written.
    :ivar withheld_frames: how many of them were replaced by a fill as a whole.
    :ivar faces: number of faces in frames, by coverage.
    :ivar frames_with_problems: number of frames with at least one problem.
    :ivar lookahead: frames of delay at the end; less than asked for where frames are so large that memory forbids it.
    :ivar wall_seconds: time elapsed.
    :ivar process_seconds: CPU time of the whole process, all threads, those of libraries included.
    :ivar stage_seconds: CPU time per stage on the stage's own thread.
    """

    frames: int
    withheld_frames: int
    faces: Mapping[Coverage, int]
    frames_with_problems: int
    lookahead: int
    wall_seconds: float
    process_seconds: float
    stage_seconds: Mapping[str, float]
