"""Sound of a microphone."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av

from deepprivacy_rt.errors import EnvironmentProblem, SourceError
from deepprivacy_rt.media.container import reason, shown
from deepprivacy_rt.sound import SOUND_RATE, Sound
from deepprivacy_rt.sources.sound import SoundDecoder
from deepprivacy_rt.sources.stream_clock import StreamClock

_FORMATS = {"linux": ("alsa", "{}"), "darwin": ("avfoundation", "none:{}"), "win32": ("dshow", "audio={}")}
"""By ``sys.platform``: FFmpeg's format that reads microphones there, and how it wants them named."""
_CURE = {"linux": "`arecord -l` lists cards; write hw:CARD,DEVICE or plughw:CARD,DEVICE"}
_ALSA_FOLDER = Path("/usr/share/alsa")
_RETRY_S = 2.0
_JOIN_S = 0.5


class Microphone:
    """Reads a sound device on a thread of its own, and opens it again when it is lost. A context manager."""

    def __init__(self, device: str, on_sound: Callable[[Sound], None], report: Callable[[str], None]) -> None:
        """
        :param device: ALSA's name on Linux (``default``, ``hw:1,0``), the name or number that FFmpeg lists elsewhere.
        :param on_sound: gets the sound, in order, on the thread.
        :param report: is told in one line when the device is lost and when it is back.
        """
        self._name = f"microphone {shown(Path(device))}"
        self._device, self._on_sound, self._report = device, on_sound, report
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._container: av.container.InputContainer | None = None

    def __enter__(self) -> Microphone:
        """Open the device. Raises SourceError, EnvironmentProblem."""
        self._container = self._open()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End; a read that blocks is left behind."""
        self._closing.set()
        self._thread.join(_JOIN_S)

    def _open(self) -> av.container.InputContainer:
        name, pattern = _FORMATS.get(sys.platform, ("", ""))
        if name not in av.formats_available:
            raise EnvironmentProblem(f"{self._name}: this build of PyAV reads no microphones; leave out --audio-device")
        if name == "alsa" and _ALSA_FOLDER.is_dir():
            os.environ.setdefault("ALSA_CONFIG_DIR", str(_ALSA_FOLDER))  # the library in PyAV's wheel looks elsewhere
        try:
            return av.open(pattern.format(self._device), format=name, timeout=5.0)
        except (av.FFmpegError, OSError, ValueError) as error:
            cure = _CURE.get(sys.platform, "check its name and the permission")
            raise SourceError(f"{self._name}: cannot be opened: {reason(error)}; {cure}") from None

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._container is not None:
                why = self._read(self._container)
                self._container.close()
                self._container = None
                if not self._closing.is_set():
                    self._report(f"{self._name} lost: {why}; trying again")
            self._closing.wait(_RETRY_S)
            try:
                if not self._closing.is_set():
                    self._container = self._open()
                    self._report(f"{self._name} is back")
            except (SourceError, EnvironmentProblem):
                continue

    def _read(self, container: av.container.InputContainer) -> str:
        """Read until the device is lost; return why."""
        decoder, clock = SoundDecoder(), StreamClock()
        try:
            for packet in container.demux(container.streams.audio[0]):
                for samples, stream_time in decoder.decode(packet):
                    begin = float(stream_time)
                    clock.note(time.monotonic(), begin + len(samples) / SOUND_RATE)
                    self._on_sound(Sound(samples, clock.time_of(begin)))
                if self._closing.is_set():
                    return ""
        except (av.FFmpegError, OSError, IndexError) as error:
            return reason(error)
        return "it has ended"
