"""The online tracker: covering at once, never lagging, coasting, identity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cover_checks import box_iou, covered_part, face_pixels

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.testing import make_detection, make_keypoints, unchecked_detection
from deepprivacy_rt.tracking import OnlineTracker, TrackerSettings
from deepprivacy_rt.types import Box, Detection, Evidence


def test_covers_from_the_first_detection_and_not_below_the_start_score() -> None:
    tracker = OnlineTracker()
    assert tracker.update(0, [make_detection(100, 100, 50, score=0.49)]) == []
    (track,) = tracker.update(1, [make_detection(100, 100, 50, score=0.51)])
    assert track.evidence is Evidence.DETECTED
    assert box_iou(track.box, make_detection(100, 100, 50).box) == pytest.approx(1.0)


def test_weak_detections_continue_a_track() -> None:
    tracker = OnlineTracker()
    tracker.update(0, [make_detection(100, 100, 50)])
    for index in range(1, 100):
        (track,) = tracker.update(index, [make_detection(100 + index, 100, 50, score=0.2)])
        assert (track.track_id, track.evidence) == (0, Evidence.DETECTED)
    (track,) = tracker.update(100, [make_detection(200, 100, 50, score=0.1)])
    assert track.evidence is Evidence.COASTED


def test_smoothing_calms_a_face_at_rest() -> None:
    random = np.random.default_rng(1)
    tracker, raw, smooth = OnlineTracker(), [], []
    for index in range(200):
        detection = make_detection(*(300 + random.normal(0, 1.5, 2)), 150)
        (track,) = tracker.update(index, [detection])
        raw.append(detection.keypoints[2])
        smooth.append(track.keypoints[2])
    assert np.diff(smooth, axis=0).std() < 0.35 * np.diff(raw, axis=0).std()


@pytest.mark.parametrize("speed", [5, 20, 60, 90])
def test_never_lags_behind_a_fast_face(speed: int) -> None:
    """A face of 100 px that sets off from rest and turns round at full speed stays under the cover in every frame."""
    tracker, x, step = OnlineTracker(), 200.0, 0
    random = np.random.default_rng(2)
    for index in range(90):
        step = 0 if index < 30 else speed if (index // 10) % 2 else -speed
        x = x + step
        seen = make_detection(x + random.normal(0, 1), 360 + random.normal(0, 1), 100)
        tracks = tracker.update(index, [seen])
        near = max(tracks, key=lambda one: box_iou(one.box, seen.box))
        assert box_iou(near.box, make_detection(x, 360, 100).box) > 0.85
        assert covered_part(tracks, face_pixels(x, 360, 100)) == 1.0


@pytest.mark.parametrize("velocity", [(0, 0), (6, 3), (25, -4), (40, 10)])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_lost_face_stays_covered_for_a_second(velocity: tuple[int, int], goes_on: bool) -> None:
    """Whether it stops dead in the frame where it is lost, or goes on for some frames more."""
    tracker, x, y, size = OnlineTracker(), 200.0, 400.0, 110.0
    for index in range(10):
        x, y = x + velocity[0], y + velocity[1]
        tracker.update(index, [make_detection(x, y, size)])
    for index in range(10, 40):
        if goes_on and index < 12:
            x, y = x + velocity[0], y + velocity[1]
        tracks = tracker.update(index, [])
        assert [track.evidence for track in tracks] == [Evidence.COASTED]
        if not (goes_on and index >= 12):
            assert covered_part(tracks, face_pixels(x, y, size)) == 1.0, index
    assert tracker.update(40, []) == []


def test_coasting_grows_the_box_up_to_a_limit() -> None:
    tracker = OnlineTracker(TrackerSettings(largest_growth=1.5))
    tracker.update(0, [make_detection(300, 300, 100)])
    widths = [tracker.update(index, [])[0].box.width for index in range(1, 31)]
    assert widths == sorted(widths)
    assert 100 < widths[0] < 105
    assert widths[-1] == pytest.approx(150)


def test_a_gap_in_the_frame_numbers_is_time_that_went_by() -> None:
    tracker = OnlineTracker()
    tracker.update(0, [make_detection(300, 300, 100)])
    assert tracker.update(31, []) == []


def test_two_faces_keep_their_identity_while_they_move() -> None:
    tracker = OnlineTracker()
    seen = set()
    for index in range(60):
        left, right = make_detection(100 + index, 200, 80), make_detection(300 - index, 330, 80)
        tracks = tracker.update(index, [left, right] if index % 2 else [right, left])
        by_place = sorted(tracks, key=lambda one: one.box.y0)
        seen.add(tuple((track.track_id, track.identity) for track in by_place))
    assert len(seen) == 1


def test_identity_returns_at_the_same_place_but_not_elsewhere_or_later() -> None:
    def identity_after(pause: int, x: float) -> tuple[int, int]:
        tracker = OnlineTracker()
        for index in range(10):
            tracker.update(index, [make_detection(300, 300, 100)])
        for index in range(10, 10 + pause):
            tracker.update(index, [])
        (new,) = (one for one in tracker.update(10 + pause, [make_detection(x, 300, 100)]) if one.score == 0.9)
        return new.track_id, new.identity

    assert identity_after(60, 330) == (1, 0)
    assert identity_after(60, 700) == (1, 1)
    assert identity_after(200, 330) == (1, 1)
    assert identity_after(20, 330) == (0, 0)


def test_a_face_that_left_over_the_border_and_looks_in_again_keeps_its_track() -> None:
    tracker, x = OnlineTracker(), 400.0
    for index in range(12):
        x -= 30
        tracker.update(index, [make_detection(x, 300, 100)])
    for index in range(12, 30):
        tracker.update(index, [])
    tracks = tracker.update(30, [make_detection(x + 30, 300, 100)])
    assert [(one.track_id, one.identity) for one in tracks] == [(0, 0)]


def test_two_detections_of_one_face_make_one_track_that_covers_both() -> None:
    tracker = OnlineTracker()
    first, second = make_detection(300, 300, 100, 0.9), make_detection(312, 304, 104, 0.6)
    (track,) = tracker.update(0, [second, first])
    assert track.score == 0.9
    assert track.box.x1 >= second.box.x1
    assert track.box.x0 <= first.box.x0


def test_a_lost_track_under_a_seen_one_ends_early() -> None:
    """One face comes to lie over another, which is seen no more: after a while there is one track, the seen one's."""
    tracker, x = OnlineTracker(), 350.0
    tracker.update(0, [make_detection(300, 300, 100), make_detection(x, 300, 100)])
    counts = []
    for index in range(1, 28):
        x = max(308, x - 4)
        tracks = tracker.update(index, [make_detection(x, 300, 100)])
        counts.append(len(tracks))
    assert counts[:8] == [2] * 8
    assert counts[-1] == 1
    assert tracks[0].evidence is Evidence.DETECTED
    assert tracks[0].track_id == 1


def test_a_scene_cut_covers_old_and_new_places() -> None:
    tracker = OnlineTracker()
    before = [make_detection(150 * column + 100, 150, 60) for column in range(6)]
    after = [make_detection(200 * column + 120, 500, 90) for column in range(5)]
    for index in range(5):
        tracker.update(index, before)
    tracks = tracker.update(5, after)
    assert len(tracks) == 11
    for detection in before + after:
        assert covered_part(tracks, face_pixels(*detection.box.center, detection.box.width)) == 1.0


def test_impossible_keypoints_do_not_move_the_cover() -> None:
    tracker = OnlineTracker()
    good = make_detection(300, 300, 100)
    tracker.update(0, [good])
    wild = Detection(good.box, np.full((6, 2), 5000.0, dtype=np.float32), 0.9)
    collapsed = Detection(good.box, np.full((6, 2), 300.0, dtype=np.float32), 0.9)
    for index, bad in enumerate((wild, collapsed), start=1):
        (track,) = tracker.update(index, [bad])
        assert np.abs(track.keypoints - good.keypoints).max() < 1.0
        assert covered_part([track], face_pixels(300, 300, 100)) == 1.0
    (fresh,) = OnlineTracker().update(0, [wild])
    assert np.abs(fresh.keypoints - good.keypoints).max() < 15.0


@pytest.mark.parametrize("kind", ["nan box", "nan keypoints", "empty box", "nan score", "no detection"])
def test_garbage_raises_and_leaves_the_tracker_usable(kind: str) -> None:
    tracker = OnlineTracker()
    good = make_detection(300, 300, 100)
    tracker.update(0, [good])
    box, nan = good.box, math.nan
    garbage = {
        "nan box": unchecked_detection(Box(nan, 0, 10, 10), good.keypoints, 0.9),
        "nan keypoints": unchecked_detection(box, np.full((6, 2), nan, dtype=np.float32), 0.9),
        "empty box": unchecked_detection(Box(10, 10, 10, 20), good.keypoints, 0.9),
        "nan score": unchecked_detection(box, good.keypoints, nan),
        "no detection": "face",
    }[kind]
    with pytest.raises(StageError):
        tracker.update(1, [good, garbage])  # type: ignore[list-item]
    assert [one.evidence for one in tracker.update(1, [])] == [Evidence.COASTED]


def test_frames_must_come_in_order() -> None:
    tracker = OnlineTracker()
    tracker.update(5, [])
    with pytest.raises(StageError, match="frame 5 after frame 5"):
        tracker.update(5, [])


def test_a_faint_track_is_covered_but_flagged_until_it_was_seen_well_once() -> None:
    tracker = OnlineTracker()
    for index in range(5):
        (track,) = tracker.update(index, [make_detection(300, 300, 100, 0.6)])
        assert track.uncertain
    (track,) = tracker.update(5, [make_detection(300, 300, 100, 0.7)])
    assert not track.uncertain
    (track,) = tracker.update(6, [make_detection(300, 300, 100, 0.3)])
    assert not track.uncertain


def test_make_keypoints_are_possible_for_the_tracker() -> None:
    box = Box(0, 0, 100, 100)
    (track,) = OnlineTracker().update(0, [Detection(box, make_keypoints(box), 0.9)])
    assert np.allclose(track.keypoints, make_keypoints(box))


def test_what_many_looks_do_not_take_for_a_face_is_let_go_until_one_is_sure() -> None:
    tracker = OnlineTracker()
    covered = [
        len(tracker.update(index, [make_detection(300, 300, 100, score)]))
        for index, score in enumerate([0.55] + [0.35] * 12 + [0.7] + [0.2] * 5)
    ]
    assert covered == [1] * 7 + [0] * 6 + [1] * 6


def test_a_face_that_stays_doubtful_stays_covered() -> None:
    tracker = OnlineTracker()
    for index in range(60):
        (track,) = tracker.update(index, [make_detection(300, 300, 100, 0.4 if index % 2 else 0.55)])
        assert track.uncertain
