"""A preview window. Shows the anonymized picture only, and reports keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from deepprivacy_rt.errors import EnvironmentProblem
from deepprivacy_rt.sinks import wire
from deepprivacy_rt.sinks.child_sink import ChildSink
from deepprivacy_rt.sinks.window_child import CLOSED, NOT_INSTALLED
from deepprivacy_rt.types import SafeFrame

_START = 15.0


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """A window on the desktop.

    :ivar size: width and height of the picture, even; None takes those of the first frame.
    :ivar patience: seconds after which a display that takes no more pictures counts as hanging.
    """

    title: str = "DeepPrivacy RT: what others see"
    size: tuple[int, int] | None = None
    patience: float = 5.0


class WindowSink(ChildSink):
    """Shows frames, up to 60 per second. After the user has closed the window it takes frames and forgets them."""

    def __init__(self, settings: WindowSettings, on_key: Callable[[str], None] = lambda key: None) -> None:
        """
        :param on_key: gets "p", "escape", "space", "enter", "close" ...; called on a thread of the sink's, so it
            returns soon and touches nothing without a lock.
        """
        super().__init__(
            "deepprivacy_rt.sinks.window_child", "preview window", settings.size, Fraction(60), settings.patience
        )
        self._settings = settings
        self._on_key = on_key
        self._closed = False

    def __enter__(self) -> WindowSink:
        """Open the window. Raises EnvironmentProblem where there is no display."""
        self._start({"title": self._settings.title})
        if not self.wait_until_open(_START):
            self._give_up()
        return self

    def write(self, frame: SafeFrame) -> None:
        """Show the next frame. Raises what :meth:`ChildSink.write` does."""
        if not self._closed:
            super().write(frame)
        elif type(frame) is not SafeFrame:
            raise TypeError(f"a sink takes SafeFrame only, not {type(frame).__name__}")

    def _give_up(self) -> None:
        child = self._child
        assert child is not None
        child.close(at_once=True)
        kind, why = child.failure or (wire.FAILED, f"it did not open within {_START:g} s")
        cure = "run on the desktop, not over ssh or in a container, or leave out the sink 'window'"
        if kind == wire.IMPOSSIBLE and why.startswith(NOT_INSTALLED):
            why, cure = (
                "pygame-ce is not installed",
                "pip install 'deepprivacy-rt[window]', or leave out the sink 'window'",
            )
        else:
            why = f"the display cannot be reached (DISPLAY={os.environ.get('DISPLAY', '')}): {why}"
        raise EnvironmentProblem(f"preview window: {why}; {cure}")

    def _happened(self, name: str, detail: str) -> None:
        super()._happened(name, detail)
        if name == wire.KEY:
            self._closed = self._closed or detail == CLOSED
            self._on_key(detail)

    def _cure_of_a_stall(self) -> str:
        return "so the window was closed: the display hangs"
