"""``deepprivacy-rt anonymize`` as a process, on real files: options, outputs, errors, exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from cli_helpers import CLIP, QUICK, REPOSITORY, environment, ffmpeg, leftovers, lines, run, without_root_rights
from stillness import ByTheClock


@pytest.fixture(autouse=True, scope="module")
def _models(model_file: Callable[[str], Path]) -> None:
    """Fetch what is missing now: the program would tell of it in the middle of a test."""
    model_file("blazeface-full-range")


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of the sample clip, with a sound track."""
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    tone = ["-f", "lavfi", "-i", "sine=440:duration=0.66"]
    ffmpeg("-i", CLIP, *tone, "-frames:v", 20, "-c:v", "libx264", "-preset", "ultrafast", "-crf", 18, "-shortest", path)
    return path


@pytest.fixture
def here(tmp_path: Path, short_clip: Path) -> Path:
    """A folder with ``clip.mp4`` in it."""
    (tmp_path / "clip.mp4").write_bytes(short_clip.read_bytes())
    return tmp_path


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_one_file(here: Path) -> None:
    before = (here / "clip.mp4").read_bytes()
    done = run("anonymize", "clip.mp4", *QUICK, cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("clip.mp4 -> clip_anonymized.mp4: 20 frames, 1 face")
    assert (here / "clip.mp4").read_bytes() == before
    originals, results = frames_of(here / "clip.mp4"), frames_of(here / "clip_anonymized.mp4")
    assert len(results) == len(originals) == 20
    # The man's face lies around x 300, y 145 in all frames: it is another picture there, and the same elsewhere.
    for original, result in zip(originals, results, strict=True):
        difference = np.abs(original.astype(int) - result.astype(int)).mean(axis=2)
        assert difference[120:170, 280:320].mean() > 10
        assert difference[:, 400:].mean() < 4
    with av.open(str(here / "clip_anonymized.mp4")) as container:
        assert len(container.streams.audio) == 1
    assert leftovers(here) == []


def test_quiet_when_not_a_terminal(here: Path) -> None:
    done = run("anonymize", "clip.mp4", *QUICK, cwd=here)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_no_audio(here: Path) -> None:
    assert run("anonymize", "clip.mp4", "--no-audio", *QUICK, cwd=here).returncode == 0
    with av.open(str(here / "clip_anonymized.mp4")) as container:
        assert len(container.streams.audio) == 0


def test_folder_with_a_picture_is_mirrored(here: Path) -> None:
    (here / "in" / "deep").mkdir(parents=True)
    (here / "clip.mp4").rename(here / "in" / "clip.mp4")
    picture = frames_of(here / "in" / "clip.mp4")[0]
    cv2.imwrite(str(here / "in" / "deep" / "still.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    done = run("anonymize", "in", "-o", "out", *QUICK, cwd=here)
    assert done.returncode == 0, done.stderr
    written = sorted(str(path.relative_to(here / "out")) for path in (here / "out").rglob("*") if path.is_file())
    assert written == ["clip.mp4", "deep/still.png"]
    still = cv2.cvtColor(cv2.imread(str(here / "out" / "deep" / "still.png")), cv2.COLOR_BGR2RGB)
    assert np.abs(still[120:170, 280:320].astype(int) - picture[120:170, 280:320]).mean() > 10


def test_bad_inputs_get_one_line_each_and_the_batch_goes_on(here: Path) -> None:
    (here / "empty.mp4").touch()
    (here / "text.mp4").write_text("this is no video\n")
    (here / "sound.mp4").write_bytes(b"")
    ffmpeg("-i", here / "clip.mp4", "-vn", "-c", "copy", here / "sound.mp4")
    whole = (here / "clip.mp4").read_bytes()
    (here / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (here / "odd\nname.mp4").touch()
    names = ["empty.mp4", "text.mp4", "sound.mp4", "cut.mp4", "odd\nname.mp4", "none.mp4"]
    done = run("anonymize", *names, "clip.mp4", "-o", "out", *QUICK, "--report", "report.json", cwd=here)
    assert done.returncode == 3
    errors = lines(done.stderr, "error: ")
    assert len(errors) == len(names)
    assert done.stderr.splitlines() == errors, "nothing but one line per bad file"
    assert "internal" not in done.stderr
    for name, cause in (
        ("empty.mp4", "empty"),
        ("text.mp4", ""),
        ("sound.mp4", "no video stream"),
        ("cut.mp4", ""),
        ("odd\\nname.mp4", "empty"),
        ("none.mp4", "no such file"),
    ):
        assert any(name in line and cause in line for line in errors), (name, errors)
    assert [path.name for path in (here / "out").iterdir()] == ["clip.mp4"]
    report = json.loads((here / "report.json").read_text())
    assert [file["state"] for file in report["files"]].count("failed") == len(names)
    assert report["exit_code"] == 3


@pytest.mark.parametrize("verbose", [False, True])
def test_a_single_failure_is_exit_code_1(tmp_path: Path, verbose: bool) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n")
    done = run("anonymize", "text.mp4", *QUICK, *(["--verbose"] if verbose else []), cwd=tmp_path)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == verbose
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.mp4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no INPUT given"),
        (("clip.mp4", "--filter", "blur"), "invalid choice"),
        (("clip.mp4", "--quality", "200"), "quality must lie in 0 to 63"),
        (("clip.mp4", "--filter", "solid", "--codec", "nonsense"), "codec"),
        (("clip.mp4", "--device", "tpu"), "device must be auto, cpu, cuda, cuda:N or mps"),
        (("clip.mp4", "--config", "none.toml"), "none.toml: cannot be read"),
        (("clip.mp4", "--preview", "sheet.gif"), "must end in .jpg or .png"),
        (("clip.mp4", "--preview", "clip.mp4.jpg/x.jpg"), "cannot be written"),
        (("clip.mp4", "--report", "clip.mp4"), "is an input or output of this run"),
        (("clip.mp4", "--report", "nowhere/report.json"), "cannot be written"),
        (("notes*.txt",), ""),
    ],
)
def test_wrong_usage_is_exit_code_2(here: Path, words: tuple[str, ...], said: str) -> None:
    (here / "notes.txt").touch()
    before = sorted(here.iterdir())
    done = run("anonymize", *words, cwd=here)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(here.iterdir()) == before


def test_a_device_that_is_missing_is_an_error_with_a_cure(here: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = run("anonymize", "clip.mp4", *QUICK, "--device", "cuda", cwd=here)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: device cuda: ")
    assert "--device auto or cpu" in done.stderr
    assert not (here / "clip_anonymized.mp4").exists()


def test_existing_outputs_and_inputs_are_never_overwritten_unasked(here: Path) -> None:
    (here / "clip_anonymized.mp4").write_text("mine")
    done = run("anonymize", "clip.mp4", *QUICK, cwd=here)
    assert done.returncode == 1
    assert "clip_anonymized.mp4 exists; --overwrite replaces it" in done.stderr
    assert (here / "clip_anonymized.mp4").read_text() == "mine"
    before = (here / "clip.mp4").read_bytes()
    (here / "link.mp4").symlink_to("clip.mp4")
    for target in ("clip.mp4", "link.mp4", "."):
        done = run("anonymize", "clip.mp4", "-o", target, "--overwrite", *QUICK, cwd=here)
        assert done.returncode == 1
        assert "inputs are never overwritten" in done.stderr
        assert (here / "clip.mp4").read_bytes() == before
    done = run("anonymize", "clip.mp4", "--overwrite", *QUICK, cwd=here)
    assert done.returncode == 0
    assert len(frames_of(here / "clip_anonymized.mp4")) == 20


def test_unwritable_output_is_named(here: Path) -> None:
    (here / "file").touch()
    done = run("anonymize", "clip.mp4", "-o", "file/out.mp4", *QUICK, cwd=here)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "out.mp4" in done.stderr


def test_permissions_are_respected_and_named(here: Path) -> None:
    for name, mode in (("locked", 0o000), ("readonly", 0o555)):
        (here / name).mkdir(mode=mode)
    (here / "secret.mp4").write_bytes(b"x")
    (here / "secret.mp4").chmod(0o000)
    before = without_root_rights()
    done = run("anonymize", "locked", "secret.mp4", "clip.mp4", "-o", "out", *QUICK, cwd=here, before=before)
    assert done.returncode == 3, done.stderr
    assert any("locked: folder cannot be read: Permission denied" in line for line in lines(done.stderr, "error: "))
    assert any("secret.mp4" in line and "ermission denied" in line for line in lines(done.stderr, "error: "))
    done = run("anonymize", "clip.mp4", "-o", "readonly/", *QUICK, cwd=here, before=before)
    assert done.returncode == 1
    assert "readonly/clip.mp4" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_leaves_nothing(here: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = run("anonymize", "clip.mp4", *QUICK, cwd=here, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "clip_anonymized.mp4" in done.stderr
    assert sorted(path.name for path in here.iterdir()) == ["clip.mp4"]


def test_equal_seeds_give_equal_files(here: Path) -> None:
    results = []
    for name, seed in (("a.mp4", 5), ("b.mp4", 5), ("c.mp4", 6)):
        assert run("anonymize", "clip.mp4", "-o", name, "--seed", seed, *QUICK, cwd=here).returncode == 0
        results.append((here / name).read_bytes())
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_every_picture_gets_a_face_of_its_own_and_clips_share_theirs(here: Path) -> None:
    """Two names of one picture; in a batch or alone, a seed gives each name the same face."""
    nobody = (REPOSITORY / "deepprivacy_rt" / "bench" / "face.jpg").read_bytes()
    (here / "ann.jpg").write_bytes(nobody)
    (here / "bob.jpg").write_bytes(nobody)
    (here / "other.mp4").write_bytes((here / "clip.mp4").read_bytes())
    options = ("--seed", 3, "--effort", "fast", "--report", "report.json", "--overwrite")

    def identities(*words: str) -> list[set[int]]:
        done = run("anonymize", *words, "-o", "out", *options, cwd=here)
        assert done.returncode == 0, done.stderr
        files = json.loads((here / "report.json").read_text())["files"]
        return [{face["identity"] for face in file["faces"]} for file in files]

    clip, other = identities("clip.mp4", "other.mp4", *QUICK)
    assert 0 in clip and clip == other
    ann, bob = identities("ann.jpg", "bob.jpg")
    assert len(ann) == 1 and len(bob) == 1 and ann != bob
    made = {name: cv2.imread(str(here / "out" / name)).astype(int) for name in ("ann.jpg", "bob.jpg")}
    assert np.abs(made["ann.jpg"] - made["bob.jpg"]).max() > 40
    alone = run("anonymize", "bob.jpg", "-o", "alone.jpg", *options, cwd=here)
    assert alone.returncode == 0, alone.stderr
    assert (here / "alone.jpg").read_bytes() == (here / "out" / "bob.jpg").read_bytes()


def test_preview_shows_before_and_after(here: Path) -> None:
    done = run("anonymize", "clip.mp4", *QUICK, "--preview", "sheet.jpg", cwd=here)
    assert done.returncode == 0, done.stderr
    sheet = cv2.imread(str(here / "sheet.jpg"))
    assert sheet.shape == (2 * (26 + 300), 4 * 400, 3)
    before, after = sheet[26:326].astype(int), sheet[352:652].astype(int)
    # In cells of 400x300 the face lies around x 187, y 91.
    for column in range(4):
        cell = slice(400 * column, 400 * (column + 1))
        difference = np.abs(before[:, cell] - after[:, cell])
        assert difference[75:107, 175:200].mean() > 10
        assert difference[:, 260:].mean() < 4


def test_stdout_into_a_closed_pipe_is_no_traceback(here: Path) -> None:
    words = " ".join(["anonymize clip.mp4 --json", *QUICK])
    script = f"{sys.executable} -m deepprivacy_rt {words} | true"
    done = subprocess.run(script, shell=True, cwd=here, env=environment(), capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


def test_help_and_version_are_quick_and_import_no_heavy_library(tmp_path: Path, by_the_clock: ByTheClock) -> None:
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run("--version", cwd=tmp_path).stdout.startswith("deepprivacy-rt ")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    with by_the_clock:  # of the processor, for other tests run beside; where a machine stands still, that runs on
        assert end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime < 0.5
    check = (
        "import sys, contextlib, deepprivacy_rt.cli.main as m\n"
        "with contextlib.suppress(SystemExit): m.main(['anonymize', '--help'])\n"
        "print(sorted({'torch', 'cv2', 'av', 'openvino'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
    assert "ORIGINAL FACES" in done.stdout
