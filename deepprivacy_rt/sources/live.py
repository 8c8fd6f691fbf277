"""What all live sources share: a reader thread with a newest-frame slot, reconnecting, and what is told about it."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeVar

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.sound import Samples, Sound
from deepprivacy_rt.sources.newest import Newest
from deepprivacy_rt.types import Frame, Image

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
_WAIT_PART = 0.1
_JOIN_S = 1.5

Live = TypeVar("Live", bound="LiveSource")


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a live source tells about itself, when it changes.

    :ivar kind: "connecting" until the first picture, "live" while pictures come, "lost" while none come and the
        source tries to get them back.
    :ivar detail: one line, without passwords.
    """

    kind: Literal["connecting", "live", "lost"]
    detail: str


class Picture(NamedTuple):
    """A picture and when it was captured.

    :ivar image: (h, w, 3) uint8 RGB, upright.
    :ivar time_ns: ``time.monotonic_ns()`` at capture, or at arrival where the device does not say.
    """

    image: Image
    time_ns: int


class ConnectionLost(Exception):
    """No more pictures come over this connection; the next one may bring some. The text says why, on one line."""


class HopelessError(Exception):
    """Connecting failed in a way that another try does not cure. The text says why and how to cure it, on one line."""


def wait_before_retry(lost_s: float) -> float:
    """Return seconds to wait before the next try, ``lost_s`` seconds after the loss: 0.2 at first, 5 at most.

    A tenth of the time that has passed: a camera that comes back is picked up soon, one that stays away costs little.
    """
    return min(max(FIRST_WAIT_S, _WAIT_PART * lost_s), LONGEST_WAIT_S)


class LiveSource(ABC):
    """Frames of something that goes on for hours: read by a thread of its own, connected again whenever it is lost.

    The thread decodes every picture, so that none queues up, and keeps the newest for the consumer. ``Frame.pts`` is
    ``time.monotonic()`` at capture. A frame may differ in size from the one before. Iterating ends after ``close()``,
    and raises SourceError where the first connection fails hopelessly or the retries are used up. Connecting happens
    in the background: entering the context returns at once. Use as a context manager; iterate once.

    :ivar name: what is read, printable, without passwords.
    """

    def __init__(
        self,
        name: str,
        *,
        on_state: Callable[[SourceState], None] | None = None,
        on_sound: Callable[[Sound], None] | None = None,
        max_retries: int | None = None,
    ) -> None:
        """
        :param on_state: is told every change, in the reader's thread; what it raises ends the source.
        :param on_sound: gets the sound, in order, in the reader's thread; None: it is not read.
        :param max_retries: tries in a row that may fail before the source gives up; None: never.
        """
        self.name = name
        self._on_state = on_state
        self._on_sound = on_sound
        self._has_sound = False
        self._max_retries = max_retries
        self._state: SourceState | None = None
        self._newest: Newest[Picture] = Newest()
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"source {name}", daemon=True)

    @abstractmethod
    def _pictures(self) -> Generator[Picture, None, None]:
        """Connect once and yield pictures. Runs in the reader's thread and looks at ``closing`` often.

        Returns when nothing will ever come again; raises ConnectionLost or HopelessError.
        """

    @property
    def dropped(self) -> int:
        """How many pictures were read that nobody took in time."""
        return self._newest.replaced

    @property
    def closing(self) -> bool:
        """Whether ``close()`` was called."""
        return self._closing.is_set()

    def __enter__(self: Live) -> Live:
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration, now, and the reader's thread. May be called from any thread, and more than once.

        A read that blocks in the media library holds the thread up, not the caller: it then ends by itself when the
        time limit of the read is over.
        """
        self._closing.set()
        self._newest.end(discard=True)
        if self._reader.is_alive() and threading.current_thread() is not self._reader:
            self._reader.join(_JOIN_S)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame, as soon as there is one that was not yielded before. Raises SourceError."""
        last_ns = -1
        for index in itertools.count():
            picture = self._newest.take()
            if picture is None:
                return
            last_ns = max(picture.time_ns, last_ns + 1)
            yield Frame(picture.image, index, Fraction(last_ns, 10**9))

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            self._connect_for_ever()
        except BaseException as raised:  # whatever it is, the consumer gets it: a reader never dies silently
            error = raised
        self._newest.end(error)

    def _connect_for_ever(self) -> None:
        self._tell("connecting", f"opening {self.name}")
        was_live, failures, lost_at = False, 0, time.monotonic()
        while not self.closing:
            try:
                for picture in self._one_connection():
                    was_live, failures, lost_at = True, 0, time.monotonic()
                    self._newest.put(picture)
                return
            except HopelessError as hopeless:
                cause = str(hopeless)
                if not was_live:
                    raise SourceError(f"{self.name}: {cause}") from None
            except ConnectionLost as lost:
                cause = str(lost)
            if self.closing:
                return
            self._tell("lost" if was_live else "connecting", f"{self.name}: {cause}; trying again")
            if self._max_retries is not None and failures >= self._max_retries:
                raise SourceError(f"{self.name}: {cause} (gave up after {failures} retries)")
            failures += 1
            self._closing.wait(wait_before_retry(time.monotonic() - lost_at))

    def _one_connection(self) -> Iterator[Picture]:
        with contextlib.closing(self._pictures()) as pictures:
            size = None
            for picture in pictures:
                height, width = picture.image.shape[:2]
                if size != (width, height):
                    size = width, height
                    self._tell("live", f"{self.name}: {width}x{height}{self._about_sound()}")
                yield picture

    def _about_sound(self) -> str:
        return "" if self._on_sound is None else ", with sound" if self._has_sound else ", without sound"

    def _hear(self, samples: Samples, time_s: float) -> None:
        """Pass sound on. :param time_s: ``time.monotonic()`` at which its first sample was captured."""
        if self._on_sound is not None and not self.closing:
            self._on_sound(Sound(samples, time_s))

    def _tell(self, kind: Literal["connecting", "live", "lost"], detail: str) -> None:
        state = SourceState(kind, detail)
        if state != self._state and not self.closing:
            self._state = state
            if self._on_state is not None:
                self._on_state(state)
