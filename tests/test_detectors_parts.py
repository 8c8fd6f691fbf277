"""The parts of the detectors on made-up numbers: decoding, merging, tiling."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from deepprivacy_rt.detectors.blazeface_decoding import FULL_RANGE, SHORT_RANGE, Layout, decode
from deepprivacy_rt.detectors.candidates import Candidates, merge_views
from deepprivacy_rt.detectors.tiling import View, letterbox, tiles


def rows(*faces: tuple[float, float, float, float, float, bool]) -> Candidates:
    """Make candidates from left, top, side, height, score, cut."""
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in faces], np.float32)
    keypoints = np.repeat((boxes[:, :2] + boxes[:, 2:])[:, None] / 2, 6, axis=1)
    scores = np.array([face[4] for face in faces], np.float32)
    return Candidates(boxes, keypoints, scores, np.array([face[5] for face in faces]))


def test_a_cut_face_gives_way_to_the_whole_one() -> None:
    merged = merge_views(rows((20, 0, 30, 30, 0.9, True), (0, 0, 100, 100, 0.4, False), (300, 0, 50, 50, 0.3, True)))
    np.testing.assert_allclose(merged.boxes, [(0, 0, 100, 100), (300, 0, 350, 50)])
    np.testing.assert_allclose(merged.scores, [0.4, 0.3])


def test_two_views_of_a_face_become_their_mean() -> None:
    merged = merge_views(rows((0, 0, 100, 100, 0.75, False), (8, 0, 100, 100, 0.25, False)))
    np.testing.assert_allclose(merged.boxes, [(2, 0, 102, 100)])
    np.testing.assert_allclose(merged.scores, [0.75])


def test_a_small_face_before_a_large_one_stays() -> None:
    assert len(merge_views(rows((0, 0, 100, 100, 0.9, False), (30, 60, 30, 30, 0.5, False)))) == 2
    assert len(merge_views(rows((0, 0, 100, 100, 0.9, False), (30, 30, 50, 50, 0.5, False)))) == 1
    assert len(merge_views(rows((0, 0, 100, 100, 0.9, False), (90, 0, 100, 100, 0.5, False)))) == 2


def test_findings_that_share_an_eye_are_one_face() -> None:
    """As found in a portrait: the half of a face, with hair beside it for its other half."""
    found = rows((0, 0, 240, 240, 0.9, False), (128, 0, 170, 170, 0.7, False))
    assert len(merge_views(found)) == 2
    eyes = found.keypoints.copy()
    eyes[0, :2] = (70, 70), (167, 69)
    eyes[1, :2] = (182, 56), (246, 60)
    assert len(merge_views(replace(found, keypoints=eyes))) == 1
    eyes[1, :2] = (215, 56), (279, 60)  # cheek to cheek
    assert len(merge_views(replace(found, keypoints=eyes))) == 2


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1080, 1920), (3840, 2160), (1000, 1000)])
@pytest.mark.parametrize("overlap", [0.2, 0.25])
def test_tiles_cover_the_frame_and_overlap(size: tuple[int, int], overlap: float) -> None:
    views = tiles(*size, longest=500, overlap=overlap)
    seen = np.zeros(size[::-1], np.bool_)
    for view in views:
        assert max(view.x1 - view.x0, view.y1 - view.y0) <= 500
        seen[view.y0 : view.y1, view.x0 : view.x1] = True
    assert seen.all()
    spans = sorted({(view.x0, view.x1) for view in views})
    for left, right in pairwise(spans):
        assert left[1] - right[0] >= overlap * (left[1] - left[0]) - 2


def test_views_map_back_to_pixel_centres() -> None:
    # A white pixel's centre, found by its centroid in the input, must come back to where it was.
    image = np.zeros((90, 160, 3), np.uint8)
    image[50, 103] = 255
    for view in (View(0, 0, 160, 90), View(80, 20, 160, 90), View(0, 0, 160, 90, True), View(80, 20, 160, 90, True)):
        picture, box = letterbox(image, view, (192, 192))
        y, x = (np.average(axis, weights=picture[:, :, 0]) for axis in np.mgrid[:192, :192])
        np.testing.assert_allclose(box.points(np.array([x + 0.5, y + 0.5], np.float32)), (103, 50), atol=0.1)


def test_a_mirrored_box_comes_back_upright() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    _, box = letterbox(image, View(0, 0, 200, 100, True), (100, 100))
    found = rows((10, 30, 20, 10, 0.9, False))  # half the size, 25 px from the top, counted from the other side
    np.testing.assert_allclose(box.to_frame(found, (200, 100)).boxes + 0.5, [(140, 10, 180, 30)])


def test_faces_at_a_border_inside_of_the_frame_are_cut() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    found = rows((2, 40, 20, 20, 0.9, False), (40, 40, 20, 20, 0.9, False), (79, 40, 20, 20, 0.9, False))
    _, box = letterbox(image, View(0, 0, 100, 100), (100, 100))
    assert box.to_frame(found, (200, 150)).cut.tolist() == [False, False, True]
    assert box.to_frame(found, (100, 100)).cut.tolist() == [False, False, False]
    right = replace(box, view=View(100, 0, 200, 100))
    assert right.to_frame(found, (200, 100)).cut.tolist() == [True, False, False]


@pytest.mark.parametrize("layout, count", [(SHORT_RANGE, 896), (FULL_RANGE, 2304)])
def test_anchors_are_cell_centres(layout: Layout, count: int) -> None:
    anchors = layout.anchors()
    assert anchors.shape == (count, 2)
    np.testing.assert_allclose(anchors[0], layout.size / layout.grids[0][0] / 2)
    np.testing.assert_allclose(anchors[-1], layout.size - layout.size / layout.grids[-1][0] / 2)
    np.testing.assert_allclose(anchors.mean(axis=0), layout.size / 2)


def test_decoding_by_hand() -> None:
    raw = np.zeros((2, 16), np.float32)
    raw[1, :6] = (1, 2, 20, 10, 3, 4)
    logits = np.array([-9.0, np.log(3)], np.float32)
    found = decode(raw, logits, np.array([(5, 5), (50, 60)], np.float32), 0.2)
    np.testing.assert_allclose(found.boxes, [(41, 57, 61, 67)])
    np.testing.assert_allclose(found.keypoints[0, :2], [(53, 64), (50, 60)])
    np.testing.assert_allclose(found.scores, [0.75], rtol=1e-6)
