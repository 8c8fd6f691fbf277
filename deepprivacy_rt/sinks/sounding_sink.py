"""A sink with a child process that takes sound, too."""

from __future__ import annotations

import time

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.sinks.child_sink import ChildSink
from deepprivacy_rt.sound import Sound

_PAUSE_S = 0.5
"""So long the sound may be late before the child puts silence in its place; pictures wait for it in the muxer."""


class SoundingSink(ChildSink):
    """Base: gives pictures and sound to a child process. No method but ``__exit__`` waits."""

    _heard_at = float("-inf")

    def write_sound(self, sound: Sound) -> None:
        """Hand sound on; an output without a sound track ignores it. Raises SinkError where it is not open."""
        if self._child is None:
            raise SinkError(f"{self._shown}: is not open")
        self._heard_at = time.monotonic()
        self._child.send_sound(sound.samples, sound.time)

    def mute(self) -> None:
        """Forget sound that waits; the next pictures are silent."""
        self._heard_at = float("-inf")
        if self._child is not None:
            self._child.forget_sound()

    def _silent(self) -> bool:
        return time.monotonic() - self._heard_at >= _PAUSE_S
