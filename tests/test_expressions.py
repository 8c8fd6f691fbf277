"""Reading what faces do, and what the generator is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector
from deepprivacy_rt.errors import StageError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, Mesh, Openings, crop_of, openings, to_expression
from deepprivacy_rt.expressions.reader import ExpressionReader
from deepprivacy_rt.geometry import transform_points
from deepprivacy_rt.pipeline import FaceReplacer
from deepprivacy_rt.portraits.pose import rotation
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.testing import FailingGenerator, ToyGenerator, make_detection, make_frame
from deepprivacy_rt.tracking import OnlineTracker
from deepprivacy_rt.types import REST, Box, Coverage, Evidence, Expression, FacePatch, FaceTrack, Frame, Replacement

FRAME = make_frame(0, 200, 150, 1)


class ScriptedMesh(FaceMesh):
    """Shows given openings, whatever the picture.

    :param presence: of the face, look by look; the last one stays.
    """

    def __init__(self, script: Sequence[Openings], presence: Sequence[float] = (1.0,)) -> None:
        self._script, self._presence = list(script), list(presence)
        self.looks = 0

    def look(self, image: np.ndarray, transform: np.ndarray) -> Mesh:
        presence = self._presence[min(self.looks, len(self._presence) - 1)]
        found = self._script[min(self.looks, len(self._script) - 1)]
        self.looks += 1
        mesh = np.zeros((468, 3), np.float32)
        mesh[263, 0] = mesh[133, 0] = 1.0
        mesh[33], mesh[362] = 0.0, (2.0, 0.0, 0.0)
        mesh[13], mesh[14] = (0, 5, 0), (0, 5 + found.mouth, 0)
        mesh[159], mesh[145] = (0.5, 0, 0), (0.5, found.right_eye, 0)
        mesh[386], mesh[374] = (1.5, 0, 0), (1.5, found.left_eye, 0)
        return Mesh(mesh, presence)


def track(side: float = 60, **changes: object) -> FaceTrack:
    (made,) = OnlineTracker().update(0, [make_detection(100, 75, side)])
    return replace(made, **changes)  # type: ignore[arg-type]


def read(script: Sequence[Openings], tracks: Sequence[FaceTrack] | None = None, rate: float = 30.0) -> list[Expression]:
    reader = ExpressionReader(ScriptedMesh(script), rate)
    return [reader.read(FRAME, [one])[0].expression for one in (tracks or [track()] * len(script))]


def test_openings_are_ratios_of_distances() -> None:
    mesh = ScriptedMesh([Openings(0.2, 0.3, 0.4)]).points(FRAME.image, np.eye(2, 3))
    assert openings(mesh)[:3] == pytest.approx((0.2, 0.3, 0.4), abs=1e-5)
    assert openings(mesh * 7)[:3] == pytest.approx((0.2, 0.3, 0.4), abs=1e-5)


def smiling(width: float, lift: float, turn: np.ndarray) -> float:
    """Return what is read off a mouth so wide, with corners so high, of a head that is turned."""
    mesh = np.zeros((468, 3))
    mesh[33], mesh[263], mesh[10], mesh[152] = (-0.5, 0, 0), (0.5, 0, 0), (0, -0.4, 0), (0, 0.8, 0.1)
    mesh[[13, 14]] = (0, 0.4, -0.1)
    mesh[61], mesh[291] = (-width / 2, 0.4 - lift, -0.1), (width / 2, 0.4 - lift, -0.1)
    return openings((mesh @ turn.T * 90 + 5).astype(np.float32)).smile


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 0.4, 0.0), (0.3, -0.2, 0.5)])
def test_a_smile_is_wide_and_has_high_corners_however_a_head_is_turned(angles: tuple[float, float, float]) -> None:
    turn = rotation(*(np.array([one]) for one in angles))[0]
    assert abs(smiling(0.541, -0.012, turn)) < 0.1
    assert smiling(0.541 + 5 * 0.033, -0.012 + 6 * 0.011, turn) == pytest.approx(5, abs=0.2)
    assert smiling(0.541 + 6 * 0.033, -0.012 + 5 * 0.011, turn) == pytest.approx(5, abs=0.2)
    assert smiling(0.8, -0.012, turn) < 0.2 > smiling(0.541, 0.2, turn)  # "ee", and "oh"


def test_a_smile_is_followed() -> None:
    calm, glad = Openings(0.0, 0.34, 0.34, 0.0), Openings(0.0, 0.34, 0.34, 6.0)
    with pytest.MonkeyPatch.context() as patch:
        script = iter([calm] * 5 + [glad] * 5)
        patch.setattr("deepprivacy_rt.expressions.reader.openings", lambda _: next(script))
        said = read([calm] * 10)
    assert [round(one.smile, 2) for one in said[:5]] == [0] * 5
    assert said[6].smile > 0.8 and said[9].smile > 0.98


def test_people_who_are_asked_to_smile_do(shared: Path, model_file: Callable[[str], Path]) -> None:
    networks = model_file("blazeface-full-range"), model_file("blazeface-short-range")
    detector, mesh = BlazeFaceDetector(*networks, effort="fast"), FaceMesh(model_file("face-landmark"))
    smiles: dict[str, list[float]] = {"neutral": [], "smiling": []}
    for path in sorted((shared / "data/eval/london").glob("*.jpg"))[:40]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        best = max(detector.detect(Frame(image, 0, Fraction(0))), key=lambda one: one.score)
        found = to_expression(openings(mesh.points(image, crop_of(best.box, best.keypoints))))
        smiles[path.stem.split("_")[1]].append(found.smile)
    assert np.median(smiles["neutral"]) == 0 and np.mean(smiles["neutral"]) < 0.05
    assert np.median(smiles["smiling"]) > 0.15 and np.mean(smiles["smiling"]) > 0.25


def test_an_expression_lies_in_0_to_1() -> None:
    assert to_expression(Openings(9.0, 9.0, 0.0, -3.0)) == (1.0, 1.0, 0.0, 0.0)
    assert to_expression(Openings(0.0, 0.0, 0.0, 9.0)).smile == 1.0
    assert to_expression(Openings(0.0, 0.0, 0.0, 3.15)).smile == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expression"):
        track(expression=Expression(float("nan"), 0.5, 0.5))


def test_a_mouth_is_followed_within_two_frames() -> None:
    said = read([Openings(0.0, 0.34, 0.34)] * 5 + [Openings(0.21, 0.34, 0.34)] * 3)
    assert said[4].mouth < 0.02
    assert said[6].mouth > 0.5
    assert said[7].mouth == pytest.approx(0.6, abs=0.03)


def test_eyes_at_rest_are_the_same_for_wide_and_narrow_ones() -> None:
    for eye in (0.26, 0.40):
        said = read([Openings(0.0, eye, eye)] * 30)
        assert said[-1].right_eye == pytest.approx(REST.right_eye, abs=0.02)


def test_a_blink_shuts_the_eyes_and_leaves_their_rest_alone() -> None:
    said = read([Openings(0.0, 0.3, 0.3)] * 30 + [Openings(0.0, 0.13, 0.13)] * 5 + [Openings(0.0, 0.3, 0.3)] * 5)
    assert said[34].right_eye < 0.1
    assert said[-1].right_eye == pytest.approx(REST.right_eye, abs=0.05)


def test_a_face_that_is_not_seen_comes_to_rest_without_being_looked_at() -> None:
    seen, lost = track(), track(evidence=Evidence.COASTED)
    mesh = ScriptedMesh([Openings(0.35, 0.3, 0.3)])
    reader = ExpressionReader(mesh, 30.0)
    said = [reader.read(FRAME, [one])[0].expression for one in [seen] * 5 + [lost] * 30]
    assert mesh.looks == 5
    assert said[4].mouth == said[8].mouth > 0.9  # for a moment it may not have been looked for
    assert 0.9 > said[11].mouth > said[13].mouth
    assert said[-1] == pytest.approx(REST, abs=0.02)


@pytest.mark.parametrize("changes", [{"side": 20}, {"uncertain": True}, {"evidence": Evidence.BACKTRACKED}])
def test_small_and_doubtful_faces_stay_at_rest(changes: dict[str, object]) -> None:
    assert read([Openings(0.3, 0.1, 0.1)], [track(**changes)]) == [REST]  # type: ignore[arg-type]


def doubts(presence: Sequence[float], tracks: Sequence[FaceTrack] | None = None) -> str:
    """Return, frame by frame, whether the track is uncertain: ``?``."""
    reader = ExpressionReader(ScriptedMesh([Openings(0.3, 0.3, 0.3)], presence), 30.0)
    told_ = [reader.read(FRAME, [one])[0] for one in (tracks or [track()] * len(presence))]
    return "".join("?" if one.uncertain else "-" for one in told_)


def test_what_was_never_a_face_to_face_mesh_is_uncertain_until_it_is_one() -> None:
    assert doubts([0.0, 0.1, 0.0, 0.9, 0.0, 0.9]) == "???---"
    (said,) = ExpressionReader(ScriptedMesh([Openings(0.3, 0.3, 0.3)], [0.0]), 30.0).read(FRAME, [track()])
    assert said.expression == REST and (said.keypoints == track().keypoints).all()


def test_a_face_that_is_none_for_long_is_uncertain_until_it_is_one_again() -> None:
    told_ = doubts([1.0] + [0.0] * 20 + [0.9])
    assert told_.strip("-").strip("?") == "" and 15 <= told_.index("?") <= 17 and told_.endswith("?-")


def test_frames_before_a_first_detection_are_looked_at_for_a_face_and_nothing_else() -> None:
    before, seen, lost = (track(evidence=one) for one in (Evidence.BACKTRACKED, Evidence.DETECTED, Evidence.COASTED))
    assert doubts([0.0, 0.0, 0.9], [before, before, seen, lost]) == "??--"
    assert doubts([0.0], [before, seen, lost, lost]) == "????"
    reader = ExpressionReader(ScriptedMesh([Openings(0.3, 0.3, 0.3)]), 30.0)
    assert [reader.read(FRAME, [one])[0].expression.mouth > 0.5 for one in (before, seen)] == [False, True]


def test_one_too_small_to_be_looked_at_is_what_the_tracker_takes_it_for() -> None:
    assert doubts([0.0, 0.0], [track(20), track(20, uncertain=True)]) == "-?"


@pytest.mark.parametrize(
    ("clip", "faces"), [("intel_one-by-one-person-detection.mp4", False), ("intel_classroom.gif", True)]
)
def test_backs_of_heads_get_no_face_and_people_do(
    clip: str, faces: bool, shared: Path, model_file: Callable[[str], Path]
) -> None:
    """BlazeFace takes the former for faces, with scores of up to 0.72."""
    detector = BlazeFaceDetector(model_file("blazeface-full-range"), model_file("blazeface-short-range"))
    reader, tracker = ExpressionReader(FaceMesh(model_file("face-landmark")), 30.0), OnlineTracker()
    doubted = []
    with FileSource(shared / "data/eval/previews" / clip) as source:
        for frame in islice(source, 0, 300, 6):
            tracks = tracker.update(frame.index, detector.detect(frame))
            told_ = reader.read(frame, tracks)
            pairs = zip(told_, tracks, strict=True)
            doubted += [one.uncertain for one, known in pairs if not known.uncertain]
    assert len(doubted) > 10 and all(one is not faces for one in doubted)


def test_each_face_has_its_own_and_one_that_leaves_is_forgotten() -> None:
    reader = ExpressionReader(ScriptedMesh([Openings(0.3, 0.3, 0.3), Openings(0.0, 0.3, 0.3)]), 30.0)
    one, other = track(), track(track_id=1)
    first, second = reader.read(FRAME, [one, other])
    assert first.expression.mouth > 0.8 > 0.1 > second.expression.mouth
    reader.read(FRAME, [])
    assert reader.read(FRAME, [one])[0].expression.mouth == 0.0  # as new, not mixed with what it was


def test_several_faces_are_read_in_turns() -> None:
    mesh = ScriptedMesh([Openings(0.35, 0.3, 0.3)])
    reader = ExpressionReader(mesh, 30.0)
    looks = []
    for _ in range(6):
        said = reader.read(FRAME, [track(track_id=number) for number in range(4)])
        looks.append(mesh.looks)
    assert looks == [4, 6, 8, 10, 12, 14]
    assert all(one.expression == pytest.approx((1.0, REST.right_eye, REST.left_eye, 0.0), abs=0.02) for one in said)
    slow = ScriptedMesh([Openings(0.35, 0.3, 0.3)])
    reader = ExpressionReader(slow, 15.0)
    for _ in range(3):
        reader.read(FRAME, [track(), track(track_id=1)])
    assert slow.looks == 6


def test_one_face_is_read_at_every_second_frame_when_told_to() -> None:
    mesh = ScriptedMesh([Openings(0.35, 0.3, 0.3)])
    reader = ExpressionReader(mesh, 30.0)
    reader.take_turns(1)
    looks = []
    for _ in range(6):
        reader.read(FRAME, [track()])
        looks.append(mesh.looks)
    assert looks == [1, 1, 2, 2, 3, 3]


def test_a_mouth_that_was_read_goes_on_opening_while_another_face_has_its_turn() -> None:
    shut, wide = Openings(0.0, 0.34, 0.34), Openings(0.21, 0.34, 0.34)
    mesh = ScriptedMesh([shut] * 4 + [wide] * 9)
    reader = ExpressionReader(mesh, 30.0)
    said = [reader.read(FRAME, [track(), track(track_id=1)])[0].expression.mouth for _ in range(7)]
    first = next(index for index, mouth in enumerate(said) if mouth > 0.1)
    assert said[first] < said[first + 1] < said[first + 2]
    assert said[first + 2] == pytest.approx(0.6, abs=0.03)


class PlacedMesh(FaceMesh):
    """Finds eyes, nose and mouth at given places in the picture, whatever it shows."""

    def __init__(self, found: np.ndarray) -> None:
        self.found = found

    def look(self, image: np.ndarray, transform: np.ndarray) -> Mesh:
        mesh = np.full((468, 3), 999, np.float32)
        inside = transform_points(transform, self.found)
        for place, members in zip(
            inside, ((33, 133, 159, 145), (362, 263, 386, 374), (1,), (13, 14, 61, 291)), strict=True
        ):
            mesh[list(members), :2] = place
        return Mesh(mesh, 1.0)


def test_keypoints_are_where_face_mesh_finds_them() -> None:
    seen = track()
    found = seen.keypoints[:4] + np.float32([[3, 1], [2, 2], [-1, 4], [0, 1]])
    (told_,) = ExpressionReader(PlacedMesh(found), 30.0).read(FRAME, [seen])
    assert told_.keypoints[:4] == pytest.approx(found, abs=0.01)
    assert told_.keypoints[4:] - seen.keypoints[4:] == pytest.approx(np.array([[1, 2], [1, 2]]), abs=0.01)
    assert told_.box == seen.box and told_.keypoints.dtype == np.float32


def test_keypoints_are_moved_by_a_tenth_of_the_face_at_most() -> None:
    seen = track()
    for far in (np.float32([40, 0]), np.float32([np.nan, 0])):
        found = seen.keypoints[:4] + np.float32([[0, 2], [0, 2], [0, 2], [0, 2]])
        found[2] += far
        (told_,) = ExpressionReader(PlacedMesh(found), 30.0).read(FRAME, [seen])
        assert np.hypot(*(told_.keypoints - seen.keypoints).T).max() <= 0.1 * seen.box.width + 1e-3


def test_keypoints_stay_corrected_between_two_looks_and_go_back_when_the_face_is_lost() -> None:
    seen, lost = track(), track(evidence=Evidence.COASTED)
    reader = ExpressionReader(PlacedMesh(seen.keypoints[:4] + np.float32([3, 0])), 30.0, turns_from=1)
    for _ in range(4):
        (told_,) = reader.read(FRAME, [seen])
        assert told_.keypoints - seen.keypoints == pytest.approx(np.tile([3, 0], (6, 1)), abs=0.01)
    off = [float((reader.read(FRAME, [lost])[0].keypoints - lost.keypoints)[0, 0]) for _ in range(40)]
    assert off[0] == pytest.approx(3, abs=0.01) and all(np.diff(off) <= 0) and off[-1] < 0.1


def told(expressions: object, *, uncertain: bool = False) -> tuple[list[FacePatch], list[str], Coverage]:
    """Replace one frame; return the patches that the generator got, the problems, and how the face was covered."""
    given: list[FacePatch] = []

    def generate(patches: Sequence[FacePatch]) -> list[Replacement]:
        given.extend(patches)
        return ToyGenerator(64).generate(patches)

    replacer = FaceReplacer(
        AlignedCropper(64),
        FailingGenerator(generate, 64),
        PatchBlender(),
        expressions=expressions,  # type: ignore[arg-type]
    )
    _, report = replacer.replace(FRAME, [track(uncertain=uncertain)])
    return given, list(report.problems), report.faces[0].coverage


class Raising:
    """A reader that fails."""

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
        raise StageError("no mesh")


class Saying:
    """A reader that says anything."""

    def __init__(self, *said: Expression) -> None:
        self._said = said

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
        (track,) = tracks
        return [replace(track, expression=one) for one in self._said]


class Moving:
    """A reader that says where the face is, or whose it is, too."""

    def __init__(self, **changes: object) -> None:
        self._changes = changes

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
        return [replace(track, **self._changes) for track in tracks]  # type: ignore[arg-type]


def test_what_is_read_reaches_the_generator() -> None:
    patches, problems, coverage = told(Saying(Expression(0.5, 0.1, 0.9)))
    assert [one.track.expression for one in patches] == [(0.5, 0.1, 0.9, 0.0)]
    assert not problems and coverage is Coverage.GENERATED


def test_nothing_is_read_without_a_reader() -> None:
    assert told(None)[0][0].track.expression == REST


@pytest.mark.parametrize(
    "reader",
    [
        Raising(),
        Saying(),
        Saying(REST, REST),
        Saying(Expression(2.0, 0.0, 0.0)),
        Saying(Expression(float("nan"), 0, 0)),
        Moving(box=Box(0, 0, 9, 9), expression=Expression(1, 1, 1)),
        Moving(identity=7, expression=Expression(1, 1, 1)),
    ],
)
def test_a_reader_that_fails_leaves_faces_at_rest_covered_and_told(reader: object) -> None:
    patches, problems, coverage = told(reader)
    assert [one.track.expression for one in patches] == [REST]
    assert len(problems) == 1 and problems[0].startswith("express")
    assert coverage is Coverage.GENERATED


def test_a_reader_may_doubt_a_face_and_may_not_believe_one() -> None:
    for reader, uncertain, problem in (
        (Moving(uncertain=True), False, False),
        (Moving(uncertain=False), True, True),
        (Moving(), True, False),
    ):
        patches, problems, coverage = told(reader, uncertain=uncertain)
        assert not patches and coverage is Coverage.FILLED
        assert bool(problems) == problem


def test_face_mesh_sees_a_signing_mouth_move(model_file: Callable[[str], Path]) -> None:
    """The sample clip: lips that move, read at the place our own detector finds."""
    networks = model_file("blazeface-full-range"), model_file("blazeface-short-range")
    detector, mesh = BlazeFaceDetector(*networks, effort="fast"), FaceMesh(model_file("face-landmark"))
    mouths = []
    with FileSource(Path(__file__).resolve().parents[1] / "samples/signing.mkv") as source:
        for frame in source:
            if frame.index % 5 == 0:
                best = max(detector.detect(frame), key=lambda one: one.score)
                mouths.append(
                    to_expression(openings(mesh.points(frame.image, crop_of(best.box, best.keypoints)))).mouth
                )
            if frame.index > 100:
                break
    assert max(mouths) - min(mouths) > 0.1


def test_degenerate_points_are_an_error(model_file: Callable[[str], Path]) -> None:
    with pytest.raises(StageError, match="degenerate"):
        FaceMesh(model_file("face-landmark")).points(FRAME.image, np.full((2, 3), np.nan))
