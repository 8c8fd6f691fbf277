"""``deepprivacy-rt doctor``: looks at what this machine has, one line each, with the cure for what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deepprivacy_rt.errors import DeepPrivacyError

State = Literal["ok", "missing", "broken"]
_MARKS: dict[State, str] = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar needed: whether nothing works without it.
    :ivar cure: what to do, empty where all is well.
    """

    what: str
    state: State
    detail: str
    needed: bool = False
    cure: str = ""


def add_parser(subparsers: Any) -> None:
    """Add this command's parser."""
    parser = subparsers.add_parser("doctor", help="check what this machine has, with the cure for what is missing")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 2 where something is missing that everything needs."""
    findings = list(examine())
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            cure = f"; {finding.cure}" if finding.cure else ""
            print(f"{_MARKS[finding.state]}  {finding.what}: {finding.detail}{cure}")
    return 2 if any(finding.needed and finding.state != "ok" for finding in findings) else 0


def examine() -> Iterator[Finding]:
    """Look at everything. A check that fails unexpectedly becomes a finding too."""
    checks = (_system, _libraries, _models, _openvino, _gpu, _encoders, _srt, _cameras, _virtual_camera, _display)
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(check.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}")


def _system() -> Iterator[Finding]:
    processor = _processor()
    yield Finding("system", "ok", f"{platform.platform(terse=True)}, Python {platform.python_version()}, {processor}")


def _processor() -> str:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{count} CPU core{'s' * (count != 1)}"


def _libraries() -> Iterator[Finding]:
    cure = "install libgl1, then run make in the project"
    for name in ("av", "cv2", "torch"):
        try:
            module = __import__(name)
        except Exception as error:
            yield Finding(name, "missing", str(error), needed=True, cure=cure)
        else:
            yield Finding(name, "ok", str(getattr(module, "__version__", "")), needed=True)


def _models() -> Iterator[Finding]:
    from deepprivacy_rt.weights import Weights

    weights, lines = Weights(report=lambda line: None), []
    for name in ("face128", "blazeface-full-range", "blazeface-short-range"):
        try:
            lines.append(weights.path(name).name)
        except DeepPrivacyError as error:
            yield Finding(f"model {name}", "missing", str(error), needed=True, cure="deepprivacy-rt weights fetch")
    if lines:
        yield Finding("models", "ok", ", ".join(lines), needed=True)


def _openvino() -> Iterator[Finding]:
    from deepprivacy_rt.runtimes.openvino import cpu_has_bf16, cpu_has_int8, is_installed

    if not is_installed():
        cure = "pip install 'deepprivacy-rt[openvino]'"
        yield Finding("OpenVINO", "missing", "networks run through PyTorch, at half the speed and less", cure=cure)
        return
    precision = "int8" if cpu_has_int8() else "bfloat16" if cpu_has_bf16() else "float32"
    yield Finding("OpenVINO", "ok", f"the generator runs in {precision} on this CPU")


def _gpu() -> Iterator[Finding]:
    import torch

    from deepprivacy_rt.runtimes.device import choose_device

    device, notes = choose_device("auto", needed=True)
    if device.startswith("cuda"):
        yield Finding("GPU", "ok", torch.cuda.get_device_name())
    elif device != "cpu":
        yield Finding("GPU", "ok", device)
    else:
        yield Finding("GPU", "missing", "; ".join(notes) or "none found: computing on the CPU")


def _encoders() -> Iterator[Finding]:
    import av

    known = {"libx264": "H.264", "h264_nvenc": "H.264 on NVIDIA", "h264_qsv": "H.264 on Intel", "libx265": "HEVC"}
    known |= {"h264_videotoolbox": "H.264 on Apple", "libvpx-vp9": "VP9", "libsvtav1": "AV1"}
    found = [f"{name} ({text})" for name, text in known.items() if name in av.codecs_available]
    yield Finding("encoders in this build", "ok" if found else "missing", ", ".join(found) or "none", needed=True)


def _srt() -> Iterator[Finding]:
    from deepprivacy_rt.media.libsrt import CURE, SrtMissing
    from deepprivacy_rt.media.srt import pyav_speaks_srt, srt_version

    try:
        yield Finding("SRT", "ok", f"libsrt {srt_version()}")
    except SrtMissing:
        if pyav_speaks_srt():
            yield Finding("SRT", "ok", "by the FFmpeg inside of PyAV", cure=f"for what was tested, {CURE}")
        else:
            yield Finding("SRT", "missing", "no stream goes or comes by srt://", cure=CURE)


def _cameras() -> Iterator[Finding]:
    from deepprivacy_rt.sources.devices import list_cameras

    cameras = [camera for camera in list_cameras() if not camera.virtual]
    if not cameras:
        yield Finding("cameras", "missing", "none found", cure="plug one in; deepprivacy-rt devices lists them")
    for camera in cameras:
        if camera.problem:
            yield Finding("camera", "broken", f"{camera.path} {camera.name}: {camera.problem}")
        else:
            yield Finding("camera", "ok", f"{camera.path} {camera.name}, {len(camera.modes)} modes")


def _virtual_camera() -> Iterator[Finding]:
    from deepprivacy_rt.sinks.virtual_camera import VirtualCameraSettings, VirtualCameraSink

    try:
        with VirtualCameraSink(VirtualCameraSettings()):
            pass
    except DeepPrivacyError as error:
        yield Finding("virtual camera", "missing", str(error))
    else:
        yield Finding("virtual camera", "ok", "found")


def _display() -> Iterator[Finding]:
    if importlib.util.find_spec("pygame") is None:
        yield Finding("window", "missing", "no window can be shown; pip install 'deepprivacy-rt[window]'")
    if sys.platform != "linux":
        return
    has = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    yield Finding("display", "ok" if has else "missing", "for --sink window" if has else "no window can be shown")
