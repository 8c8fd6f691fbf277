"""What sinks with a child process have in common: fixed size, bounded time, errors on one line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fractions import Fraction

from deepprivacy_rt.errors import EnvironmentProblem, SinkError
from deepprivacy_rt.media.letterbox import even, letterbox
from deepprivacy_rt.media.rate import RateLimit
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.sinks.child import Child
from deepprivacy_rt.types import SafeFrame

STREAM_KEY = "DEEPPRIVACY_STREAM_KEY"
"""Environment variable with the stream key."""
SRT_PASSPHRASE = "DEEPPRIVACY_SRT_PASSPHRASE"
"""Environment variable with the passphrase of SRT outputs."""


class ChildSink:
    """Base: gives pictures to a child process. ``write`` never waits for it, ``__exit__`` 1.4 s at most.

    :ivar encoder: what encodes, once the output is open; else "".
    """

    def __init__(self, module: str, shown: str, size: tuple[int, int] | None, rate: Fraction, patience: float) -> None:
        """
        :param module: the child's.
        :param shown: name of the output in messages, without secrets.
        :param size: width and height, or None for that of the first frame.
        :param rate: pictures per second at most.
        :param patience: seconds without progress after which the child is given up.
        """
        self._module = module
        self._shown = shown
        self._size = size
        self._limit = RateLimit(rate)
        self._patience = patience
        self._child: Child | None = None
        self._skipped = 0
        self.encoder = ""

    @property
    def dropped(self) -> int:
        """How many frames were left out so far, for the rate or because the child was too slow."""
        return self._skipped + (self._child.dropped if self._child is not None else 0)

    @property
    def pid(self) -> int | None:
        """The child process, while it runs."""
        return self._child.pid if self._child is not None else None

    def _start(self, settings: Mapping[str, object]) -> None:
        """Start the child. Raises SinkError."""
        try:
            self._child = Child(self._module, settings, self._happened, hidden=(STREAM_KEY, SRT_PASSPHRASE))
        except OSError as error:
            raise SinkError(f"{self._shown}: no process can be started: {error.strerror or error}") from error

    def __exit__(self, kind: object = None, *rest: object) -> None:
        """End the output in order if it can be within a second, else by force. Raises nothing."""
        if self._child is not None:
            # Whoever has stalled once would only waste the second.
            hopeless = self._child.failure is not None or self._child.stalled(min(self._patience, 2.0))
            self._child.close(at_once=hopeless)

    def write(self, frame: SafeFrame) -> None:
        """Hand the next frame on; frames beyond the rate, or too many for the output, are left out.

        :raises TypeError: it is no SafeFrame.
        :raises SinkError: the output has failed or stalled; it was ended, and a new sink may be tried.
        :raises EnvironmentProblem: this machine lacks something, and trying again will not help.
        """
        if type(frame) is not SafeFrame:
            raise TypeError(f"a sink takes SafeFrame only, not {type(frame).__name__}")
        if self._child is None:
            raise SinkError(f"{self._shown}: is not open")
        self._check(self._child)
        if not self._limit.admits(frame.pts):
            self._skipped += 1
            return
        if self._size is None:
            self._size = even((frame.image.shape[1], frame.image.shape[0]))
        self._child.send(letterbox(frame.image, self._size), frame.pts, silent=self._silent())

    def _silent(self) -> bool:
        """Say whether there is no sound to the next picture."""
        return True

    def _check(self, child: Child) -> None:
        if child.failure is not None:
            kind, why = child.failure
            child.close(at_once=True)
            text = f"{self._shown}: {self._explained(why)}"
            raise EnvironmentProblem(text) if kind == wire.IMPOSSIBLE else SinkError(text)
        if child.stalled(self._patience):
            child.close(at_once=True)
            raise SinkError(f"{self._shown}: nothing has moved for {self._patience:g} s, {self._cure_of_a_stall()}")

    def _explained(self, why: str) -> str:
        """Turn the child's reason into a cause and a cure."""
        return why

    def _cure_of_a_stall(self) -> str:
        return "so it was given up"

    def _happened(self, name: str, detail: str) -> None:
        """Take an event, on the listening thread."""
        if name == wire.OPENED:
            self.encoder = detail

    def wait_until_open(self, seconds: float) -> bool:
        """Wait until the first picture has gone out, the child has failed, or the time is over; for tests and tools."""
        until = time.monotonic() + seconds
        child = self._child
        return child is not None and child.wait_for(lambda: bool(self.encoder), until - time.monotonic())
