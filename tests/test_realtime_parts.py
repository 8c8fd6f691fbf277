"""The parts of the live engine: slot, gate, slate, governor."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from deepprivacy_rt.realtime.gate import ARM_SECONDS, Gate
from deepprivacy_rt.realtime.governor import PACES, Governor
from deepprivacy_rt.realtime.latest import LatestSlot
from deepprivacy_rt.realtime.slate import slate


def test_the_newest_item_wins_and_drops_are_told() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert [slot.put(1), slot.put(2), slot.take(0), slot.put(3)] == [False, True, 2, False]
    slot.close()
    assert [slot.take(0), slot.take(1)] == [3, None]


def test_waiting_ends_with_an_item_a_wake_or_a_close() -> None:
    for end in ("put", "wake", "close"):
        slot: LatestSlot[int] = LatestSlot()
        threading.Timer(0.05, slot.put if end == "put" else getattr(slot, end), (7,) if end == "put" else ()).start()
        begin = time.monotonic()
        assert slot.take(20) == (7 if end == "put" else None)
        assert time.monotonic() - begin < 10


def test_panic_is_one_step_and_back_are_two() -> None:
    now, told = [0.0], []
    gate = Gate(lambda: now[0])
    gate.listen(lambda: told.append(gate.closed))
    gate.arm()
    gate.panic()
    assert gate.closed and told[-1] is True
    assert not gate.resume(), "armed before the panic"
    gate.arm()
    assert gate.armed and gate.closed
    now[0] = ARM_SECONDS + 1
    assert not gate.resume(), "armed too long ago"
    gate.arm()
    gate.panic()
    assert not gate.resume(), "armed before a second panic"
    gate.arm()
    assert gate.resume()
    assert not gate.closed and told[-1] is False


def test_a_slate_covers_everything_at_any_size() -> None:
    for width, height in ((1280, 720), (2, 2), (641, 359), (100, 2000)):
        picture = slate(width, height, 3, Fraction(1, 2))
        assert picture.image.shape == (height, width, 3)
        assert picture.cover.all()
    assert len(np.unique(slate(640, 480, 0, Fraction(0)).image.reshape(-1, 3), axis=0)) == 2


class Detector:
    pace: tuple[Fraction, Fraction] | None = None

    def set_pace(self, quick: Fraction, full: Fraction) -> None:
        self.pace = quick, full


class Replacer:
    turns_from: int | None = None

    def take_turns(self, faces: int) -> None:
        self.turns_from = faces


def test_effort_falls_with_drops_and_rises_when_there_is_room() -> None:
    said: list[str] = []
    governor, detector, replacer = Governor(said.append), Detector(), Replacer()
    governor.attach(detector, replacer)
    start, pace = governor.effort, detector.pace
    assert replacer.turns_from == 2
    governor.update(1, 30, 0, busy=0.9)
    assert (governor.effort, said) == (start, [])
    governor.update(1, 60, 10, busy=1.0)
    assert replacer.turns_from == 1 and detector.pace == pace  # drawing less comes before looking less
    for second in range(3, 7):
        governor.update(1, 30 * second, 5 * second, busy=1.0)
    assert governor.effort == PACES[-1].name
    assert detector.pace == (PACES[-1].quick, PACES[-1].full)
    assert len(said) == 3 and all(line.startswith("too slow") for line in said)
    for second in range(7, 70):
        governor.update(1, 30 * second, 30, busy=0.3)
    assert governor.effort == PACES[0].name and replacer.turns_from == 2
    assert said[-1].startswith("room to spare")


@pytest.mark.parametrize("paced", [True, False])
def test_where_no_effort_is_low_enough_it_is_said_once_what_helps(paced: bool) -> None:
    said: list[str] = []
    governor = Governor(said.append)
    governor.update(60, 1000, 1000, busy=1.0)  # nothing is ready yet
    governor.attach(Detector() if paced else None, Replacer())
    captured, dropped = 1000, 1000

    def lose(share: float, seconds: int) -> None:
        nonlocal captured, dropped
        for _ in range(seconds):
            captured, dropped = captured + 30, dropped + round(30 * share)
            governor.update(1, captured, dropped, busy=1.0)

    lose(0.5, len(PACES) - 2 + 4 if paced else 4)
    lose(0.1, 1)
    lose(0.5, 4)
    assert not any("--size" in line for line in said)
    lose(0.5, 1)
    assert "50%" in said[-1] and "--size" in said[-1]
    lose(0.5, 60)
    assert sum("--size" in line for line in said) == 1


def test_a_look_at_every_frame_takes_more_room_than_other_steps() -> None:
    governor = Governor(print)
    governor.attach(Detector(), Replacer())
    start = governor.effort
    governor.update(1, 30, 10, busy=0.5)
    assert governor.effort != start
    for second in range(2, 60):
        governor.update(1, 30 * second, 10, busy=0.5)
    assert governor.effort == start != PACES[0].name
    for second in range(60, 90):
        governor.update(1, 30 * second, 10, busy=0.39)
    assert governor.effort == PACES[0].name


def test_effort_is_left_alone_without_frames_or_a_pace() -> None:
    said: list[str] = []
    governor = Governor(said.append)
    governor.update(1, 30, 30, busy=1)
    governor.attach(Detector(), Replacer())
    governor.update(1, 30, 30, busy=1)
    governor.attach(None, Replacer())
    governor.update(1, 60, 60, busy=1)
    assert said == []


def test_stages_that_finish_nothing_have_no_room_to_spare() -> None:
    said: list[str] = []
    governor = Governor(said.append)
    governor.attach(Detector(), Replacer())
    for second in range(1, 60):
        governor.update(1, 30 * second, 0, busy=0.0)  # the first call of a network takes long on a slow machine
    assert said == []
