"""The lookahead tracker: covering before the first detection, gaps, smoothing without lag, constant memory."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from cover_checks import box_iou, covered_part, face_pixels

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.testing import make_detection
from deepprivacy_rt.tracking import LookaheadTracker, TrackerSettings
from deepprivacy_rt.types import Detection, Evidence, FaceTrack


def follow(
    script: Mapping[int, Sequence[Detection]], count: int, tracker: LookaheadTracker | None = None
) -> list[list[FaceTrack]]:
    """Run a whole stream; check that every frame comes out once, in order."""
    tracker = tracker or LookaheadTracker()
    answers = [answer for index in range(count) for answer in tracker.push(index, script.get(index, []))]
    answers += tracker.flush()
    assert [index for index, _ in answers] == list(range(count))
    return [tracks for _, tracks in answers]


def test_frames_come_out_late_by_the_lookahead() -> None:
    tracker = LookaheadTracker(lookahead=3)
    out = [[index for index, _ in tracker.push(i, [])] for i in range(5)]
    assert out == [[], [], [], [0], [1]]
    assert [index for index, _ in tracker.flush()] == [2, 3, 4]


def test_identities_count_on_from_the_first() -> None:
    two = [make_detection(100, 100, 80), make_detection(500, 300, 80)]
    frames = follow(dict.fromkeys(range(10), two), 10, LookaheadTracker(lookahead=3, first_identity=700))
    assert {track.identity for track in frames[5]} == {700, 701}


def test_a_face_is_covered_before_its_first_detection() -> None:
    frames = follow({50: [make_detection(300, 300, 100)]}, 120)
    covered = [index for index, tracks in enumerate(frames) if tracks]
    assert covered == list(range(50 - 21, 50 + 30 + 1))
    assert {tracks[0].evidence for tracks in frames[29:50]} == {Evidence.BACKTRACKED}
    assert frames[50][0].evidence is Evidence.DETECTED
    assert {tracks[0].evidence for tracks in frames[51:81]} == {Evidence.COASTED}
    assert frames[29][0].box.width > frames[45][0].box.width > frames[50][0].box.width


def test_backtracking_never_reaches_beyond_the_lookahead() -> None:
    frames = follow({50: [make_detection(300, 300, 100)]}, 60, LookaheadTracker(lookahead=5))
    assert next(index for index, tracks in enumerate(frames) if tracks) == 45


def test_a_moving_face_is_followed_backwards_by_its_weak_detections() -> None:
    script = {i: [make_detection(200 + 12 * i, 300, 100, 0.2 if i < 40 else 0.9)] for i in range(25, 60)}
    del script[32], script[33]
    frames = follow(script, 60)
    for index in range(25, 40):
        (track,) = frames[index]
        assert track.evidence is Evidence.BACKTRACKED
        assert covered_part([track], face_pixels(200 + 12 * index, 300, 100)) == 1.0
    assert frames[30][0].score == pytest.approx(0.2)
    for index in range(20, 25):
        assert covered_part(frames[index], face_pixels(200 + 12 * index, 300, 100)) == 1.0


def test_gaps_are_interpolated_and_covered() -> None:
    script = {i: [make_detection(200 + 10 * i, 300, 100)] for i in range(50) if not 20 <= i < 40}
    frames = follow(script, 50)
    for index in range(20, 40):
        (track,) = frames[index]
        # A detector that looks now and then leaves gaps of one or two frames: those are no reason to doubt.
        assert track.evidence is (Evidence.DETECTED if index in (20, 39) else Evidence.INTERPOLATED)
        assert abs(track.box.center[0] - (200 + 10 * index)) < 3
        assert track.box.width > 100 or index in (20, 39)
        assert covered_part([track], face_pixels(200 + 10 * index, 300, 100)) == 1.0


@pytest.mark.parametrize("period", [2, 3])
def test_a_face_looked_at_now_and_then_is_as_calm_as_one_looked_at_in_every_frame(period: int) -> None:
    """It does not pulse: size and speed are the same in the frames between two looks."""
    truth = [300 + 5 * i for i in range(90)]
    script = {i: [make_detection(truth[i], 300, 150)] for i in range(0, 90, period)}
    frames = follow(script, 90)
    boxes = np.array([(*tracks[0].box.center, tracks[0].box.width) for tracks in frames[10:80]])
    assert all(len(tracks) == 1 for tracks in frames[:88])
    assert np.abs(boxes[:, 0] - truth[10:80]).max() < 1
    assert np.abs(boxes[:, 2] - 150).max() < 1e-6


def test_a_guess_over_a_face_is_dropped_between_two_looks_too() -> None:
    """A face is lost while it moves behind another one."""
    face = make_detection(300, 300, 150)
    script = {i: [face] for i in range(0, 60, 2)}
    for i, x in ((16, 480), (18, 450), (20, 420)):
        script[i] = [face, make_detection(x, 300, 150)]
    frames = follow(script, 60)
    assert [len(tracks) for tracks in frames[20:24]] == [2] * 4
    assert [len(tracks) for tracks in frames[34:46]] == [1] * 12


def test_smoothing_has_no_lag_and_calms() -> None:
    random = np.random.default_rng(0)
    truth = [300 + 250 * np.sin(i / 12) for i in range(200)]
    script = {i: [make_detection(x + random.normal(0, 1.5), 300, 150)] for i, x in enumerate(truth)}
    frames = follow(script, 200)
    centers = np.array([tracks[0].box.center[0] for tracks in frames])
    raw = np.array([script[i][0].box.center[0] for i in range(200)])
    assert abs((centers - truth).mean()) < 0.5
    assert np.diff(centers - truth).std() < 0.5 * np.diff(raw - truth).std()


@pytest.mark.parametrize("lookahead", [0, 2, 30])
@pytest.mark.parametrize("speed", [20, 60])
def test_never_lags_behind_a_fast_face(lookahead: int, speed: int) -> None:
    places, x = [], 300.0
    for index in range(80):
        x += 0 if index < 30 else speed if (index // 10) % 2 else -speed
        places.append(x)
    script = {i: [make_detection(place, 360, 100)] for i, place in enumerate(places)}
    for place, tracks in zip(places, follow(script, 80, LookaheadTracker(lookahead=lookahead)), strict=True):
        assert max(box_iou(one.box, make_detection(place, 360, 100).box) for one in tracks) > 0.85
        assert covered_part(tracks, face_pixels(place, 360, 100)) == 1.0


def test_a_face_seen_once_faintly_is_covered_and_flagged() -> None:
    frames = follow({50: [make_detection(300, 300, 100, 0.5)]}, 90)
    assert all(track.uncertain for tracks in frames for track in tracks)
    assert sum(bool(tracks) for tracks in frames) == 52


def test_a_guess_on_a_seen_face_is_not_covered_twice() -> None:
    """A second face comes out from behind the first: running backwards, it stays off the first."""
    script = {i: [make_detection(300, 300, 100)] for i in range(60)}
    for index in range(30, 60):
        script[index] = [make_detection(300, 300, 100), make_detection(300 + 6 * (index - 20), 300, 100)]
    frames = follow(script, 60)
    assert len(frames[20]) == 1
    assert len(frames[35]) == 2


def test_shortening_hands_out_the_frames_that_waited_too_long() -> None:
    tracker = LookaheadTracker(lookahead=10)
    for index in range(10):
        assert tracker.push(index, []) == []
    tracker.shorten(4)
    tracker.shorten(7)
    assert tracker.lookahead == 4
    assert [index for index, _ in tracker.push(10, [])] == list(range(7))


def test_a_broken_detection_raises_and_the_stream_goes_on() -> None:
    tracker = LookaheadTracker(lookahead=2)
    tracker.push(0, [make_detection(300, 300, 100)])
    with pytest.raises(StageError):
        tracker.push(1, ["face"])  # type: ignore[list-item]
    tracker.push(1, [])
    ((index, (track,)),) = tracker.push(2, [])
    assert (index, track.evidence) == (0, Evidence.DETECTED)


def test_memory_does_not_grow_with_the_stream() -> None:
    tracker = LookaheadTracker(TrackerSettings(coast_seconds=0.2, reentry_seconds=0.5), lookahead=15)
    random = np.random.default_rng(0)

    def run(start: int, count: int) -> None:
        for index in range(start, start + count):
            faces = [make_detection(*random.uniform(100, 1000, 2), 60, float(random.uniform(0.2, 1)))]
            faces.append(make_detection(300, 300, 100))
            tracker.push(index, faces)

    run(0, 100)
    before = len(pickle.dumps(tracker))
    run(100, 500)
    assert len(pickle.dumps(tracker)) < 1.5 * before


def test_what_many_looks_do_not_take_for_a_face_is_not_covered_at_all() -> None:
    """The looks of the second ahead count: leaves out of focus do not flash up as a blob."""
    weak = {index: [make_detection(300, 300, 100, 0.35)] for index in range(20, 60)}
    assert not any(follow({**weak, 20: [make_detection(300, 300, 100, 0.55)]}, 90))
    late = {**weak, 50: [make_detection(300, 300, 100, 0.55)]}
    assert not any(follow(late, 90, LookaheadTracker(lookahead=30))), "nor before its birth"
    sure = follow({**weak, 20: [make_detection(300, 300, 100, 0.55)], 45: [make_detection(300, 300, 100, 0.7)]}, 90)
    assert all(sure[20:60])
