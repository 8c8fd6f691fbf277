"""One sink on a thread of its own: new safe frames at once, and something safe when there are none.

Sound goes out with the pictures that were captured with it. Where the slate is shown, there is silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from deepprivacy_rt.errors import EnvironmentProblem, UsageError
from deepprivacy_rt.pipeline.replacing import describe
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.latest import LatestSlot
from deepprivacy_rt.realtime.lip_sync import LipSync
from deepprivacy_rt.realtime.slate import slate
from deepprivacy_rt.realtime.stats import Counts, Meter, OutputStatus
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.stages import Sink, SoundSink
from deepprivacy_rt.types import SafeFrame

_GAPS = 2.5
"""Times the usual gap between two frames after which none will come, it seems."""
_GAP_KEPT = 0.9


@dataclass(frozen=True, slots=True)
class PresenterSettings:
    """Times in seconds.

    :ivar stall: without a new frame for so long, the last safe one is shown again.
    :ivar hold: without a new frame for so long, the slate is shown.
    :ivar longest_hold: the same on a machine so slow that frames come at such intervals: slate and picture in turns
        are worse to look at than a still.
    :ivar tick: time between two repeated frames or slates.
    :ivar stale: a frame captured longer ago than this is not shown any more.
    :ivar first_retry, last_retry: pauses before a sink that failed is opened again; each is twice the one before.
    :ivar size: of the slate before the first frame: width, height.
    """

    stall: float = 0.2
    hold: float = 0.6
    longest_hold: float = 2.0
    tick: float = 0.1
    stale: float = 2.0
    first_retry: float = 0.5
    last_retry: float = 5.0
    size: tuple[int, int] = (1280, 720)


class Presenter:
    """Writes to one sink until told to stop; opens it again when it fails.

    Never shows anything but safe frames and the slate: before the first frame, while the gate is closed and when no
    frame comes, that is the slate. A sink that fails for good (wrong usage, something missing) ends the presenter and
    leaves its error in :attr:`error`.
    """

    def __init__(
        self, name: str, make_sink: Callable[[], Sink], gate: Gate, settings: PresenterSettings | None = None
    ) -> None:
        self.name = name
        self.error: Exception | None = None
        self._make_sink = make_sink
        self._gate = gate
        self._settings = settings or PresenterSettings()
        self._size = self._settings.size
        self._slot: LatestSlot[SafeFrame] = LatestSlot()
        self._stop = threading.Event()
        self._counts, self._meter = Counts(), Meter()
        self._state, self._detail = "opening", ""
        self._shown: SafeFrame | None = None
        self._shown_at = self._gap = 0.0
        self._index, self._pts = 0, Fraction(-1)
        self._latency = 0.0
        self._sound = LipSync()
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        gate.listen(self._slot.wake)

    def start(self) -> None:
        """Start the thread; the sink is opened there."""
        self._thread.start()

    def offer(self, frame: SafeFrame) -> None:
        """Show this frame next. Returns at once; a frame that still waits is dropped."""
        if self._slot.put(frame):
            self._counts.add("dropped")

    def hear(self, sound: Sound) -> None:
        """Let this sound out with the pictures of its time. Returns at once."""
        self._sound.offer(sound)

    def finish(self) -> None:
        """Say that no frames will come any more; what waits is still written."""
        self._slot.close()

    def stop(self) -> None:
        """End as soon as the sink lets go."""
        self._stop.set()
        self._slot.close()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; return whether it ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def status(self) -> OutputStatus:
        """Return the account so far."""
        count = self._counts
        return OutputStatus(
            name=self.name,
            state=self._state,
            detail=self._detail,
            written=count["written"],
            repeated=count["repeated"],
            slates=count["slates"],
            dropped=count["dropped"],
            fps=round(self._meter.fps(time.monotonic()), 1),
            latency_ms=self._meter.latency_ms(),
            sound_seconds=round(self._sound.released, 1),
        )

    def _run(self) -> None:
        pause = self._settings.first_retry
        while not self._over():
            written = self._counts["written"]
            try:
                with self._make_sink() as sink:
                    self._present(sink)
                self._state, self._detail = "ended", ""
                return
            except (UsageError, EnvironmentProblem) as error:
                self._state, self._detail, self.error = "failed", str(error), error
                return
            except Exception as error:
                self._state, self._detail = "lost", describe(self.name, error)
            if self._counts["written"] > written:
                pause = self._settings.first_retry
            self._stop.wait(pause)
            pause = min(2 * pause, self._settings.last_retry)

    def _over(self) -> bool:
        return self._stop.is_set() or self._slot.closed

    def _present(self, sink: Sink) -> None:
        timeout = 0.0  # the slate comes first, whatever else is there
        while not self._stop.is_set():
            frame = self._slot.take(timeout)
            if frame is None and self._slot.closed:
                return
            now = time.monotonic()
            if frame is not None and now - frame.pts > self._settings.stale:
                self._counts.add("dropped")
                frame = None
            timeout = self._write(sink, frame, now)

    def _write(self, sink: Sink, frame: SafeFrame | None, now: float) -> float:
        """Write what may be shown now; return how long to wait for the next frame."""
        settings = self._settings
        if frame is not None:
            self._latency = now - float(frame.pts)
            height, width = frame.image.shape[:2]
            self._size = width, height
            self._mark(now)
            self._shown = frame
        if self._gate.closed or self._shown is None or now - self._shown_at > self._hold():
            kind, picture = "slates", slate(*self._size, 0, Fraction(0))
            self._shown = None
        elif frame is not None:
            kind, picture = "written", frame
        else:
            kind, picture = "repeated", self._shown
        self._write_sound(sink, kind == "slates", now)
        sink.write(self._numbered(picture, frame if kind == "written" else None, now))
        self._state, self._detail = "live", ""
        self._counts.add(kind)
        if kind == "written" and frame is not None:
            done = time.monotonic()
            self._meter.add(done, done - float(frame.pts))
            return settings.stall
        return settings.tick

    def _mark(self, now: float) -> None:
        """Note that a new frame came: a long gap counts at once, and is forgotten over the frames after it."""
        gap = min(now - self._shown_at, self._settings.longest_hold / _GAPS) if self._shown_at else 0.0
        self._gap, self._shown_at = max(gap, _GAP_KEPT * self._gap), now

    def _hold(self) -> float:
        return max(self._settings.hold, _GAPS * self._gap)

    def _write_sound(self, sink: Sink, silent: bool, now: float) -> None:
        """Let sound out up to the picture that is due now, or none at all beside the slate."""
        if not isinstance(sink, SoundSink):
            return
        if silent:
            self._sound.forget(now)
            sink.mute()
            return
        for sound in self._sound.release(now - self._latency):
            sink.write_sound(sound)

    def _numbered(self, picture: SafeFrame, frame: SafeFrame | None, now: float) -> SafeFrame:
        """Give it the next index and a rising time: the capture's; for other pictures that of one which is due now."""
        self._index += 1
        due = Fraction(now - self._latency).limit_denominator(1_000_000)
        wanted = frame.pts if frame is not None else due
        self._pts = max(wanted, self._pts + Fraction(1, 1000))
        return replace(picture, index=self._index, pts=self._pts)
