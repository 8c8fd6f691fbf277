"""From a stream's own time to ours."""

from __future__ import annotations

_PART = 0.05
_JUMP_S = 0.5


class StreamClock:
    """Learns how long after its time stamp something arrives; the mean of the last second or so.

    :ivar known: whether anything has arrived yet.
    """

    def __init__(self) -> None:
        self._delay: float | None = None

    @property
    def known(self) -> bool:
        return self._delay is not None

    def note(self, arrival: float, stream_time: float) -> None:
        """Note an arrival. :param arrival: ``time.monotonic()``. :param stream_time: seconds; may jump."""
        delay = arrival - stream_time
        if self._delay is None or abs(delay - self._delay) > _JUMP_S:
            self._delay = delay
        else:
            self._delay += _PART * (delay - self._delay)

    def time_of(self, stream_time: float) -> float:
        """Return ``time.monotonic()`` at which what has this time stamp arrives; the time stamp before any arrival."""
        return stream_time + (self._delay or 0.0)
