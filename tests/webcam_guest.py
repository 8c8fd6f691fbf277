"""Runs inside of the User Mode Linux of ``uml.sh``: uses real video devices, prints what happened as JSON.

python webcam_guest.py capture | stalled
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

from live_helpers import Watch, threads_and_descriptors

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.sources.devices import list_cameras
from deepprivacy_rt.sources.webcam import WebcamSource

VIVID = Path("/sys/bus/platform/drivers/vivid")
WAIT_S = 60


def capture() -> dict[str, object]:
    """Capture, be disturbed by a second reader, be unplugged twice, and come back."""
    watch, told = Watch(), {}
    told["cameras"] = [(camera.path, camera.name, camera.virtual, len(camera.modes)) for camera in list_cameras()]
    with WebcamSource("vivid", width=320, height=180, rate=Fraction(10), on_state=watch.on_state) as source:
        watch.consume(source)
        watch.until_frames(5, WAIT_S)
        told["behind"] = time.monotonic() - float(watch.last.pts)
        told["spread"] = int(watch.last.image.max()) - int(watch.last.image.min())
        told["busy"] = failure(0)
        counts = []
        for _ in range(2):
            counts.append(threads_and_descriptors())
            subprocess.run(["v4l2-ctl", "-d", "/dev/video0", "-c", "disconnect=1"], check=True)
            watch.until_state("lost", WAIT_S)
            (VIVID / "unbind").write_text("vivid.0")
            time.sleep(1)
            (VIVID / "bind").write_text("vivid.0")
            watch.until_state("live", WAIT_S)
            watch.until_frames(5, WAIT_S)
        counts.append(threads_and_descriptors())
    told["ended"] = watch.ended.wait(2) and watch.error is None
    told |= {"counts": counts, "sizes": watch.sizes, "kinds": watch.kinds}
    return told | {"details": [state.detail for state in watch.states], "wrong": failure("/dev/video77")}


def stalled() -> dict[str, object]:
    """Read a virtual camera that nobody writes to, one that is written, and one whose writer stands still."""
    told, watch = {"idle": failure("/dev/video10")}, Watch()
    picture = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-pix_fmt", "yuyv422"]
    with subprocess.Popen(["ffmpeg", "-v", "error", "-re", *picture, "-f", "v4l2", "/dev/video10"]) as writer:
        time.sleep(3)
        with WebcamSource("TestCam", stall_s=2, on_state=watch.on_state) as source:
            watch.consume(source)
            watch.until_frames(5, WAIT_S)
            writer.send_signal(signal.SIGSTOP)
            watch.until_state("lost", WAIT_S)
            time.sleep(1)
            start = time.monotonic()
            source.close()
            told["ended"] = watch.ended.wait(5) and watch.error is None
            told["seconds"] = time.monotonic() - start
            time.sleep(2)
            told["reader"] = source._reader.is_alive()
        writer.kill()
    return told | {"kinds": watch.kinds, "sizes": watch.sizes, "details": [state.detail for state in watch.states]}


def failure(device: int | str) -> str:
    try:
        with WebcamSource(device, width=320, height=180, rate=10) as source:
            return f"delivered {next(iter(source)).image.shape}"
    except SourceError as error:
        return str(error)


if __name__ == "__main__":
    print(json.dumps({"capture": capture, "stalled": stalled}[sys.argv[1]]()))
