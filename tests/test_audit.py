"""The audit, on fakes whose truth is known: passed through, covered, blurred, half covered, faces swapped."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from deepprivacy_rt.audit import cache
from deepprivacy_rt.audit.bootstrap import share
from deepprivacy_rt.audit.examine import Examiner
from deepprivacy_rt.audit.exposure import exposed_share
from deepprivacy_rt.audit.faces import Face, FaceFinder, best_match
from deepprivacy_rt.audit.html import html_report
from deepprivacy_rt.audit.pairs import FramePairs, same_scene
from deepprivacy_rt.audit.people import identify
from deepprivacy_rt.audit.recogniser import TEMPLATE, Recogniser, align, similarity_to_template, threshold_at_far
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.sheet import draw_sheet
from deepprivacy_rt.audit.summary import Summary, summarise
from deepprivacy_rt.audit.thresholds import stored_threshold
from deepprivacy_rt.audit.tracks import FaceLinker
from deepprivacy_rt.cli.audit import find_pairs
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Box, Image
from tests.cli_helpers import QUICK, ffmpeg, run
from tests.media_clips import gradient, write_clip

LARGE = ">=48 px"
TWO_PEOPLE = "intel_head-pose-face-detection-female-and-male.gif"
FRAMES = range(0, 12, 2)


@pytest.fixture(scope="module")
def finder(shared: Path) -> FaceFinder:
    return FaceFinder(shared / "models" / "yunet_n_dynamic.onnx")


@pytest.fixture(scope="module")
def recogniser(shared: Path) -> Recogniser:
    return Recogniser(shared / "models" / "mobileface_v3_112.onnx")


def frames_of(path: Path, stop: int) -> list[Image]:
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(stop), container.decode(video=0), strict=False)
        ]


def write(path: Path, images: list[Image], quality: int) -> Path:
    height, width = (side // 2 * 2 for side in images[0].shape[:2])

    def picture(index: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(images[index][:height, :width]), format="rgb24")

    times = [Fraction(index, 12) for index in range(len(images))]
    write_clip(path, times, size=(width, height), rate=Fraction(12), options={"crf": str(quality)}, picture=picture)
    return path


# ---- Fakes: each changes the picture in place, given the faces in it ----


def ellipse(image: Image, box: Box) -> np.ndarray:
    mask = np.zeros(image.shape[:2], np.uint8)
    centre, axes = tuple(map(round, box.center)), (round(box.width * 0.6), round(box.height * 0.6))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, cv2.FILLED)
    return mask > 0


def solid(image: Image, faces: list[Face]) -> None:
    for face in faces:
        image[ellipse(image, face.box)] = 120


def upper_half(image: Image, faces: list[Face]) -> None:
    for face in faces:
        mask = ellipse(image, face.box)
        mask[int(face.box.center[1]) :] = False
        image[mask] = 120


def blurred(image: Image, faces: list[Face]) -> None:
    for face in faces:
        mask = ellipse(image, face.box)
        image[mask] = cv2.GaussianBlur(image, (0, 0), face.box.height / 10)[mask]


def brighter(image: Image, faces: list[Face]) -> None:
    image[:] = np.clip(image.astype(int) + 25, 0, 255)


def swapped(image: Image, faces: list[Face]) -> None:
    """Put each face in the place of the next, in the colours of that place."""
    before = image.copy()
    for place, donor in zip(faces, [*faces[1:], faces[0]], strict=True):
        there = np.vstack([similarity_to_template(place.points), [0, 0, 1]])
        here = np.vstack([similarity_to_template(donor.points), [0, 0, 1]])
        size = (image.shape[1], image.shape[0])
        moved = cv2.warpAffine(before, (np.linalg.inv(there) @ here)[:2], size).astype(np.float64)
        mask = ellipse(image, place.box)
        new, old = moved[mask], before[mask].astype(np.float64)
        image[mask] = np.clip((new - new.mean(0)) / (new.std(0) + 1) * old.std(0) + old.mean(0), 0, 255)


class Fakes:
    """Writes and audits fakes of one clip; what was measured once is kept."""

    def __init__(self, clip: Path, folder: Path, finder: FaceFinder, recogniser: Recogniser) -> None:
        self._images = frames_of(clip, FRAMES.stop)[:: FRAMES.step]
        self._faces = [finder.find(image) for image in self._images]
        self.original = write(folder / "original.mkv", self._images, 10)
        self._folder = folder
        self.examiner = Examiner(finder, recogniser)
        self._threshold = stored_threshold(recogniser)
        self.audits: dict[object, FileAudit] = {}

    def make(self, fake: Callable[[Image, list[Face]], None] | None, quality: int = 23) -> Path:
        images = [image.copy() for image in self._images]
        for image, faces in zip(images, self._faces, strict=True):
            if fake is not None:
                fake(image, faces)
        return write(self._folder / f"{fake and fake.__name__}{quality}.mkv", images, quality)

    def audit(self, fake: Callable[[Image, list[Face]], None] | None, quality: int = 23) -> Summary:
        key = (fake, quality)
        if key not in self.audits:
            self.audits[key] = self.examiner.examine(self.original, self.make(fake, quality))
        return summarise([self.audits[key]], self._threshold)


@pytest.fixture(scope="module")
def fakes(shared: Path, tmp_path_factory: pytest.TempPathFactory, finder: FaceFinder, recogniser: Recogniser) -> Fakes:
    clip = shared / "data" / "eval" / "previews" / TWO_PEOPLE
    return Fakes(clip, tmp_path_factory.mktemp("fakes"), finder, recogniser)


@pytest.mark.parametrize("quality", [23, 32])
def test_a_copy_is_exposed_kept_and_recognised(fakes: Fakes, quality: int) -> None:
    summary = fakes.audit(None, quality)
    faces = 2 * len(FRAMES)
    assert summary.exposed[LARGE].hits == summary.exposed[LARGE].total == faces
    assert summary.kept[LARGE].hits == faces
    assert summary.recognition is not None and summary.recognition.same.value >= 0.9
    assert summary.recognition.identification is not None
    assert summary.recognition.identification.correct.value == 1 and summary.recognition.identification.people == 2
    assert not summary.passed and not summary.doubts


def test_a_brighter_copy_is_still_exposed(fakes: Fakes) -> None:
    assert fakes.audit(brighter).exposed[LARGE].value == 1


def test_a_half_covered_face_is_exposed(fakes: Fakes) -> None:
    assert fakes.audit(upper_half).exposed[LARGE].value == 1


@pytest.mark.parametrize("fake", [solid, blurred])
def test_what_hides_a_face_leaves_none_exposed(fakes: Fakes, fake: Callable[[Image, list[Face]], None]) -> None:
    summary = fakes.audit(fake)
    assert (summary.exposed[LARGE].hits, summary.exposed[LARGE].total) == (0, 2 * len(FRAMES))
    assert summary.passed
    if fake is solid:  # YuNet finds faces through blur
        assert summary.kept[LARGE].value <= 0.25


def test_swapped_faces_are_kept_but_neither_exposed_nor_recognised(fakes: Fakes) -> None:
    """The hardest case for the pixel comparison: a real face, well placed, in the right colours."""
    summary = fakes.audit(swapped)
    assert summary.exposed[LARGE].hits == 0
    assert summary.kept[LARGE].value >= 0.75
    copied = fakes.audit(None).recognition
    assert summary.recognition is not None and copied is not None
    # Hair and outline stay, and MobileFace sees them: a filled face, too, resembles its original (see the floors).
    assert summary.recognition.same.value <= 0.25
    assert summary.recognition.median < copied.median - 0.3


def test_floors_fall_from_untouched_over_pixelated_to_solid(fakes: Fakes) -> None:
    recognition = fakes.audit(solid).recognition
    assert recognition is not None
    medians = [recognition.floors[name][1] for name in ("untouched", "pixelated", "solid")]
    assert medians[0] > 0.9 and medians == sorted(medians, reverse=True)


def test_a_report_shows_the_worst_faces_and_says_that_it_is_private(fakes: Fakes) -> None:
    summary = fakes.audit(None)
    audit = fakes.audits[None, 23]
    page = html_report(summary, [audit])
    assert "shows original faces" in page and "NOT PASSED" in page
    assert page.count("data:image/jpeg;base64,") == len(audit.examples) > 4
    assert "http" not in page  # nothing is loaded from anywhere
    sheet = draw_sheet([audit])
    assert sheet.std() > 20 and sheet.shape[1] == 6 * 264


def test_the_finder_agrees_with_opencv(shared: Path, finder: FaceFinder) -> None:
    model = str(shared / "models" / "yunet_n_640_640.onnx")
    reference = cv2.FaceDetectorYN.create(model, "", (640, 480), 0.6, 0.3)
    for clip in ("intel_again.mkv", "intel_eat.mkv"):
        image = frames_of(shared / "data" / "eval" / "asl" / clip, 30)[-1]
        _, expected = reference.detect(np.ascontiguousarray(image[..., ::-1]))
        found = finder.find(image)
        assert len(found) == len(expected) == 1
        box, points = expected[0][:4], expected[0][4:14].reshape(5, 2)
        assert np.allclose([found[0].box.x0, found[0].box.y0, found[0].box.width, found[0].box.height], box, atol=1)
        assert np.allclose(found[0].points, points, atol=1)


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


def test_the_stored_threshold_is_that_of_the_pictures(shared: Path, finder: FaceFinder, recogniser: Recogniser) -> None:
    from deepprivacy_rt.audit.thresholds import measured_threshold

    evaluation = shared / "data" / "eval"
    pictures = sorted((evaluation / "london").glob("*_neutral.jpg"))
    measured = measured_threshold(recogniser, finder, [*pictures, *sorted((evaluation / "stills").glob("*.jpg"))])
    assert measured.value == pytest.approx(stored_threshold(recogniser).value, abs=0.01)
    with pytest.raises(UsageError, match="too few"):
        measured_threshold(recogniser, finder, pictures[:5])


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


def test_frames_that_do_not_fit_are_no_pass(tmp_path: Path, finder: FaceFinder) -> None:
    times = [Fraction(index, 25) for index in range(6)]
    write_clip(tmp_path / "a.mkv", times)
    write_clip(tmp_path / "b.mkv", times[:4])
    write_clip(tmp_path / "c.mkv", times, size=(128, 64))
    summary = summarise([Examiner(finder).examine(tmp_path / "a.mkv", tmp_path / "b.mkv")], None)
    assert not summary.passed and "2 frames of the original have no counterpart" in summary.doubts[0]
    with pytest.raises(UsageError, match="128x64"):
        Examiner(finder).examine(tmp_path / "a.mkv", tmp_path / "c.mkv")


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


def test_an_audit_from_the_cache_is_the_same(
    fakes: Fakes, tmp_path: Path, finder: FaceFinder, recogniser: Recogniser
) -> None:
    examiner = Examiner(finder, recogniser, every=2, cache_folder=tmp_path)
    copy = fakes.make(solid)
    first, second = (examiner.examine(fakes.original, copy) for _ in range(2))
    kept = list(tmp_path.iterdir())
    assert len(kept) == 1 and kept[0].stat().st_mode & 0o077 == 0
    assert [(r.frame, r.face.box, r.exposed_share, r.similarity) for r in first.faces] == [
        (r.frame, r.face.box, r.exposed_share, r.similarity) for r in second.faces
    ]


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


def test_the_command_tells_a_copy_from_an_anonymized_file(shared: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    ffmpeg("-i", shared / "data" / "eval" / "asl" / "intel_yes.mkv", "-frames:v", "12", "-crf", "16", clip)
    models = shared / "models"
    networks = ("--detector-model", models / "yunet_n_dynamic.onnx", "--recogniser", models / "mobileface_v3_112.onnx")
    assert run("anonymize", clip, "-o", tmp_path / "safe.mkv", *QUICK, cwd=tmp_path).returncode == 0
    reports = ("--json", "audit.json", "--html", "audit.html", "--sheet", "audit.png")
    audit = run("audit", clip, tmp_path / "safe.mkv", *networks, *reports, cwd=tmp_path)
    assert audit.returncode == 0, audit.stderr
    assert "0 of 12" in audit.stdout and "same person by the recogniser" in audit.stdout
    assert (tmp_path / "audit.json").stat().st_size and (tmp_path / "audit.html").stat().st_size
    assert cv2.imread(str(tmp_path / "audit.png")) is not None

    ffmpeg("-i", clip, "-crf", "23", tmp_path / "copy.mkv")
    audit = run("audit", clip, tmp_path / "copy.mkv", *networks, cwd=tmp_path)
    assert audit.returncode == 1 and "12 of 12" in audit.stdout

    again = run("audit", clip, tmp_path / "copy.mkv", *networks, *reports, cwd=tmp_path)
    assert again.returncode == 2 and "audit.json: exists" in again.stderr
    missing = run("audit", clip, tmp_path / "none.mkv", *networks, cwd=tmp_path)
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1 and "none.mkv" in missing.stderr
