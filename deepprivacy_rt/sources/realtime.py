"""A video file played at its own speed, as if it were a camera: for tests and demonstrations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.media.container import shown
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.sources.file import FileSource
from deepprivacy_rt.sources.live import HopelessError, LiveSource, Picture, SourceState
from deepprivacy_rt.sources.sound import FileSound

_BEHIND_NS = 1_000_000_000


class RealtimeFileSource(LiveSource):
    """Delivers the frames of a file when they are due, once or for ever. A consumer that is late misses frames.

    They, and the sound, carry the time at which they were due. A machine that cannot decode as fast as the file plays
    shows it slower.
    """

    def __init__(
        self,
        path: Path,
        *,
        loop: bool = False,
        on_state: Callable[[SourceState], None] | None = None,
        on_sound: Callable[[Sound], None] | None = None,
    ) -> None:
        """:param loop: begin again at the end, without a pause."""
        super().__init__(shown(path), on_state=on_state, on_sound=on_sound)
        self._path = path
        self._loop = loop

    def _pictures(self) -> Generator[Picture, None, None]:
        start_ns = time.monotonic_ns()
        try:
            while not self.closing:
                start_ns = yield from self._once(start_ns)
                if not self._loop:
                    return
        except SourceError as error:
            raise HopelessError(str(error).removeprefix(f"{self.name}: ")) from None

    def _once(self, start_ns: int) -> Generator[Picture, None, int]:
        """Play the file and return when it ends: one frame's time after its last frame."""
        with FileSource(self._path) as file, self._sound() as sound:
            due_ns, end = start_ns, file.info.start
            for frame in file:
                end = frame.pts
                due_ns = start_ns + _nanoseconds(frame.pts - file.info.start)
                self._closing.wait(max(0, due_ns - time.monotonic_ns()) / 1e9)
                if self.closing:
                    break
                now = time.monotonic_ns()
                if now - due_ns > _BEHIND_NS:
                    start_ns += now - due_ns
                    due_ns = now
                self._hear_until(sound, frame.pts, start_ns / 1e9 - float(file.info.start))
                yield Picture(frame.image, due_ns)
            step = 1 / file.info.average_rate
            self._hear_until(sound, end + step, start_ns / 1e9 - float(file.info.start))
            return due_ns + _nanoseconds(step)

    def _sound(self) -> contextlib.AbstractContextManager[FileSound | None]:
        """Open the sound track, where it is asked for."""
        if self._on_sound is None:
            return contextlib.nullcontext()
        sound = FileSound(self._path)
        self._has_sound = sound.present
        return contextlib.closing(sound)

    def _hear_until(self, sound: FileSound | None, end: Fraction, origin_s: float) -> None:
        """Pass on the sound before a time of the file. :param origin_s: when the file's time 0 was due."""
        for piece in sound.until(end) if sound is not None else ():
            self._hear(piece.samples, origin_s + float(piece.time))


def _nanoseconds(seconds: Fraction) -> int:
    return int(seconds * 10**9)
