"""BlazeFace over the whole frame and overlapping tiles of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE
from deepprivacy_rt.detectors.blazeface_networks import Backend, open_network
from deepprivacy_rt.detectors.candidates import Candidates, merge_views, to_detections
from deepprivacy_rt.detectors.second_look import SecondLook
from deepprivacy_rt.detectors.tiling import View, letterbox, tiles, whole
from deepprivacy_rt.runtimes.openvino import Precision
from deepprivacy_rt.types import Detection, Frame

Effort: TypeAlias = Literal["fast", "balanced", "thorough"]


class BlazeFaceDetector:
    """Implements :class:`deepprivacy_rt.stages.Detector`; may be shared between threads.

    ============  =============================================================================  ============
    effort        looks at                                                                       at 1280×720
    ============  =============================================================================  ============
    ``fast``      the whole frame                                                                1 view
    ``balanced``  and two tiles that overlap by a fifth; more for square frames, and from        3 views
                  about 2000 px on
    ``thorough``  and 3×2 tiles that overlap by a quarter, more from about 1500 px on; the       11 views
                  mirrored frame; and the whole frame with the short range network
    ============  =============================================================================  ============

    Frames with an aspect ratio above 3 are looked at in a row of pieces in place of the whole.

    :param full_range: file ``face_detection_full_range_sparse.tflite``.
    :param short_range: file ``face_detection_short_range.tflite``: it looks again
        at what the other is not sure of, and at the whole frame with ``thorough``.
    :param threshold: lowest score of a detection.
    :param backend: ``auto`` takes OpenVINO where it is installed, else PyTorch.
    :param precision: for OpenVINO.

    Raises EnvironmentProblem when the backend is not installed, WeightsError for an unreadable file.
    """

    def __init__(
        self,
        full_range: Path,
        short_range: Path,
        *,
        effort: Effort = "balanced",
        threshold: float = 0.2,
        backend: Backend = "auto",
        precision: Precision = "f32",
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie in 0..1, not {threshold}")
        self._effort: Effort = effort
        self._full = open_network(full_range, FULL_RANGE, threshold, backend, precision)
        self._short = open_network(short_range, SHORT_RANGE, threshold, backend, precision)
        self._second_look = SecondLook(self._full, self._short)

    def with_effort(self, effort: Effort) -> BlazeFaceDetector:
        """Return a detector with another effort that shares this one's networks."""
        other = copy.copy(self)
        other._effort = effort
        return other

    def detect(self, frame: Frame) -> list[Detection]:
        """Return every face with a score of at least the threshold, best first.

        Raises StageError when an inference fails or returns values that are not finite.
        """
        found = merge_views(Candidates.join(list(self._look(frame))))
        return to_detections(self._second_look.rescored(frame.image, found))

    def _look(self, frame: Frame) -> Iterator[Candidates]:
        height, width = frame.image.shape[:2]
        full_views, short_views = views_of(self._effort, width, height)
        # One inference per view: on one CPU thread a batch takes as long (4.5 against 4.5 to 4.9 ms per picture).
        for network, size, views in (
            (self._full, FULL_RANGE.size, full_views),
            (self._short, SHORT_RANGE.size, short_views),
        ):
            for view in views:
                picture, box = letterbox(frame.image, view, (size, size))
                yield box.to_frame(network.find(picture), (width, height))


def views_of(effort: Effort, width: int, height: int) -> tuple[list[View], list[View]]:
    """Return what to look at in a frame: views for the full range network, and for the short range one."""
    views = whole(width, height) + _tiles(effort, width, height)
    if effort != "thorough":
        return views, []
    return views + whole(width, height, mirrored=True), whole(width, height)


def _tiles(effort: Effort, width: int, height: int) -> list[View]:
    """Choose tiles by the share of the frame's long side, so that a face may be smaller by the same factor in each
    format, and by a limit in pixels for large frames, where faces are small against the frame."""
    side = max(width, height)
    if effort == "fast" or min(width, height) < _SMALLEST_TILED:
        return []
    coarse = tiles(width, height, longest=min(0.75 * side, 1200), overlap=0.2)
    return (
        coarse if effort == "balanced" else coarse + tiles(width, height, longest=min(0.45 * side, 640), overlap=0.25)
    )


_SMALLEST_TILED = 64
"""Below this no face is small against the frame."""
