"""Which files a command line means, and where their outputs go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepprivacy_rt.cli.batch import Plan, make_plan
from deepprivacy_rt.errors import UsageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def pairs(plan: Plan) -> dict[str, str]:
    return {str(job.source): str(job.target) for job in plan.jobs}


def plan_of(*inputs: str, output: str | None = None, overwrite: bool = False) -> Plan:
    return make_plan(inputs, output, overwrite=overwrite)


def causes(plan: Plan) -> str:
    return "\n".join(f"{refusal.source}: {refusal.cause}" for refusal in plan.refusals)


def test_default_output_lies_beside_the_input() -> None:
    touch("a/clip.mp4")
    assert pairs(plan_of("a/clip.mp4")) == {"a/clip.mp4": "a/clip_anonymized.mp4"}


def test_output_is_a_file_or_a_folder() -> None:
    touch("clip.mp4")
    Path("there.d").mkdir()
    assert pairs(plan_of("clip.mp4", output="new.mkv")) == {"clip.mp4": "new.mkv"}
    assert pairs(plan_of("clip.mp4", output="there.d")) == {"clip.mp4": "there.d/clip.mp4"}
    assert pairs(plan_of("clip.mp4", output="fresh/")) == {"clip.mp4": "fresh/clip.mp4"}
    assert pairs(plan_of("clip.mp4", output="fresh")) == {"clip.mp4": "fresh/clip.mp4"}


def test_folder_is_searched_and_mirrored() -> None:
    touch("in/a.mp4", "in/deep/er/b.JPG", "in/notes.txt", "in/.hidden/c.mp4", "in/.d.mp4.x1.part", "in/.e.mp4")
    plan = plan_of("in", output="out")
    assert pairs(plan) == {"in/a.mp4": "out/a.mp4", "in/deep/er/b.JPG": "out/deep/er/b.JPG"}
    assert [str(path) for path in plan.ignored] == ["in/notes.txt"]


def test_several_inputs_keep_their_folder_names() -> None:
    touch("one/a.mp4", "two/a.mp4", "b.mp4")
    plan = plan_of("one", "two", "b.mp4", output="out")
    assert pairs(plan) == {"one/a.mp4": "out/one/a.mp4", "two/a.mp4": "out/two/a.mp4", "b.mp4": "out/b.mp4"}
    assert not plan.refusals


def test_in_place_leaves_out_earlier_outputs() -> None:
    touch("in/a.mp4", "in/a_anonymized.mp4")
    plan = plan_of("in", overwrite=True)
    assert pairs(plan) == {"in/a.mp4": "in/a_anonymized.mp4"}
    assert [str(path) for path in plan.skipped] == ["in/a_anonymized.mp4"]


def test_output_folder_inside_the_input_is_left_out() -> None:
    touch("in/a.mp4", "in/out/a.mp4")
    assert pairs(plan_of("in", output="in/out", overwrite=True)) == {"in/a.mp4": "in/out/a.mp4"}


def test_pattern_is_expanded_and_mirrored() -> None:
    touch("in/x/a.mp4", "in/y/a.mp4", "in/y/b.txt", "in/.a.mp4")
    assert pairs(plan_of("in/*/*", output="out")) == {"in/x/a.mp4": "out/x/a.mp4", "in/y/a.mp4": "out/y/a.mp4"}
    assert pairs(plan_of("in/**", output="out")) == {"in/x/a.mp4": "out/x/a.mp4", "in/y/a.mp4": "out/y/a.mp4"}
    assert "no file matches" in causes(plan_of("*.mov"))


def test_name_with_brackets_is_a_file_first() -> None:
    touch("clip [1].mp4", "clip 1.mp4")
    assert pairs(plan_of("clip [1].mp4")) == {"clip [1].mp4": "clip [1]_anonymized.mp4"}


def test_same_file_twice_is_done_once() -> None:
    touch("a.mp4")
    Path("link.mp4").symlink_to("a.mp4")
    assert pairs(plan_of("a.mp4", "./a.mp4", "link.mp4", output="out/")) == {"a.mp4": "out/a.mp4"}


def test_existing_output_needs_overwrite() -> None:
    touch("a.mp4", "a_anonymized.mp4")
    plan = plan_of("a.mp4")
    assert not plan.jobs
    assert causes(plan) == "a.mp4: the output a_anonymized.mp4 exists; --overwrite replaces it"
    assert pairs(plan_of("a.mp4", overwrite=True))


@pytest.mark.parametrize("how", ["same", "symlink", "hard link", "other input", "folder link"])
def test_an_input_is_never_a_target(how: str) -> None:
    touch("in/a.mp4", "in/b.mp4")
    inputs, output = ["in/a.mp4"], "in/a.mp4"
    if how == "symlink":
        Path("out.mp4").symlink_to("in/a.mp4")
        output = "out.mp4"
    elif how == "hard link":
        os.link("in/a.mp4", "out.mp4")
        output = "out.mp4"
    elif how == "other input":
        Path("out").mkdir()
        Path("out/a.mp4").symlink_to("../in/b.mp4")
        inputs, output = ["in/a.mp4", "in/b.mp4"], "out"
    elif how == "folder link":
        Path("out").symlink_to("in")
        inputs, output = ["in/a.mp4"], "out"
    plan = plan_of(*inputs, output=output, overwrite=True)
    assert "in/a.mp4" not in pairs(plan)
    assert "inputs are never overwritten" in causes(plan)


def test_two_inputs_with_one_output() -> None:
    touch("x/a.mp4", "y/A.mp4")
    plan = plan_of("x/a.mp4", "y/A.mp4", output="out/")
    assert pairs(plan) == {"x/a.mp4": "out/a.mp4"}
    assert "is already that of x/a.mp4" in causes(plan)


def test_what_cannot_be_used_is_refused_and_the_rest_goes_on() -> None:
    touch("a.mp4", "empty/readme.txt")
    os.mkfifo("pipe.mp4")
    Path("broken.mp4").symlink_to("nowhere")
    plan = plan_of("none.mp4", "a.mp4", "empty", "pipe.mp4", "broken.mp4", output="out/")
    assert pairs(plan) == {"a.mp4": "out/a.mp4"}
    said = causes(plan)
    assert "none.mp4: no such file or folder" in said
    assert "empty: no video or image in this folder" in said
    assert "pipe.mp4: not a regular file" in said
    assert "broken.mp4: not a regular file" in said


def test_several_outputs_need_a_folder() -> None:
    touch("a.mp4", "b.mp4", "out.mp4")
    with pytest.raises(UsageError, match=r"out\.mp4: is a file, but several outputs need a folder"):
        plan_of("a.mp4", "b.mp4", output="out.mp4")


def test_linked_folders_are_not_followed_but_told() -> None:
    touch("in/a.mp4", "elsewhere/b.mp4")
    Path("in/link").symlink_to("../elsewhere")
    plan = plan_of("in", output="out")
    assert pairs(plan) == {"in/a.mp4": "out/a.mp4"}
    assert [str(path) for path in plan.ignored] == ["in/link"]


def test_kinds_that_cannot_be_written_become_matroska() -> None:
    touch("a.mxf", "b.TIFF", "raw")
    assert pairs(plan_of("a.mxf", "b.TIFF", "raw")) == {
        "a.mxf": "a_anonymized.mkv",
        "b.TIFF": "b_anonymized.TIFF",
        "raw": "raw_anonymized.mkv",
    }
    assert pairs(plan_of("a.mxf", output="out/")) == {"a.mxf": "out/a.mkv"}
