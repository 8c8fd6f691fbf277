"""The parts of the audit that need no network."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepprivacy_rt.audit import cache
from deepprivacy_rt.audit.bootstrap import share
from deepprivacy_rt.audit.exposure import exposed_share
from deepprivacy_rt.audit.faces import Face, best_match
from deepprivacy_rt.audit.pairs import FramePairs, same_scene
from deepprivacy_rt.audit.people import identify
from deepprivacy_rt.audit.recogniser import TEMPLATE, align, similarity_to_template, threshold_at_far
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.tracks import FaceLinker
from deepprivacy_rt.cli.audit import find_pairs
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Box
from tests.media_clips import gradient, write_clip


def test_alignment_brings_points_onto_the_template() -> None:
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 2.5
    points = (TEMPLATE @ turn.T + [200, 90]).astype(np.float32)
    moved = similarity_to_template(points) @ np.vstack([points.T, np.ones(5)])
    assert np.allclose(moved.T, TEMPLATE, atol=1e-3)
    image = np.zeros((400, 500, 3), np.uint8)
    cv2.circle(image, tuple(int(v) for v in points[2]), 8, (255, 0, 0), -1)
    x, y = (round(v) for v in TEMPLATE[2])
    assert tuple(align(image, points)[y, x]) == (255, 0, 0)


def test_threshold_lets_exactly_the_share_through() -> None:
    impostors = np.arange(2000) / 2000
    threshold = threshold_at_far(impostors, 1e-3)
    assert threshold == pytest.approx(1997 / 2000)
    assert (impostors > threshold).sum() == 2
    assert threshold_at_far([0.1] * 999 + [0.9], 1e-3) == 0.1
    with pytest.raises(ValueError, match="999 pairs"):
        threshold_at_far(impostors[:999], 1e-3)


def test_intervals_draw_clips_not_frames() -> None:
    hits = [True] * 100 + [False] * 300
    by_clip = share(hits, [number // 100 for number in range(400)])
    by_frame = share(hits, list(range(400)))
    assert by_clip.value == by_frame.value == 0.25
    assert by_clip.high - by_clip.low > 4 * (by_frame.high - by_frame.low)
    nothing = share([False] * 50, [number // 5 for number in range(50)])
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, pytest.approx(0.3))
    assert np.isnan(share([], []).value) and np.isnan(share([True], ["one clip"]).low)


def record(track: int, original: np.ndarray, anonymized: np.ndarray) -> FaceRecord:
    face = Face(Box(0, 0, 60, 60), np.zeros((5, 2), np.float32), 0.9)
    return FaceRecord(0, 0.0, face, track, 0.0, 1.0, (original, anonymized))


def test_identification_counts_tracks_of_one_person_as_one() -> None:
    axes = np.eye(4, dtype=np.float32)
    alike = np.array([0.8, 0.6, 0, 0], np.float32)
    audit = FileAudit("clip")
    # Tracks 0 and 1 show one person, 2 another. The new face of track 0 is like track 1, that of track 2 like a decoy.
    rows = [(0, axes[0], alike), (1, alike, alike), (2, axes[2], axes[3])]
    probes = [(audit, record(*row)) for row in rows]
    result = identify(probes, [0, 1, 2], [axes[3]], 0.5)
    assert result is not None and result.people == 3
    assert (result.correct.hits, result.correct.total) == (2, 3)
    assert identify(probes[:2], [0, 1], [], 0.5) is None  # one person: every guess is right


def test_faces_are_linked_over_time() -> None:
    def faces(*lefts: float) -> list[Face]:
        return [Face(Box(x, 0, x + 50, 60), np.zeros((5, 2), np.float32), 0.9) for x in lefts]

    linker = FaceLinker()
    assert linker.link(0.0, faces(0, 100)) == [0, 1]
    assert linker.link(0.1, faces(105, 8)) == [1, 0]
    assert linker.link(0.2, faces(300)) == [2]
    assert linker.link(0.9, faces(12)) == [0]
    assert linker.link(3.0, faces(12)) == [3]


def test_matching_prefers_the_larger_overlap() -> None:
    near, far = (Face(Box(x, 0, x + 50, 60), np.zeros((5, 2), np.float32), 0.9) for x in (5, 30))
    match, overlap = best_match(Box(0, 0, 50, 60), [far, near])
    assert match is near and overlap == pytest.approx(45 / 55)
    assert best_match(Box(200, 0, 250, 60), [far, near]) == (None, 0.0)


def test_frames_are_paired_by_time(tmp_path: Path) -> None:
    times = [Fraction(index, 25) for index in range(10)]
    original, copy = tmp_path / "a.mkv", tmp_path / "b.mkv"
    write_clip(original, times, rate=Fraction(25))
    write_clip(copy, [t + 2 for t in times if t != times[4]] + [Fraction(3)], rate=Fraction(25))
    pairs = FramePairs(original, copy)
    seen = [(before.index, None if after is None else after.pts - 2) for before, after in pairs]
    assert [index for index, _ in seen] == list(range(10))
    assert [index for index, after in seen if after is None] == [4]
    assert all(abs(after - times[index]) < Fraction(1, 100) for index, after in seen if after is not None)
    assert (pairs.count.missing, pairs.count.extra) == (1, 1)


def test_other_surroundings_are_noticed() -> None:
    image = gradient(320, 240)
    covered = image.copy()
    covered[60:180, 100:220] = 0
    face = Box(120, 80, 200, 160)
    assert same_scene(image, covered, [face])
    assert same_scene(image, np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8), [face])
    assert not same_scene(image, np.full_like(image, 128), [face])


def test_exposure_of_faces_at_the_border_and_tiny_ones() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 3)
    picture = np.clip((noise.astype(float) - 128) * 6 + 128, 0, 255).astype(np.uint8)
    for box in (Box(-20, -30, 30, 40), Box(140, 100, 190, 170), Box(50, 50, 54, 55), Box(-60, 10, -2, 60)):
        assert exposed_share(picture, picture, box, [box]) == 1
        assert exposed_share(picture, picture[::-1, ::-1].copy(), box, [box]) < 0.5


def test_findings_survive_the_cache(tmp_path: Path) -> None:
    face = Face(Box(1.5, 2, 30, 40), np.arange(10, dtype=np.float32).reshape(5, 2), 0.75)
    vector = np.array([0.6, 0.8], np.float32)
    cache.save(tmp_path, "key", {0: [(face, vector)], 1: [], 7: [(face, vector), (face, -vector)]})
    found = cache.load(tmp_path, "key")
    assert found is not None and {frame: len(faces) for frame, faces in found.items()} == {0: 1, 1: 0, 7: 2}
    again, embedding = found[7][1]
    assert again.box == face.box and again.score == face.score and np.array_equal(again.points, face.points)
    assert np.array_equal(embedding, -vector)
    (tmp_path / "key.npz").write_bytes(b"half a file")
    assert cache.load(tmp_path, "key") is None and cache.load(tmp_path, "other") is None


def test_copies_are_found_in_folders(tmp_path: Path) -> None:
    originals, copies = tmp_path / "in", tmp_path / "out"
    for name in (
        "in/a.mp4",
        "in/sub/b.gif",
        "in/c.avi",
        "in/d.png",
        "in/notes.txt",
        "out/a.mp4",
        "out/c.mkv",
        "out/d_anonymized.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs, lost = find_pairs(originals, copies)
    assert [(a.name, b.name) for a, b in pairs] == [
        ("a.mp4", "a.mp4"),
        ("c.avi", "c.mkv"),
        ("d.png", "d_anonymized.png"),
    ]
    assert len(lost) == 1 and "b.gif" in lost[0]
    with pytest.raises(UsageError, match="no such file"):
        find_pairs(originals, tmp_path / "nowhere")
