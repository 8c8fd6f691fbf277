"""The arithmetic of the evaluation, where the right answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprivacy_rt.audit.bootstrap import mean, median, ratio
from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.audit.recogniser import INPUT_SIDE, TEMPLATE
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.thresholds import Threshold
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.evaluation.copies import RememberedDetector
from deepprivacy_rt.evaluation.crops import aligned_luma, warped
from deepprivacy_rt.evaluation.distribution import frechet_distance, kernel_distance
from deepprivacy_rt.evaluation.expression import correlation
from deepprivacy_rt.evaluation.flicker import change
from deepprivacy_rt.evaluation.groups import person_of, read_groups, spread
from deepprivacy_rt.evaluation.keypoints import inter_ocular, keypoint_error
from deepprivacy_rt.evaluation.measures import estimates, first_guesses, samples
from deepprivacy_rt.evaluation.observer import FaceMeasures, FileRun
from deepprivacy_rt.evaluation.sharpness import own_side, sharpness
from deepprivacy_rt.evaluation.similarity import mean_similarity, similarity_to_others
from deepprivacy_rt.evaluation.strangers import strangers
from deepprivacy_rt.evaluation.targets import targets
from deepprivacy_rt.expressions.face_mesh import Openings, openings
from deepprivacy_rt.testing import make_detection, make_frame
from deepprivacy_rt.types import Box, Detection, Frame

POINTS = TEMPLATE.astype(np.float32)


def unit(count: int, length: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, length)) + shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# ---- Pixels ----


def test_a_known_shift_is_the_keypoint_error() -> None:
    eyes = float(np.hypot(*(POINTS[1] - POINTS[0])))
    assert inter_ocular(POINTS) == pytest.approx(eyes, rel=0.02)
    assert keypoint_error(POINTS, POINTS) == 0
    assert keypoint_error(POINTS * 3, POINTS * 3 + np.float32([0.3 * eyes, 0])) == pytest.approx(0.1, rel=0.02)
    profile = POINTS * np.float32([0.1, 1])  # the head is as large as before
    assert inter_ocular(profile) == pytest.approx(eyes, rel=0.02)


def test_shrinking_averages_and_keeps_the_place() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    small = warped(stripes, np.array([[0.25, 0, 0], [0, 0.25, 0]]), 90)
    assert np.abs(small[1:-1, 1:-1].astype(int) - 100).max() <= 1
    dot = np.zeros((448, 448, 3), np.uint8)
    x, y = (POINTS[2] * 4).round().astype(int)
    cv2.circle(dot, (int(x), int(y)), 12, (255, 255, 255), -1)
    luma = aligned_luma(dot, POINTS * 4)
    rows, columns = np.mgrid[:INPUT_SIDE, :INPUT_SIDE]
    place = [(axis * luma).sum() / luma.sum() for axis in (columns, rows)]
    assert place == pytest.approx([x / 4, y / 4], abs=0.05)


def test_sharpness_is_the_variance_of_the_laplacian_in_the_frames_own_pixels() -> None:
    noise = np.repeat(np.random.default_rng(0).integers(0, 256, (336, 336, 1), np.uint8), 3, axis=2)
    points = POINTS * 3
    assert own_side(points) == 3 * INPUT_SIDE
    # A 4-neighbour Laplacian of white noise has (16 + 4) times its variance.
    assert sharpness(noise, points) == pytest.approx(20 * 256**2 / 12, rel=0.05)
    enlarged = cv2.resize(cv2.resize(noise, None, fx=0.5, fy=0.5), (336, 336))
    assert sharpness(enlarged, points) < 0.2 * sharpness(noise, points)
    assert sharpness(np.full_like(noise, 90), points) == 0


def test_a_still_does_not_flicker_and_brightness_counts_in_levels() -> None:
    face = np.random.default_rng(0).uniform(0, 200, (112, 112)).astype(np.float32)
    assert change(face, face) == 0
    assert change(face, face + 7) == pytest.approx(7)
    outside = face.copy()
    outside[:10] = outside[:, :10] = 0  # hair and background
    assert change(face, outside) == 0


def test_openings_are_distances_in_space_over_the_size_of_the_face() -> None:
    mesh = np.zeros((468, 3), np.float32)
    mesh[[33, 263]] = [[0, 0, 0], [60, 0, 80]]
    mesh[[13, 14]] = [[0, 50, 0], [0, 80, 0]]
    mesh[[133, 362]] = [[20, 0, 0], [60, 20, 80]]
    mesh[[159, 145]] = [[10, -3, 0], [10, 3, 0]]
    mesh[[386, 374]] = [[50, 0, 80], [50, 10, 80]]
    assert openings(mesh)[:3] == pytest.approx((0.3, 6 / 20, 10 / 20))
    assert openings(mesh * 2)[:3] == pytest.approx(openings(mesh)[:3])


# ---- Series and sets ----


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=30), st.floats(0.1, 9), st.floats(-9, 9))
def test_correlation_is_blind_to_gain_and_offset(series: list[float], gain: float, offset: float) -> None:
    if np.ptp(series) < 1e-3:
        return
    moved = [gain * value + offset for value in series]
    assert correlation(series, moved) == pytest.approx(1)
    assert correlation(series, [-value for value in moved]) == pytest.approx(-1)
    assert correlation(series, [offset] * len(series)) == pytest.approx(0, abs=1e-6)
    assert np.isnan(correlation([1.0] * len(series), series))


def test_steadiness_is_the_mean_over_pairs() -> None:
    rows = unit(7, 5)
    pairs = (rows @ rows.T)[np.triu_indices(7, 1)]
    assert mean_similarity(list(rows)) == pytest.approx(pairs.mean(), abs=1e-6)
    assert mean_similarity([rows[0]] * 4) == pytest.approx(1)
    assert np.isnan(mean_similarity([rows[0]]))
    different = ~np.eye(7, dtype=bool)
    different[0, 1:] = False
    values = similarity_to_others(rows, different)
    assert np.isnan(values[0]) and values[1] == pytest.approx((rows[1] @ np.delete(rows, 1, 0).T).mean(), abs=1e-6)


def test_frechet_distance_of_known_distributions() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 6))
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows[::-1] + np.array([3, 0, 0, 0, 0, 4])) == pytest.approx(25)
    # Deviations of s and 2 s: (2 s - s)² summed over the axes.
    assert frechet_distance(rows, 2 * (rows - rows.mean(0)) + rows.mean(0)) == pytest.approx(rows.var(0, ddof=1).sum())
    with pytest.raises(ValueError, match="two faces"):
        frechet_distance(rows[:1], rows)


def test_kernel_distance_is_unbiased_and_its_error_the_jackknifes() -> None:
    same = [kernel_distance(unit(30, 8, seed), unit(60, 8, seed + 100)).value for seed in range(40)]
    assert abs(np.mean(same)) < 2.5 * np.std(same) / np.sqrt(40)
    near, far = (kernel_distance(unit(30, 8, 1, shift), unit(60, 8, 2)) for shift in (0.0, 1.0))
    assert near.low < 0 < near.high and far.low > 0
    a, b = unit(9, 4).astype(np.float64), unit(12, 4, 1).astype(np.float64)

    def plain(rows: np.ndarray) -> float:
        def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return (x @ y.T + 1) ** 3

        return float(
            np.mean(kernel(rows, rows)[~np.eye(len(rows), dtype=bool)])
            + np.mean(kernel(b, b)[~np.eye(len(b), dtype=bool)])
            - 2 * kernel(rows, b).mean()
        )

    found = kernel_distance(a, b)
    assert found.value == pytest.approx(plain(a))
    left_out = np.array([plain(np.delete(a, place, 0)) for place in range(9)])
    error = np.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
    assert found.high - found.value == pytest.approx(1.96 * error)


def test_intervals_of_means_ratios_and_medians_draw_tracks() -> None:
    values = [float(number // 100) for number in range(400)]
    by_track = mean(values, [number // 100 for number in range(400)])
    by_frame = mean(values, range(400))
    assert by_track.value == by_frame.value == 1.5
    assert by_track.high - by_track.low > 4 * (by_frame.high - by_frame.low)
    assert ratio([1, 3], [2, 2], ["a", "b"]).value == 1
    assert np.isnan(ratio([1.0], [0.0], ["a"]).value)
    middle = median([1, 2, 3, 4, 100], "abcde")
    assert middle.value == 3 and middle.low == 1 and middle.high == 100
    # One track that is drawn as a whole: without it the median is 1, with it mostly 9.
    assert median([9, 9, 9, 9, 9, 1], [*"bbbbb", "a"]).low == 1
    assert np.isnan(median([], []).value) and np.isnan(median([1.0], ["a"]).low)


# ---- Groups and targets ----


def test_a_group_table_names_people_by_their_files(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("face_id,age,gender\n" + "".join(f"{n:03},{n},{'fm'[n % 2]}\n" for n in range(20)))
    groups = read_groups(table)
    assert list(groups) == ["gender"] and groups["gender"]["003"] == "m"  # ages are no groups
    assert person_of("london/003_smiling.jpg", groups["gender"]) == "003"
    assert person_of("003.jpg", groups["gender"]) == "003" and person_of("003x.jpg", groups["gender"]) is None
    table.write_text("a,b\n1,x\n2,x\n")
    with pytest.raises(UsageError, match="no column"):
        read_groups(table)
    with pytest.raises(UsageError, match=r"none\.csv"):
        read_groups(tmp_path / "none.csv")


def test_strangers_tell_what_a_group_gives_away() -> None:
    """Two groups that lie far apart: a stranger is guessed among its group's others, one of two and one of three."""
    random = np.random.default_rng(0)
    people = [name for name in "abcdefg" for _ in range(40)]
    group_of = {name: "few" if name in "abc" else "many" for name in "abcdefg"}
    centers = {"few": np.array([9.0] + [0.0] * 31), "many": np.array([0.0, 9.0] + [0.0] * 30)}
    vectors = [centers[group_of[one]] + random.normal(size=32) for one in people]
    vectors = [(one / np.linalg.norm(one)).astype(np.float32) for one in vectors]
    whole, few, many = strangers(vectors, people, {"kind": group_of})
    assert (whole.group, few.group, many.group, whole.people, few.people) == ("", "few", "many", 7, 3)
    assert few.rank_1.value == pytest.approx(1 / 2, abs=0.05) and many.rank_1.value == pytest.approx(1 / 3, abs=0.05)
    assert whole.rank_1.value == pytest.approx(3 / 7 / 2 + 4 / 7 / 3, abs=0.05)
    rows = strangers(vectors, people, {"kind": group_of, "place": dict.fromkeys("abcdefg", "here") | {"g": "there"}})
    assert [(one.column, one.people) for one in rows if not one.group] == [
        ("kind", 7),
        ("place", 6),  # nobody is as g is
        ("kind and place", 6),
    ]


def test_the_spread_of_groups_is_told_from_chance() -> None:
    people = [str(number) for number in range(40) for _ in range(2)]
    group_of = {str(number): "ab"[number % 2] for number in range(40)}
    unfair = spread([float(group_of[person] == "a") for person in people], people, group_of)
    assert unfair.difference == 1 and (unfair.lowest, unfair.highest) == ("b", "a")
    assert unfair.by_chance < 0.5
    hits = [float(int(person) < 20) for person in people]
    fair = spread(hits, people, group_of)
    assert fair.difference == 0 and fair.by_chance > 0.2
    assert np.isnan(spread([1.0], ["0"], group_of).difference)


def test_targets_that_depend_on_the_original_and_on_chance() -> None:
    found = targets({"steadiness": mean([0.9], ["a"])}, people=50)
    assert found["steadiness"].met(0.881) and not found["steadiness"].met(0.879)
    assert found["rank_1"].met(0.04) and not found["rank_1"].met(0.041)
    assert found["sharpness"].met(0.5) and found["sharpness"].met(1.5) and not found["sharpness"].met(1.51)
    assert "rank_1" not in targets({}, None)


# ---- From faces to numbers ----


def face_record(
    frame: int, track: int, share: float, embeddings: tuple[np.ndarray, np.ndarray], side: float = 60
) -> FaceRecord:
    face = Face(Box(0, 0, side, side + 10), POINTS, 0.9)
    return FaceRecord(frame, frame / 25, face, track, share, 0.9, embeddings, face)


def run_of(records: Sequence[FaceRecord], seen: Sequence[FaceMeasures | None]) -> FileRun:
    return FileRun("input", False, FileAudit("clip", frames=len(records), faces=list(records)), list(seen))


def test_numbers_of_a_clip_that_is_known() -> None:
    axes = np.eye(4, dtype=np.float32)
    count = 12
    records, seen = [], []
    for number in range(count):
        opening = Openings(0.1 * (number % 3), 0.3, 0.3)
        halved = Openings(opening.mouth / 2, 0.3, 0.3)
        records.append(face_record(number, 0, 0.5 if number < 3 else 0.1, (axes[0], axes[1])))
        seen.append(FaceMeasures(0.2 if number % 2 else None, (4.0, 2.0), (2.0, 3.0), (opening, halved)))
    records += [
        face_record(0, 1, 1.0, (axes[0], axes[0]), side=30),
        face_record(1, 2, 1.0, (axes[2], axes[2]), side=60),
    ]
    seen += [None, FaceMeasures(0.2, (1.0, 0.5), None, None)]
    found = estimates(samples([run_of(records, seen)]), Threshold(0.5, "test"), {id(records[0]): True})
    assert (found["exposed_large"].value, found["exposed_small"].value) == (4 / 13, 1)
    assert found["kept_video"].total == 13 and "kept_still" not in found
    assert found["same_person"].value == pytest.approx(1 / 13)
    assert found["rank_1"].value == 1 and found["rank_1"].total == 1
    assert found["keypoint_error"].value == pytest.approx(0.2) and found["keypoint_error"].total == 7
    assert found["sharpness"].value == 0.5 and found["flicker"].value == 1.5
    assert found["steadiness"].value == pytest.approx(1) and found["steadiness"].total == 1  # the others are too short
    assert found["mouth"].value == pytest.approx(1)
    assert "eyes" not in found  # they did not move


def test_a_track_is_steady_in_each_draw_of_identities() -> None:
    axes = np.eye(4, dtype=np.float32)
    runs = []
    for draw in range(2):
        records = [face_record(number, 0, 0, (axes[0], axes[1 + draw])) for number in range(12)]
        runs.append(replace(run_of(records, [None] * 12), draw=draw))
    found = estimates(samples(runs), Threshold(0.5, "test"), {})["steadiness"]
    assert found.value == pytest.approx(1) and (found.total, found.groups) == (2, 1)


def test_draws_of_identities_count_alike() -> None:
    record = face_record(0, 0, 0, (np.eye(2, dtype=np.float32)[0],) * 2)
    seen = [FaceMeasures(error, (1.0, 1.0), None, None) for error in (0.1, 0.3)]
    runs = [replace(run_of([record], [one]), draw=draw) for draw, one in enumerate(seen)]
    found = estimates(samples(runs), Threshold(0.5, "test"), {})["keypoint_error"]
    assert found.value == pytest.approx(0.2) and (found.total, found.groups) == (2, 1)


def test_a_decoy_who_may_be_in_the_files_is_left_out_of_the_gallery() -> None:
    axes = np.eye(4, dtype=np.float32)
    records = [face_record(0, 0, 0, (axes[0], axes[0])), face_record(0, 1, 0, (axes[1], axes[2]))]
    faces = samples([run_of(records, [None, None])])
    same = (0.9 * axes[0] + np.sqrt(np.float32(0.19)) * axes[3]).astype(np.float32)
    guessed, people = first_guesses(faces, Threshold(0.5, "test", (same, axes[2])))
    assert people == 3
    assert [guessed[id(record)] for record in records] == [True, False]
    assert first_guesses(faces[:1], Threshold(0.5, "test")) == ({}, None)


def test_people_with_names_are_told_apart_though_a_recogniser_confuses_them() -> None:
    axes = np.eye(3, dtype=np.float32)
    near = (0.8 * axes[0] + 0.6 * axes[1]).astype(np.float32)
    first, second = face_record(0, 0, 0, (axes[0], near)), face_record(0, 0, 0, (near, near))
    runs = [run_of([first], [None]), run_of([second], [None])]
    faces = samples(runs)
    confused, people = first_guesses(faces, Threshold(0.5, "test", (axes[2],)))
    assert people == 2 and [confused[id(one)] for one in (first, second)] == [True, True]
    names = {id(runs[0].audit): "ann", id(runs[1].audit): "bea"}
    told, people = first_guesses(faces, Threshold(0.5, "test", (axes[2],)), lambda audit: names[id(audit)])
    assert people == 3 and [told[id(one)] for one in (first, second)] == [False, True]


# ---- Copies ----


def test_a_file_is_searched_once_for_all_copies() -> None:
    class Counting:
        calls = 0

        def detect(self, frame: Frame) -> Sequence[Detection]:
            self.calls += 1
            return [make_detection(frame.index, 50, 40)]

    inner = Counting()
    detector = RememberedDetector(inner)
    first = [detector.detect(make_frame(index)) for index in range(3)]
    assert [detector.detect(make_frame(index)) for index in range(3)] == first
    assert inner.calls == 3
