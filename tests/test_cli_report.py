"""The report and the JSON lines: what docs/report.md promises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import CLIP, QUICK, REPOSITORY, ffmpeg, run

from deepprivacy_rt.cli.report import FileRecord, Runs
from deepprivacy_rt.pipeline import FaceReport, FrameReport
from deepprivacy_rt.types import Box, Coverage, Evidence


@pytest.fixture(autouse=True, scope="module")
def _models(model_file: Callable[[str], Path]) -> None:
    """Fetch what is missing now: the program would tell of it in the middle of a test."""
    model_file("blazeface-full-range")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, _models: None) -> tuple[dict, list[dict], Path]:
    """The report and the JSON lines of one run over a good and a bad file."""
    here = tmp_path_factory.mktemp("run")
    ffmpeg("-i", CLIP, "-c", "copy", here / "clip.mkv")
    (here / "bad.mkv").touch()
    words = ["anonymize", "clip.mkv", "bad.mkv", "-o", "out", "--seed", 123456789, "--report", "report.json", "--json"]
    done = run(*words, *QUICK, cwd=here)
    assert done.returncode == 3, done.stderr
    report = json.loads((here / "report.json").read_text())
    return report, [json.loads(line) for line in done.stdout.splitlines()], here


def documented(heading: str) -> set[str]:
    """Return the keys in the table that follows a text in docs/report.md."""
    text = (REPOSITORY / "docs" / "report.md").read_text().partition(heading)[2]
    table = re.search(r"\n\|.*?\n\n", text + "\n\n", re.DOTALL)
    assert table
    rows = [row.split("|")[1] for row in table.group().strip().splitlines()[2:]]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def test_report_has_the_documented_keys(finished: tuple[dict, list[dict], Path]) -> None:
    report = finished[0]
    assert set(report) == {key.partition(".")[0] for key in documented("## `--report")}
    assert set(report["settings"]) == {"faces", "output", "device_used"}
    for file in report["files"]:
        assert set(file) == documented("One of `files`:")
    (clip,) = (file for file in report["files"] if file["source"] == "clip.mkv")
    for face in clip["faces"]:
        assert set(face) == documented("One of `faces`:")
    assert report["version"] == 1


def test_every_frame_of_the_face_is_accounted_for(finished: tuple[dict, list[dict], Path]) -> None:
    (clip,) = (file for file in finished[0]["files"] if file["source"] == "clip.mkv")
    assert (clip["state"], clip["frames"], clip["withheld"]) == ("done", 87, [])
    main = max(clip["faces"], key=lambda face: face["last_frame"] - face["first_frame"])
    covered = [index for first, last, _, _ in main["runs"] for index in range(first, last + 1)]
    assert covered == list(range(87)), "one man, in the picture from the first to the last frame"
    assert sum(main["frames"].values()) == 87
    assert set(clip["stage_cpu_seconds"]) >= {"decode", "detect", "generate", "paste", "encode"}


def test_the_secret_and_the_seed_are_not_told(finished: tuple[dict, list[dict], Path]) -> None:
    report = finished[0]
    assert report["settings"]["faces"]["seeded"] is True
    assert "123456789" not in json.dumps(report)


def test_the_bad_file_is_told(finished: tuple[dict, list[dict], Path]) -> None:
    (bad,) = (file for file in finished[0]["files"] if file["source"] == "bad.mkv")
    assert (bad["state"], bad["output"], bad["frames"]) == ("failed", None, 0)
    assert "bad.mkv" in bad["error"]
    assert "empty" in bad["error"]


def test_json_lines_tell_the_run(finished: tuple[dict, list[dict], Path]) -> None:
    events = finished[1]
    assert [events[0]["event"], events[-1]["event"]] == ["begin", "end"]
    assert events[0]["version"] == 1
    assert events[0]["files"] == 2
    assert {"exit_code": 3, "done": 1, "failed": 1, "interrupted": 0}.items() <= events[-1].items()
    ends = {event["source"]: event for event in events if event["event"] == "file_end"}
    assert ends["clip.mkv"]["state"] == "done"
    assert ends["clip.mkv"]["output"] == "out/clip.mkv"
    assert ends["bad.mkv"]["error"]
    keys = {
        "begin": {"event", "version", "files"},
        "file_begin": {"event", "source", "output", "frames"},
        "progress": {"event", "source", "output", "frames", "frames_done", "fps", "remaining_s"},
        "file_end": {"event", "source", "output", "state", "frames", "seconds", "error", "warnings"},
        "end": {"event", "exit_code", "done", "failed", "interrupted"},
    }
    for event in events:
        assert set(event) == keys[event["event"]]
    done = [event["frames_done"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)


def face(track: int, evidence: Evidence, coverage: Coverage = Coverage.GENERATED) -> FaceReport:
    return FaceReport(track, track, Box(0, 0, 10, 20), 0.9, evidence, coverage, False)


def test_memory_of_the_record_does_not_grow_with_the_frames() -> None:
    record = FileRecord("x")
    for index in range(10_000):
        record.add(FrameReport(index, index, (face(0, Evidence.DETECTED),), problems=(f"odd {index}",)))
    assert len(record.faces[0].runs.items) == 1
    assert len(record.problems) <= 51
    assert record.problems["other problems"] == 9_950


def test_guesses_and_withheld_frames_are_told() -> None:
    record = FileRecord("x")
    for index, evidence in enumerate([Evidence.BACKTRACKED, Evidence.DETECTED, Evidence.COASTED, Evidence.COASTED]):
        record.add(FrameReport(index, index, (face(3, evidence),), withheld=index == 3))
    shown = record.to_json()
    assert [(line["first_frame"], line["last_frame"]) for line in shown["uncertain"]] == [(0, 0), (2, 3)]
    assert shown["withheld"] == [[3, 3]]


def test_runs_break_at_gaps_and_changes() -> None:
    runs: Runs[str] = Runs()
    for index, value in ((0, "a"), (1, "a"), (3, "a"), (4, "b")):
        runs.add(index, value)
    assert runs.items == [(0, 1, "a"), (3, 3, "a"), (4, 4, "b")]
