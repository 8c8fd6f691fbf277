"""How long the machine stood still while a test ran: what a test wants by the clock says nothing then."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType

import av
import psutil
import pytest
from waiting import WaitedInVain

_WATCH = """
import mmap, os, struct, sys, time
parent, lost = os.getppid(), 0.0
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
    while os.getppid() == parent:
        begin = time.monotonic()
        time.sleep(0.02)
        late = time.monotonic() - begin - 0.02
        if late > 0.05:
            lost += late
            struct.pack_into("d", shared, 0, lost)
"""
MOST_S, MOST_SHARE = 0.2, 0.02
"""Standing still for so long, and for this share of the time, counts: a machine that is only busy stays far below."""
GIVEN_UP = WaitedInVain, TimeoutError, subprocess.TimeoutExpired, psutil.TimeoutExpired, av.ExitError
"""What waiting that ran out raises. PyAV's own limits end in its ExitError."""
GIVE_UP_SHARE = 0.2
"""Waiting is long anyhow: only a machine that stood still for this share of the time is a reason that it ran out."""


class StillnessWatch:
    """A process that does nothing but sleep, and counts by how much it is woken too late, where that is over 50 ms.

    Not a thread: that would wait for the interpreter lock as well.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.process = subprocess.Popen([sys.executable, "-S", "-c", _WATCH, file])

    def seconds(self) -> float:
        """Return for how long the machine stood still so far."""
        return float(struct.unpack("d", self._file.read_bytes())[0])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class ByTheClock:
    """Around what a test wants by the clock: where that fails and the machine stood still meanwhile, it is let off.

    The test goes on, for what is wanted on any machine, as that no face is ever shown, stands outside; it ends as
    skipped, with the reason.

    :param still_seconds: for how long the machine stood still, since some time.
    """

    def __init__(self, still_seconds: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._still_seconds, self._clock = still_seconds, clock
        self._since, self._still = clock(), still_seconds()
        self._let_off: list[str] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, AssertionError):
            return False
        still, elapsed = self._stood_still()
        if still <= max(MOST_S, MOST_SHARE * elapsed):
            return False
        self._let_off.append(f"the machine stood still for {still:.1f} of {elapsed:.1f} s: {_first_line(error)}")
        return True

    def give_up(self, name: str, error: Exception) -> None:
        """End a test that waited in vain as skipped where the machine stood still for much of the time."""
        still, elapsed = self._stood_still()
        if still > GIVE_UP_SHARE * elapsed:
            pytest.skip(f"{name}: the machine stood still for {still:.1f} of {elapsed:.1f} s: {_first_line(error)}")

    def _stood_still(self) -> tuple[float, float]:
        return self._still_seconds() - self._still, self._clock() - self._since

    def settle(self, name: str) -> None:
        """End a test that has passed but for what was let off as skipped."""
        let_off, self._let_off = self._let_off, []
        if let_off:
            pytest.skip(f"{name}: {'; '.join(let_off)}")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


@pytest.fixture(scope="session")
def stillness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StillnessWatch]:
    """Return what watches whether the machine stands still."""
    watch = StillnessWatch(tmp_path_factory.mktemp("stillness") / "watch")
    yield watch
    watch.stop()


@pytest.fixture(autouse=True)
def by_the_clock(stillness: StillnessWatch) -> ByTheClock:
    """Return the context for what this test wants by the clock."""
    return ByTheClock(stillness.seconds)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Say of a test that it was not judged by the clock, or could not be run to its end on a machine that stood still.

    Only waiting that ran out is let off. What a test found wrong is wrong on any machine.
    """
    clock = pyfuncitem.funcargs["by_the_clock"]
    assert isinstance(clock, ByTheClock)
    try:
        result = yield
    except GIVEN_UP as error:
        clock.give_up(pyfuncitem.name, error)
        raise
    clock.settle(pyfuncitem.name)
    return result
