"""A real RTSP camera on 127.0.0.1 (gst-rtsp-server), for the system's own Python: ``/usr/bin/python3 rtsp_server.py``.

Delivers a live H.264 picture at ``/live`` whose top rows carry the time: 32 blocks, white for 1, most significant
first, that count milliseconds of CLOCK_MONOTONIC. With ``--flashes`` there is sound (A-law), too: from every half
second on the rest of the picture is white and the sound loud, for 0.2 s, else dark and silent. Prints ``READY PORT``
when it listens. Imports nothing of the project: the system's Python has neither numpy nor PyAV.
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402  # the versions must be named first

BITS, BAND = 32, 16
SOUND_RATE = 8000
SOUND = (
    f"appsrc name=sound is-live=true format=time caps=audio/x-raw,format=S16LE,rate={SOUND_RATE},channels=1,"
    "layout=interleaved ! alawenc ! rtppcmapay name=pay1 pt=8 "
)
TRANSPORTS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "both": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP,
}


class Camera(GstRtspServer.RTSPMediaFactory):
    """Encodes pictures as they are made."""

    def __init__(self, width: int, height: int, rate: int, flashes: bool) -> None:
        super().__init__()
        self.width, self.height, self.rate, self.flashes = width, height, rate, flashes

    def do_create_element(self, _url: object) -> object:
        keys = max(
            1, self.rate // 3
        )  # a connection waits for a whole picture: often sent here, so that tests are short
        return Gst.parse_launch(
            "( appsrc name=src is-live=true format=time ! videoconvert ! video/x-raw,format=I420 "
            f"! x264enc tune=zerolatency threads=1 speed-preset=ultrafast bitrate=2000 key-int-max={keys} "
            f"! rtph264pay name=pay0 pt=96 config-interval=-1 {SOUND if self.flashes else ''})"
        )

    def do_configure(self, media: object) -> None:
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)  # transports, sharing
        source = media.get_element().get_child_by_name("src")
        caps = f"video/x-raw,format=GRAY8,width={self.width},height={self.height},framerate={self.rate}/1"
        source.set_property("caps", Gst.Caps.from_string(caps))
        sound = media.get_element().get_child_by_name("sound") if self.flashes else None
        over = threading.Event()
        media.connect("unprepared", lambda _media: over.set())
        threading.Thread(target=self.feed, args=(source, sound, over), daemon=True).start()

    def feed(self, source: object, sound: object, over: threading.Event) -> None:
        dark = bytes(60 + (x ^ y) % 64 for y in range(BAND, self.height) for x in range(self.width))
        white = b"\xeb" * len(dark)
        while source.get_state(0).state != Gst.State.PLAYING:  # before that there is no clock: all would wait for ever
            time.sleep(0.005)
        begin = source.get_clock().get_time() - source.get_base_time()
        due, frame, step = time.monotonic(), 0, 1 / self.rate
        while not over.is_set():
            seconds = begin / Gst.SECOND + frame * step  # one time for picture and sound, without jitter
            on = self.flashes and on_at(seconds)
            push(source, self.clock() + (white if on else dark), seconds, step)
            if sound is not None:
                push(sound, tone(frame, self.rate, on), seconds, step)
            late = max(0, round((time.monotonic() - due) / step) - self.rate)
            frame, due = frame + 1 + late, due + (1 + late) * step
            time.sleep(max(0.0, due - time.monotonic()))

    def clock(self) -> bytes:
        now = int(time.monotonic() * 1000)
        block = self.width // BITS
        bits = (b"\xff" if now >> (BITS - 1 - bit) & 1 else b"\x00" for bit in range(BITS))
        row = b"".join(bit * block for bit in bits).ljust(self.width, b"\x40")
        return row * BAND


def on_at(seconds: float) -> bool:
    return (seconds - 0.5) % 1 < 0.2


def tone(frame: int, rate: int, on: bool) -> bytes:
    times = range(frame * SOUND_RATE // rate, (frame + 1) * SOUND_RATE // rate)
    levels = (round(16000 * math.sin(2 * math.pi * 1000 * n / SOUND_RATE)) if on else 0 for n in times)
    return b"".join(struct.pack("<h", level) for level in levels)


def push(source: object, data: bytes, seconds: float, length: float) -> None:
    buffer = Gst.Buffer.new_wrapped(data)
    buffer.pts, buffer.duration = round(seconds * Gst.SECOND), round(length * Gst.SECOND)
    source.emit("push-buffer", buffer)


def authentication(user: str, password: str) -> object:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    return auth


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--picture", default="320x240x30", help="WIDTHxHEIGHTxRATE; the width a multiple of 32")
    parser.add_argument("--flashes", action="store_true")
    parser.add_argument("--transport", choices=TRANSPORTS, default="both")
    parser.add_argument("--user")
    parser.add_argument("--password")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    camera = Camera(*map(int, args.picture.split("x")), args.flashes)
    camera.set_protocols(TRANSPORTS[args.transport])
    camera.set_shared(True)
    camera.set_latency(0)
    if args.user:
        role = Gst.Structure.new_empty("user")
        role.set_value("media.factory.access", True)
        role.set_value("media.factory.construct", True)
        camera.add_role_from_structure(role)
        server.set_auth(authentication(args.user, args.password))
    server.get_mount_points().add_factory("/live", camera)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on port {args.port}")
    print("READY", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
