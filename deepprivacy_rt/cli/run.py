"""``deepprivacy-rt run [CONFIG] --source S --sink T [--sink T2 ...]``: a live picture, for hours."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import typing
from pathlib import Path

from deepprivacy_rt.config import (
    DetectorName,
    Effort,
    FaceConfig,
    Filter,
    ModelName,
    Portraits,
    Privacy,
    Region,
    RunConfig,
    load,
    override,
    to_toml,
)
from deepprivacy_rt.errors import UsageError

_ENGINE_FIRST_S = 0.3
"""By how much longer than the engine waits for what hangs a run is waited for: its own end is the orderly one."""
_DESCRIPTION = """\
Read a camera, a network stream or a file, replace every face, and write to a virtual camera, a stream, a file or a
window. Before the first processed frame, and whenever there is nothing that may be shown, a slate is shown.

A key in the terminal, SIGUSR1 or the HTTP control (--control) switches to the slate within one frame.
Passwords and stream keys: see docs/live.md."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command. Options that are not given leave the configuration alone."""
    parser = subparsers.add_parser(
        "run",
        help="replace faces in a live picture",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="options from a TOML file")
    _add_live(parser.add_argument_group("live"))
    _add_faces(parser.add_argument_group("faces"))
    group = parser.add_argument_group("run")
    group.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds")
    group.add_argument("--json", action="store_true", help="status as JSON lines on standard output")
    group.add_argument("--print-config", action="store_true", help="print the configuration in force, and stop")
    group.add_argument("--verbose", action="store_true", help="show where errors come from")


def _add_live(group: argparse._ArgumentGroup) -> None:
    help_ = "0, /dev/video0, name:PART, screen:[WxH+X+Y], rtsp://…, rtmp://…, http://…, or a file, at its own speed"
    group.add_argument("--source", dest="live.source", metavar="S", help=help_)
    help_ = "virtualcam[:DEVICE], twitch, rtmp://…, rtsp://…, hls:FOLDER, FILE.mkv, FILE.mp4, window, null; repeatable"
    group.add_argument("--sink", dest="sinks", action="append", metavar="T", help=help_)
    group.add_argument("--size", dest="live.size", metavar="WxH", help="asked of a camera (default: 1280x720)")
    group.add_argument("--rate", dest="live.rate", type=float, metavar="FPS", help="asked of a camera (default: 30)")
    help_ = "frames of delay, in which a face is covered before it is first detected (default: 0; 3 to 5 are useful)"
    group.add_argument("--lookahead", dest="live.lookahead", type=int, metavar="N", help=help_)
    help_ = "pass the sound of a stream or file on, unchanged: a voice identifies (default: no sound)"
    group.add_argument("--audio", dest="live.audio", action="store_const", const=True, help=help_)
    help_ = "with --audio: a microphone in place of the source's sound; on Linux ALSA's name, such as hw:1,0"
    group.add_argument("--audio-device", dest="live.audio_device", metavar="NAME", help=help_)
    group.add_argument(
        "--loop", dest="live.loop", action="store_const", const=True, help="a file begins again when it ends"
    )
    help_ = "tries in a row to get a lost source back (default: for ever)"
    group.add_argument("--max-retries", dest="live.max_retries", type=int, metavar="N", help=help_)
    help_ = "HTTP control on 127.0.0.1 (0: any free port); its token is printed, or DEEPPRIVACY_CONTROL_TOKEN"
    group.add_argument("--control", dest="live.control", type=int, metavar="PORT", help=help_)


def _add_faces(group: argparse._ArgumentGroup) -> None:
    kinds = {"filter": Filter, "region": Region, "model": ModelName, "effort": Effort, "detector": DetectorName}
    for name, values in (kinds | {"privacy": Privacy, "portraits": Portraits}).items():
        group.add_argument(f"--{name}", dest=f"faces.{name}", choices=typing.get_args(values))
    group.add_argument("--device", dest="faces.device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps")
    help_ = "random, or a name or number of `deepprivacy-rt identities`, for all faces (default: random)"
    group.add_argument("--identity", dest="faces.identity", metavar="NAME", help=help_)
    group.add_argument("--seed", dest="faces.seed", type=int, metavar="N", help="the same faces in every run")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    config = load(RunConfig, args.config) if args.config else RunConfig()
    given = {name: value for name, value in vars(args).items() if "." in name and value is not None}
    if args.sinks:
        given["live.sinks"] = tuple(args.sinks)
    config = override(config, given)
    if args.print_config:
        print(to_toml(config), end="")
        return 0
    if not config.live.sinks:
        raise UsageError("no sink given; name one with --sink: virtualcam, window, FILE.mkv, rtmp://…")
    if args.duration is not None and args.duration <= 0:
        raise UsageError(f"--duration must be positive, not {args.duration}")
    return _LiveRun(config, args).run()


class _LiveRun:
    """One call of the command."""

    def __init__(self, config: RunConfig, args: argparse.Namespace) -> None:
        from deepprivacy_rt.build_live import (
            build_stages,
            check_source,
            make_live_source,
            make_presenters,
            silent_sinks,
        )
        from deepprivacy_rt.cli.live_session import LiveSession
        from deepprivacy_rt.cli.live_view import JsonView, LiveView, TextView
        from deepprivacy_rt.realtime.engine import LiveEngine, LiveStages
        from deepprivacy_rt.realtime.gate import Gate
        from deepprivacy_rt.sources.live import SourceState
        from deepprivacy_rt.weights import Weights

        self._live, self._duration = config.live, args.duration
        self._stop = threading.Event()
        self.view: LiveView = JsonView() if args.json else TextView()
        gate, spec, weights = Gate(), check_source(config.live), Weights(report=self.view.message)

        def on_state(state: SourceState) -> None:
            self._engine.set_source_state(state.kind)
            self.view.message(f"source {state.kind}{f': {state.detail}' if state.detail else ''}")

        def build(faces: FaceConfig) -> LiveStages:
            return build_stages(faces, config.live, weights)

        self._engine = LiveEngine(
            lambda: make_live_source(spec, config.live, on_state, self._engine.hear),
            make_presenters(config.live, gate, lambda key: self._session.key(key)),
            gate,
            frame_rate=config.live.rate,
            report=self.view.message,
        )
        self._silent = silent_sinks(config.live) if config.live.audio else ()
        self._session = LiveSession(self._engine, gate, config.faces, build, self._stop, self.view.message)

    def run(self) -> int:
        """Run until the source ends, a signal, a key or the duration; return the exit code."""
        from deepprivacy_rt.cli.interrupt import UnresponsiveError, run_interruptibly
        from deepprivacy_rt.cli.keys import reading_keys
        from deepprivacy_rt.cli.live_session import HELP
        from deepprivacy_rt.realtime.engine import GRACE_SECONDS

        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, lambda *_: self._session.panic())
        try:
            with self.view, self._control(), self._microphone(), reading_keys(self._session.key) as keys:
                if self._silent:
                    self.view.message(f"no sound goes to {', '.join(self._silent)}")
                if keys:
                    self.view.message(HELP)
                return run_interruptibly(self._work, GRACE_SECONDS + _ENGINE_FIRST_S)
        except UnresponsiveError:
            print("error: the run did not end in time, and was ended at once", file=sys.stderr, flush=True)
            os._exit(1)  # a library call that does not return cannot be ended in any other way

    @contextlib.contextmanager
    def _control(self) -> typing.Iterator[None]:
        if self._live.control is None:
            yield
            return
        from deepprivacy_rt.realtime.control import ADDRESS, ControlServer

        token = os.environ.get("DEEPPRIVACY_CONTROL_TOKEN")
        with ControlServer(self._session.actions(), self._live.control, token) as server:
            shown = "of DEEPPRIVACY_CONTROL_TOKEN" if token else server.token
            self.view.message(f"control: http://{ADDRESS}:{server.port}/status, token {shown}")
            yield

    def _microphone(self) -> contextlib.AbstractContextManager[object]:
        from deepprivacy_rt.build_live import make_microphone

        return make_microphone(self._live, self._engine.hear, self.view.message)

    def _work(self, interrupted: threading.Event) -> int:
        self._session.load()
        watcher = threading.Thread(target=self._watch, args=(interrupted,), name="status", daemon=True)
        watcher.start()
        status = self._engine.run(self._stop)
        if self._session.error is not None:
            raise self._session.error
        self.view.show(status)
        return 0

    def _watch(self, interrupted: threading.Event) -> None:
        """Show the status once a second, and stop when it is time."""
        begin = last = time.monotonic()
        while not self._stop.is_set():
            if interrupted.wait(0.02) or (self._duration is not None and time.monotonic() - begin >= self._duration):
                self._stop.set()
                return
            if time.monotonic() - last >= 1.0:
                last = time.monotonic()
                self.view.show(self._engine.status())
