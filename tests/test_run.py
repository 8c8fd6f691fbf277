"""``deepprivacy-rt run`` as a process: a real file or RTSP camera in, a real recording out."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from live_helpers import RtspServer, need_rtsp_server
from run_process import images, is_slate, running

from deepprivacy_rt.cli.live_view import status_line
from deepprivacy_rt.cli.main import main
from deepprivacy_rt.config import RunConfig, from_table, load, to_toml
from deepprivacy_rt.detectors.yunet import YuNetDetector
from deepprivacy_rt.errors import ConfigError
from deepprivacy_rt.realtime.stats import LiveStatus, OutputStatus
from deepprivacy_rt.types import Frame

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    return shared / "data/eval/asl/intel_bird.mkv"


def test_a_file_in_real_time_comes_out_covered(clip: Path, shared: Path, tmp_path: Path) -> None:
    options = ("--source", clip, "--loop", "--sink", "out.mkv", "--sink", "null", "--size", "640x480", "--seed", 1)
    with running(*options, folder=tmp_path) as process:
        last = process.status(
            lambda s: s["outputs"][0]["written"] - s["outputs"][0]["slates"] >= 12 and s["faces"] == 1
        )
        process.stop()
    assert last["source"] == "live" and last["withheld"] == 0 and not last["problems"]
    shown = images(tmp_path / "out.mkv")
    assert is_slate(shown[0]), "the slate comes first"
    faces = [image for image in shown if not is_slate(image)]
    assert len(faces) >= 12
    with av.open(str(clip)) as file:
        originals = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    detector = YuNetDetector(shared / "models/yunet_n_dynamic.onnx")
    for image in faces[:: len(faces) // 6]:
        nearest = min(originals, key=lambda one: np.abs(one[:, :64].astype(int) - image[:, :64]).mean())
        box = max(detector.detect(Frame(nearest, 0, 0)), key=lambda d: d.score).box  # type: ignore[arg-type]
        part = np.s_[int(box.y0 + 6) : int(box.y1 - 6), int(box.x0 + 6) : int(box.x1 - 6)]
        difference = np.abs(nearest[part].astype(int) - image[part]).mean()
        assert difference > 12, "the original face is shown"


def test_panic_by_signal_and_over_http(clip: Path, tmp_path: Path) -> None:
    options = ("--source", clip, "--loop", "--sink", "null", "--filter", "pixelate", "--identity", "wren")
    with running(*options, "--control", 0, folder=tmp_path, DEEPPRIVACY_CONTROL_TOKEN="secret-token") as process:
        line = process.message("control: ")
        assert "secret-token" not in line
        port = int(line.split(":")[3].split("/")[0])

        def ask(method: str, path: str, token: str = "secret-token") -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token}"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return dict(json.loads(answer.read()))

        process.status(lambda s: s["processed"] > 3)
        process.child.send_signal(signal.SIGUSR1)
        process.status(lambda s: s["panic"])
        written = ask("GET", "/status")["outputs"][0]
        time.sleep(0.5)
        after = ask("GET", "/status")["outputs"][0]
        assert after["written"] <= written["written"] + 1 and after["slates"] > written["slates"]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask("POST", "/resume")
        ask("POST", "/arm")
        assert ask("POST", "/resume") == {"panic": False}
        process.status(lambda s: s["outputs"][0]["written"] > after["written"] + 3)
        assert ask("POST", "/panic") == {"panic": True}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask("POST", "/arm", token="guess")
        ask("POST", "/filter?name=solid")
        process.message("filter: solid")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask("POST", "/portraits?name=cats")
        assert ask("POST", "/portraits?name=women") == {"portraits": "women"}
        process.message("portraits: women")
        ask("POST", "/identity")
        process.message("new faces")
        last = ask("GET", "/status")
        assert (last["filter"], last["portraits"]) == ("solid", "women")
        ask("POST", "/stop")
        assert process.child.wait(10) == 0


def test_a_camera_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    need_rtsp_server()
    server = RtspServer()
    server.start()
    try:
        options = ("--source", server.url("ann:pa55word@"), "--sink", "null", "--filter", "solid")
        with running(*options, folder=tmp_path) as process:
            process.status(lambda s: s["outputs"][0]["written"] > 5)
            server.kill()
            process.message("source lost")
            lost = process.status(lambda s: s["source"] == "lost")
            process.status(lambda s: s["outputs"][0]["slates"] > lost["outputs"][0]["slates"] + 3)
            server.start()
            process.message("source live")
            back = process.status(lambda s: s["source"] == "live")
            process.status(lambda s: s["outputs"][0]["written"] > back["outputs"][0]["written"] + 5)
            process.stop(signal.SIGTERM)
            assert "pa55word" not in json.dumps(process.lines)
    finally:
        server.kill()


def test_a_sink_that_hangs_is_left_behind_and_the_run_ends_in_order(clip: Path, tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from deepprivacy_rt.sinks.null import NullSink\n"
        "NullSink.write = lambda self, frame: time.sleep(100)\n"
        "from deepprivacy_rt.cli.main import program\n"
        "program()\n"
    )
    options = ("--source", clip, "--loop", "--sink", "null", "--filter", "solid")
    with running(*options, folder=tmp_path, program=("-c", code)) as process:
        process.status(lambda s: s["source"] == "live")
        process.stop()
        assert process.until(lambda line: line["event"] == "status")["outputs"][0]["written"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no sink given"),
        (("--source", "absent.mp4", "--sink", "null"), "there is no such file"),
        (("--source", "0", "--sink", "dance"), "is no live output"),
        (("--source", "0", "--sink", "null", "--size", "big"), "size must be WIDTHxHEIGHT"),
        (("--source", "0", "--sink", "null", "--duration", "-1"), "--duration must be positive"),
        (("--source", "/dev/video99", "--sink", "null"), "/dev/video99"),
        (("absent.toml",), "absent.toml"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *arguments]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize("name", ["webcam.toml", "rtsp.toml"])
def test_shipped_configurations_are_valid_and_survive_a_round(name: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["run", str(CONFIGS / name), "--print-config"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "printed.toml"
    path.write_text(text)
    config = load(RunConfig, path)
    assert to_toml(config) == text
    assert config.live.sinks


def test_sinks_must_be_a_list_of_strings() -> None:
    for bad in ("virtualcam", [1]):
        with pytest.raises(ConfigError, match="list of strings"):
            from_table(RunConfig, {"live": {"sinks": bad}})


def test_the_status_line_says_what_matters() -> None:
    good = OutputStatus("out.mkv", "live", "", 100, 0, 3, 0, 29.7, (51.2, 94.0), 0.0)
    lost = OutputStatus("rtmp://host", "lost", "server: gone", 0, 0, 0, 0, 0.0, None, 0.0)
    status = LiveStatus(9.0, "live", 200, 4, 190, 2, 1, "every frame", False, (good, lost), ("detect: torn",), {})
    line = status_line(status)
    for part in ("live", "1 face", "out.mkv: 30 fps, 51/94 ms", "rtmp://host: lost (server: gone)", "2.0% dropped"):
        assert part in line
    assert "2 withheld" in line and "detect: torn" in line


def test_doctor_names_what_is_there(capsys: Any) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["models"]["state"] == "ok"
    assert found["cv2"]["detail"] == cv2.__version__
    assert found["SRT"]["detail"].startswith("libsrt 1.") or "apt install srt-tools" in found["SRT"]["cure"]
    assert not [f for f in found.values() if f["state"] == "broken"]
