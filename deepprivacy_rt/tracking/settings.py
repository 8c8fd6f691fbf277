"""All numbers that a tracker can be tuned with, in seconds and face sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from deepprivacy_rt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """How to follow, smooth, and keep covering faces that are lost.

    :ivar frame_rate: frames per second; trackers count frames and use this to turn seconds into frames.
    :ivar start_score: a detection of at least this score starts a track, and is covered from this frame on.
    :ivar continue_score: a detection of at least this score continues a track.
    :ivar coast_seconds: how long a lost face stays covered.
    :ivar backtrack_seconds: how long a face is covered before its first detection (with lookahead).
    :ivar reentry_seconds: how long after its last detection a face that returns gets its old identity.
    :ivar sure_seconds: this near to one of two detections, a face between them is where it is interpolated, and does
        not grow. Detectors that look at video some times per second, not at every frame, leave such gaps.
    :ivar growth_per_second: by which part of its side a lost face's box grows per second.
    :ivar largest_growth: factor at which growing ends.
    :ivar min_cutoff: One Euro filter, cut-off at rest in Hz; lower is calmer.
    :ivar beta: One Euro filter, Hz of cut-off per face size per second of speed; higher lags less.
    :ivar slack: how far smoothing may move anything away from where it was detected, in face sizes.
    :raises ConfigError: a value is out of range.
    """

    frame_rate: float = 30.0
    start_score: float = 0.5
    continue_score: float = 0.15
    coast_seconds: float = 1.0
    backtrack_seconds: float = 0.7
    reentry_seconds: float = 4.0
    sure_seconds: float = 0.05
    growth_per_second: float = 0.8
    largest_growth: float = 1.75
    min_cutoff: float = 1.2
    beta: float = 5.0
    slack: float = 0.022

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"tracker: {field.name} must be a number of at least 0, not {value}")
        if not 1.0 <= self.frame_rate <= 1000.0:
            raise ConfigError(f"tracker: frame_rate must lie in 1..1000, not {self.frame_rate}")
        if not self.continue_score <= self.start_score <= 1.0:
            raise ConfigError("tracker: continue_score <= start_score <= 1 must hold")
        if self.largest_growth < 1.0 or self.min_cutoff == 0.0:
            raise ConfigError("tracker: largest_growth must be at least 1 and min_cutoff above 0")

    def frames(self, seconds: float) -> int:
        """Turn seconds into a number of frames, rounded up."""
        return math.ceil(seconds * self.frame_rate - 1e-9)

    @property
    def coast_frames(self) -> int:
        return self.frames(self.coast_seconds)

    @property
    def backtrack_frames(self) -> int:
        return self.frames(self.backtrack_seconds)

    @property
    def reentry_frames(self) -> int:
        return self.frames(self.reentry_seconds)

    @property
    def sure_frames(self) -> int:
        return math.floor(self.sure_seconds * self.frame_rate + 1e-9)

    def growth(self, frames: int) -> float:
        """Factor by which a box has grown, this many frames away from the nearest detection."""
        return min(self.largest_growth, 1.0 + self.growth_per_second * frames / self.frame_rate)
