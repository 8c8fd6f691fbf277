"""BlazeFace and YuNet on real pictures, and the parts of them on made-up numbers."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import mediapipe_faces
import numpy as np
import pytest

from deepprivacy_rt.detectors.blazeface import BlazeFaceDetector, Effort
from deepprivacy_rt.detectors.blazeface_networks import Backend, open_network
from deepprivacy_rt.detectors.union import UnionDetector
from deepprivacy_rt.detectors.yunet import YuNetDetector
from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork
from deepprivacy_rt.types import Detection, Frame, Image

Files = Callable[[str], Path]
EFFORTS: tuple[Effort, ...] = ("fast", "balanced", "thorough")


def frame_of(image: Image, index: int = 0) -> Frame:
    return Frame(np.ascontiguousarray(image), index, Fraction(index, 30))


def read(path: Path) -> Image:
    image = cv2.imread(str(path))
    assert image is not None, path
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


def video_frame(path: Path, index: int) -> Image:
    with av.open(str(path)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            if number == index:
                return picture.to_ndarray(format="rgb24")
    raise AssertionError(f"{path} has no frame {index}")


@functools.cache
def blazeface(files: Files, effort: Effort = "fast", backend: Backend = "auto", **options: float) -> BlazeFaceDetector:
    return BlazeFaceDetector(
        files("blazeface-full-range"),
        files("blazeface-short-range"),
        effort=effort,
        backend=backend,
        **options,  # type: ignore[arg-type]
    )


def iou(a: Detection, b: Detection) -> float:
    width = max(0.0, min(a.box.x1, b.box.x1) - max(a.box.x0, b.box.x0))
    height = max(0.0, min(a.box.y1, b.box.y1) - max(a.box.y0, b.box.y0))
    union = a.box.width * a.box.height + b.box.width * b.box.height - width * height
    return width * height / union


def fit(image: Image, side: int) -> Image:
    """Resize a picture to a long side."""
    scale = side / max(image.shape)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def portrait(shared: Path) -> Image:
    """A studio portrait, 400×400 px; the face fills the middle half."""
    return fit(read(shared / "data/eval/london/001_neutral.jpg"), 400)


@pytest.mark.parametrize("effort", EFFORTS)
def test_finds_one_face_with_its_parts_in_place(shared: Path, model_file: Files, effort: Effort) -> None:
    faces = [face for face in blazeface(model_file, effort).detect(frame_of(portrait(shared))) if face.score > 0.5]
    assert len(faces) == 1
    points = faces[0].keypoints
    right_eye, left_eye, nose, mouth, right_ear, left_ear = points
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1] < faces[0].box.y1
    assert abs(faces[0].box.width - faces[0].box.height) < 0.02 * faces[0].box.width
    # YuNet, another network and another decoding, sees eyes and nose within 5 % of the face at the same place.
    other = YuNetDetector(shared / "models/yunet_n_dynamic.onnx").detect(frame_of(portrait(shared)))[0]
    assert np.abs(points[:3] - other.keypoints[:3]).max() < 0.06 * faces[0].box.width


def test_finds_small_faces_by_tiles(shared: Path, model_file: Files) -> None:
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    small = np.asarray(cv2.resize(portrait(shared), (90, 90), interpolation=cv2.INTER_AREA), np.uint8)
    for x, y in ((60, 80), (590, 330), (1150, 600)):  # the middle one lies across the border of the tiles
        canvas[y : y + 90, x : x + 90] = small
    found = {
        effort: [f for f in blazeface(model_file, effort).detect(frame_of(canvas)) if f.score > 0.5]
        for effort in EFFORTS
    }
    assert len(found["balanced"]) == len(found["thorough"]) == 3
    assert len(found["fast"]) < 3


def same_faces(a: Sequence[Detection], b: Sequence[Detection]) -> tuple[float, float, float]:
    """Return the largest difference of boxes (px), keypoints (px) and scores of two lists."""
    assert len(a) == len(b)
    boxes, points, scores = 0.0, 0.0, 0.0
    for face in a:
        twin = min(b, key=lambda other: float(np.abs(face.keypoints - other.keypoints).max()))
        points = max(points, float(np.abs(face.keypoints - twin.keypoints).max()))
        scores = max(scores, abs(face.score - twin.score))
        boxes = max(boxes, float(np.abs(np.subtract(face.box, twin.box)).max()))
    return boxes, points, scores


@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_both_backends_agree_within_a_pixel(shared: Path, model_file: Files, effort: Effort) -> None:
    ours = blazeface(model_file, effort, "openvino")
    theirs = blazeface(model_file, effort, "torch")
    images = [read(path) for path in sorted((shared / "data/eval/stills").glob("*.jpg"))[:6]]
    images += [video_frame(shared / "data/eval/asl/intel_bird.mkv", 10)]
    images += [video_frame(shared / "data/eval/talking/source_s18.mp4", 20)]
    seen, thorough = 0, effort == "thorough"
    for image in images[:: 2 if thorough else 1]:
        frame = frame_of(fit(image, 480 if thorough else 1280))  # thorough looks are many, and torch is slow
        a, b = ours.detect(frame), theirs.detect(frame)
        boxes, points, scores = same_faces(a, b)
        assert points < 0.05 and boxes < 0.05 and scores < 0.01
        seen += len(a)
    assert seen >= (3 if thorough else 6)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("name", mediapipe_faces.NETWORKS)
def test_faces_are_those_that_mediapipe_itself_finds(
    shared: Path, model_file: Files, name: str, backend: Backend
) -> None:
    recorded = json.loads(mediapipe_faces.RECORD.read_text())[name]
    layout, seen = mediapipe_faces.NETWORKS[name], 0
    network = open_network(model_file(name), layout, mediapipe_faces.THRESHOLD, backend, "f32")
    for path in mediapipe_faces.pictures(shared):
        ours, theirs = network.find(mediapipe_faces.square(path, layout.size)), recorded[path.name]
        for box, points, score in zip(ours.boxes, ours.keypoints, ours.scores, strict=True):
            twin = min(theirs, key=lambda face: float(np.abs(np.subtract(face["box"], box)).max()))
            assert np.abs(np.subtract(twin["box"], box)).max() < 0.2  # its library rounds to 0.1 px
            assert np.abs(np.subtract(twin["keypoints"], points)).max() < 0.05
            assert abs(twin["score"] - score) < 0.01
        assert len(ours.boxes) == len(theirs)
        seen += len(theirs)
    assert seen == 9


def test_detections_come_best_first_and_above_the_threshold(shared: Path, model_file: Files) -> None:
    image = video_frame(shared / "data/eval/asl/intel_bird.mkv", 10)
    low = blazeface(model_file, "balanced", threshold=0.1).detect(frame_of(image))
    scores = [face.score for face in low]
    assert scores == sorted(scores, reverse=True)
    assert len(low) > 1 and min(scores) < 0.3
    high = blazeface(model_file, "balanced", threshold=0.5).detect(frame_of(image))
    assert 1 <= len(high) < len(low)
    assert min(face.score for face in high) >= 0.5


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (4096, 64), (64, 4096), (3, 1000), (5000, 3000), (641, 359)])
@pytest.mark.parametrize("effort", ["fast", "balanced"])
def test_any_frame_size_works(model_file: Files, effort: Effort, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    for face in blazeface(model_file, effort).detect(frame_of(noise)):
        assert face.box.width > 0


def test_finds_faces_in_ribbons(shared: Path, model_file: Files) -> None:
    head = portrait(shared)[40:360, 40:360]
    head = np.asarray(cv2.resize(head, (64, 64), interpolation=cv2.INTER_AREA), np.uint8)
    ribbon = np.full((64, 2048, 3), 120, np.uint8)
    ribbon[:, 1111 : 1111 + 64] = head
    for image, axis in ((ribbon, 0), (np.ascontiguousarray(np.full((2048, 64, 3), 120, np.uint8)), 1)):
        if axis == 1:
            image[1111 : 1111 + 64] = head
        faces = [face for face in blazeface(model_file).detect(frame_of(image)) if face.score > 0.5]
        assert len(faces) == 1
        assert 1111 < faces[0].box.center[axis] < 1111 + 64


def test_mirrored_frames_give_mirrored_faces(shared: Path, model_file: Files) -> None:
    image = portrait(shared)
    detector = blazeface(model_file)
    face = detector.detect(frame_of(image))[0]
    twin = detector.detect(frame_of(image[:, ::-1]))[0]
    width = image.shape[1]
    mirrored = twin.keypoints[[1, 0, 2, 3, 5, 4]] * np.float32((-1, 1)) + np.float32((width - 1, 0))
    assert np.abs(face.keypoints - mirrored).max() < 0.06 * face.box.width
    # What ``thorough`` adds must lie at the same place, not mirrored.
    both = blazeface(model_file, "thorough").detect(frame_of(image))
    assert np.abs(both[0].keypoints - face.keypoints).max() < 0.06 * face.box.width


def test_tiles_see_a_face_where_the_whole_frame_does(shared: Path, model_file: Files) -> None:
    canvas = np.zeros((720, 1280, 3), np.uint8)
    canvas[200 : 200 + 400, 60 : 60 + 400] = cv2.resize(portrait(shared), (400, 400))
    whole = blazeface(model_file, "fast").detect(frame_of(canvas))[0]
    tiled = blazeface(model_file, "balanced").detect(frame_of(canvas))[0]
    assert np.abs(whole.keypoints - tiled.keypoints).max() < 0.04 * whole.box.width


def test_the_fast_one_of_a_detector_sees_what_a_fast_one_sees(shared: Path, model_file: Files) -> None:
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    small = cv2.resize(portrait(shared), (90, 90), interpolation=cv2.INTER_AREA)
    canvas[80:170, 60:150] = small
    canvas[200:600, 800:1200] = cv2.resize(portrait(shared), (400, 400))
    full = blazeface(model_file, "thorough", threshold=0.6)
    alone, derived = (
        one.detect(frame_of(canvas)) for one in (blazeface(model_file, "fast", threshold=0.6), full.with_effort("fast"))
    )
    assert len(full.detect(frame_of(canvas))) == 2
    assert len(derived) == len(alone) == 1
    assert max(same_faces(alone, derived)) == 0


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_detector_may_be_shared_between_threads(shared: Path, model_file: Files, backend: Backend) -> None:
    detector = blazeface(model_file, "fast", backend)
    frames = [frame_of(portrait(shared)), frame_of(video_frame(shared / "data/eval/asl/intel_no.mkv", 5))]
    alone = [detector.detect(frame) for frame in frames]
    wrong: list[object] = []

    def work(which: int) -> None:
        for _ in range(8):
            if max(same_faces(alone[which], detector.detect(frames[which]))) > 1e-3:
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_broken_numbers_are_an_error_not_an_empty_frame(model_file: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = blazeface(model_file, backend="openvino")
    real = OpenVinoNetwork.infer

    def broken(self: OpenVinoNetwork, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [output * np.float32("nan") for output in real(self, inputs)]

    monkeypatch.setattr(OpenVinoNetwork, "infer", broken)
    with pytest.raises(StageError, match="not finite"):
        detector.detect(frame_of(np.zeros((90, 160, 3), np.uint8)))


def test_wrong_model_files_are_refused(shared: Path, model_file: Files, tmp_path: Path) -> None:
    short = model_file("blazeface-short-range")
    with pytest.raises(WeightsError, match="not a BlazeFace network for 192 px"):
        BlazeFaceDetector(short, short, backend="openvino")
    with pytest.raises(WeightsError, match="no such model file"):
        BlazeFaceDetector(tmp_path / "absent.tflite", short, backend="openvino")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"broken\.tflite: cannot be read as a network"):
        BlazeFaceDetector(broken, short, backend="torch")
    with pytest.raises(WeightsError, match="no output 'cls_8'"):
        YuNetDetector(model_file("blazeface-full-range"))


def test_yunet_speaks_blazeface(shared: Path, model_file: Files) -> None:
    # On real people; the conversion was fitted on synthetic faces only.
    ours, theirs = blazeface(model_file), YuNetDetector(shared / "models/yunet_n_dynamic.onnx")
    overlaps, ears = [], []
    for path in sorted((shared / "data/eval/london").glob("*_neutral.jpg"))[:12]:
        frame = frame_of(fit(read(path), 640))
        a, b = ours.detect(frame)[0], theirs.detect(frame)[0]
        overlaps.append(iou(a, b))
        ears.append(np.abs(a.keypoints[3:] - b.keypoints[3:]).max() / a.box.width)
    assert np.median(overlaps) > 0.8 and min(overlaps) > 0.65
    assert np.median(ears) < 0.1


def test_union_finds_what_either_finds(shared: Path, model_file: Files) -> None:
    image = video_frame(
        shared
        / "data/eval/previews"
        / next(path.name for path in sorted((shared / "data/eval/previews").iterdir()) if "classroom" in path.name),
        0,
    )
    parts = [blazeface(model_file, threshold=0.5), YuNetDetector(shared / "models/yunet_n_dynamic.onnx", threshold=0.5)]
    found = UnionDetector(parts).detect(frame_of(image))
    singles = [part.detect(frame_of(image)) for part in parts]
    for faces in singles:
        for face in faces:
            assert max(iou(face, other) for other in found) > 0.3
    assert max(map(len, singles)) <= len(found) < sum(map(len, singles))
    for i, face in enumerate(found):
        assert all(iou(face, other) <= 0.3 for other in found[i + 1 :])
