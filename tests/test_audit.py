"""The audit, on fakes whose truth is known: passed through, covered, blurred, half covered, faces swapped."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from deepprivacy_rt.audit.examine import Examiner
from deepprivacy_rt.audit.faces import Face, FaceFinder
from deepprivacy_rt.audit.html import html_report
from deepprivacy_rt.audit.recogniser import Recogniser, similarity_to_template
from deepprivacy_rt.audit.records import FileAudit
from deepprivacy_rt.audit.sheet import draw_sheet
from deepprivacy_rt.audit.summary import Summary, summarise
from deepprivacy_rt.audit.thresholds import stored_threshold
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Box, Image
from tests.cli_helpers import QUICK, ffmpeg, run
from tests.media_clips import write_clip

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


def test_the_stored_threshold_is_that_of_the_pictures(shared: Path, finder: FaceFinder, recogniser: Recogniser) -> None:
    from deepprivacy_rt.audit.thresholds import measured_threshold

    evaluation = shared / "data" / "eval"
    pictures = sorted((evaluation / "london").glob("*_neutral.jpg"))
    measured = measured_threshold(recogniser, finder, [*pictures, *sorted((evaluation / "stills").glob("*.jpg"))])
    assert measured.value == pytest.approx(stored_threshold(recogniser).value, abs=0.01)
    with pytest.raises(UsageError, match="too few"):
        measured_threshold(recogniser, finder, pictures[:5])


def test_frames_that_do_not_fit_are_no_pass(tmp_path: Path, finder: FaceFinder) -> None:
    times = [Fraction(index, 25) for index in range(6)]
    write_clip(tmp_path / "a.mkv", times)
    write_clip(tmp_path / "b.mkv", times[:4])
    write_clip(tmp_path / "c.mkv", times, size=(128, 64))
    summary = summarise([Examiner(finder).examine(tmp_path / "a.mkv", tmp_path / "b.mkv")], None)
    assert not summary.passed and "2 frames of the original have no counterpart" in summary.doubts[0]
    with pytest.raises(UsageError, match="128x64"):
        Examiner(finder).examine(tmp_path / "a.mkv", tmp_path / "c.mkv")


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
