"""A sink that writes nothing, for benchmarks and tests."""

from __future__ import annotations

from deepprivacy_rt.types import SafeFrame


class NullSink:
    """Counts frames and forgets them.

    :ivar frames: how many came.
    """

    def __init__(self) -> None:
        self.frames = 0

    def __enter__(self) -> NullSink:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def write(self, frame: SafeFrame) -> None:
        """Take the next frame."""
        self.frames += 1
