"""The parts that both trackers are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepprivacy_rt.errors import ConfigError
from deepprivacy_rt.testing import make_detection
from deepprivacy_rt.tracking import TrackerSettings
from deepprivacy_rt.tracking.association import boxes_of, match, merged, overlap
from deepprivacy_rt.tracking.one_euro import OneEuroFilter
from deepprivacy_rt.tracking.state import box_of, coasted, keypoints_of, moved, observe


def test_one_euro_follows_the_paper() -> None:
    """The first steps by hand: Casiez et al. 2012, with the speed measured in face sizes."""
    smooth = OneEuroFilter(min_cutoff=1.0, beta=2.0)
    assert smooth(np.array([10.0]), 0.1, 5.0).tolist() == [10.0]
    speed = (14.0 - 10.0) / (0.1 * 5.0) / (1 + 1 / (2 * math.pi * 3.0 * 0.1))
    cutoff = 1.0 + 2.0 * speed
    alpha = 1 / (1 + 1 / (2 * math.pi * cutoff * 0.1))
    assert smooth(np.array([14.0]), 0.1, 5.0)[0] == pytest.approx(10 + alpha * 4)


def test_one_euro_is_the_same_for_near_and_far_faces() -> None:
    near, far = OneEuroFilter(1.0, 3.0), OneEuroFilter(1.0, 3.0)
    for value in (0.0, 0.1, 0.5, 0.4):
        a, b = near(np.array([value * 400]), 1 / 30, 400.0), far(np.array([value * 40]), 1 / 30, 40.0)
        assert a[0] == pytest.approx(10 * b[0])


def test_overlap_of_boxes() -> None:
    boxes = boxes_of([make_detection(50, 50, 100), make_detection(100, 50, 100), make_detection(500, 50, 100)])
    assert overlap(boxes, boxes)[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0])


def test_match_takes_the_nearest_pairs_within_reach_and_scale() -> None:
    tracks = [observe(make_detection(x, 100, 50)) for x in (100, 160)]
    seen = boxes_of([make_detection(150, 100, 50), make_detection(95, 100, 50)])
    assert sorted(match(tracks, seen, [1.0, 1.0])) == [(0, 1), (1, 0)]
    assert match(tracks, seen, [0.05, 0.05]) == []
    assert match(tracks, boxes_of([make_detection(100, 100, 110)]), [1.0, 1.0]) == []
    assert match([], seen, []) == []


def test_merged_joins_one_face_and_keeps_neighbours() -> None:
    faces = [make_detection(100, 100, 50, 0.5), make_detection(104, 100, 50, 0.8), make_detection(150, 100, 50, 0.7)]
    result = merged(faces)
    assert [one.score for one in result] == [0.8, 0.7]
    assert result[0].box.x0 == 75 and result[0].box.x1 == 129


def test_coasting_contains_the_old_and_the_moved_face() -> None:
    settings = TrackerSettings()
    state, velocity = observe(make_detection(300, 300, 100)), np.array([12.0, -5.0])
    for frames in (1, 3, 10, 30, -1, -10, -30):
        wide, ahead = (
            box_of(coasted(state, velocity, frames, settings)),
            box_of(moved(state, velocity, frames, settings)),
        )
        for box in (box_of(state), ahead):
            assert wide.x0 <= box.x0 and wide.y0 <= box.y0 and wide.x1 >= box.x1 and wide.y1 >= box.y1
        assert math.copysign(1, ahead.x0 - 250) == math.copysign(1, frames)


def test_keypoints_grow_with_a_coasting_face() -> None:
    state = observe(make_detection(300, 300, 100))
    wide = coasted(state, np.zeros(2), 30, TrackerSettings(growth_per_second=0.5))
    assert np.allclose(keypoints_of(wide) - 300, 1.5 * (keypoints_of(state) - 300), atol=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {"frame_rate": 0},
        {"frame_rate": math.nan},
        {"start_score": 0.1},
        {"start_score": 1.5},
        {"coast_seconds": -1},
        {"largest_growth": 0.5},
        {"min_cutoff": 0},
    ],
)
def test_settings_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="tracker: "):
        TrackerSettings(**values)


def test_settings_turn_seconds_into_frames() -> None:
    settings = TrackerSettings(frame_rate=25)
    assert (settings.coast_frames, settings.backtrack_frames, settings.frames(0.0)) == (25, 18, 0)
