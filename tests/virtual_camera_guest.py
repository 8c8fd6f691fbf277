"""Runs inside of the User Mode Linux of ``uml.sh``: sends to a real v4l2loopback, prints what a reader got as JSON.

python virtual_camera_guest.py STARTS
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from live_pictures import colour_error, number, picture, safe

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.sinks.virtual_camera import VirtualCameraSettings, VirtualCameraSink, virtual_cameras

DEVICE = "/dev/video10"
SIZE = (1280, 720)
FRAMES = 20
_READER = ("ffmpeg", "-v", "error", "-f", "v4l2", "-i", DEVICE, "-frames:v", str(FRAMES), "-vsync", "passthrough")
_OUTPUT = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-")


def show(start: int) -> dict[str, object]:
    """Send numbered pictures until a reader has got enough of them."""
    told: dict[str, object] = {"error": None}
    reader = None
    pixels = Path(f"/tmp/read{start}.rgb")
    pixels.write_bytes(b"")
    sent = start * 1000
    with VirtualCameraSink(VirtualCameraSettings()) as sink:
        try:
            while reader is None or reader.poll() is None:
                sink.write(safe(picture(sent, SIZE), sent))
                sent += 1
                if reader is None:
                    reader = subprocess.Popen([*_READER, *_OUTPUT], stdout=pixels.open("wb"))
                time.sleep(0.05)
                if sent % 1000 > 900:
                    reader.kill()
        except SinkError as error:
            told["error"] = str(error)
        told["device"] = sink.device
    images = np.fromfile(pixels, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3)
    return told | {
        "numbers": [number(image) for image in images],
        "colour_error": max((colour_error(image) for image in images), default=0.0),
    }


if __name__ == "__main__":
    print(json.dumps({"cameras": virtual_cameras(), "starts": [show(i) for i in range(int(sys.argv[1]))]}))
