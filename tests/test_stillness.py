"""What tests want by the clock is let off on a machine that stands still, and only there."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from stillness import ByTheClock, StillnessWatch
from waiting import WaitedInVain, until


def test_a_watch_that_is_held_up_counts_for_how_long(tmp_path: Path) -> None:
    watch = StillnessWatch(tmp_path / "watch")
    try:
        deadline = time.monotonic() + 20
        while watch.seconds() < 0.5:  # it may not have begun when it is stopped first
            assert time.monotonic() < deadline
            time.sleep(0.1)
            watch.process.send_signal(signal.SIGSTOP)
            time.sleep(0.6)
            watch.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
    finally:
        watch.stop()


@pytest.mark.parametrize(("still", "seconds"), [(0.0, 10.0), (0.19, 1.0), (1.9, 100.0)])
def test_where_the_machine_runs_a_failure_is_a_failure(still: float, seconds: float) -> None:
    stood, clock = iter([3.0, 3.0 + still]), iter([0.0, seconds])
    with pytest.raises(AssertionError, match="late"), ByTheClock(lambda: next(stood), lambda: next(clock)):
        raise AssertionError("late")


@pytest.mark.parametrize(("still", "seconds"), [(0.21, 1.0), (2.1, 100.0)])
def test_where_it_stands_still_a_failure_is_skipped_with_the_reason(still: float, seconds: float) -> None:
    stood, time_ = iter([3.0, 3.0 + still]), iter([0.0, seconds])
    clock, went_on = ByTheClock(lambda: next(stood), lambda: next(time_)), False
    with clock:
        raise AssertionError("late\nby much")
    went_on = True
    with pytest.raises(
        pytest.skip.Exception, match=f"test_x: the machine stood still for {still:.1f} of {seconds:.1f} s: late$"
    ):
        clock.settle("test_x")
    assert went_on


def test_what_is_no_assertion_is_never_let_off() -> None:
    with pytest.raises(ValueError, match="broken"), ByTheClock(time.monotonic):
        raise ValueError("broken")


def test_a_test_that_was_let_off_ends_as_skipped_and_others_as_they_do(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makeconftest(
        "import pytest\nfrom stillness import ByTheClock\n"
        "@pytest.fixture\ndef by_the_clock():\n"
        "    return ByTheClock(iter([0.0, 9.0]).__next__, iter([0.0, 10.0]).__next__)\n"
    )
    pytester.makepyfile(
        "def test_late(by_the_clock):\n    with by_the_clock:\n        assert False, 'late'\n"
        "def test_in_time(by_the_clock):\n    with by_the_clock:\n        assert True\n"
        "def test_wrong_too(by_the_clock):\n    with by_the_clock:\n        assert False, 'late'\n    assert 1 == 2\n"
    )
    done = pytester.runpytest_subprocess("-ra", "-p", "stillness", "-p", "no:xdist")
    done.assert_outcomes(passed=1, skipped=1, failed=1)
    done.stdout.fnmatch_lines(["*9.0 of 10.0 s: late*", "FAILED*::test_wrong_too*"])


@pytest.mark.parametrize(("still", "outcome"), [(3.0, "skipped"), (1.9, "failed")])
def test_only_a_machine_that_stood_still_excuses_waiting_in_vain(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, still: float, outcome: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makeconftest(
        "import pytest\nfrom stillness import ByTheClock\n"
        "@pytest.fixture\ndef by_the_clock():\n"
        f"    return ByTheClock(iter([0.0, {still}]).__next__, iter([0.0, 10.0]).__next__)\n"
    )
    pytester.makepyfile(
        "import subprocess\nfrom waiting import until\n"
        "def test_thread():\n    until(lambda: False, 0.1, lambda: 'two of three')\n"
        "def test_process():\n    subprocess.run(['sleep', '9'], timeout=0.1)\n"
        "def test_socket():\n    raise TimeoutError('timed out')\n"
        "def test_wrong():\n    assert 1 == 2\n"
    )
    done = pytester.runpytest_subprocess("-ra", "-p", "stillness", "-p", "no:xdist")
    if outcome == "skipped":
        done.assert_outcomes(skipped=3, failed=1)
        done.stdout.fnmatch_lines(
            ["*test_thread: * 3.0 of 10.0 s: not within 0 s: two of three", "FAILED*::test_wrong*"]
        )
    else:
        done.assert_outcomes(failed=4)


def test_waiting_ends_when_there_is_what_was_waited_for() -> None:
    begin = time.monotonic()
    until(lambda: time.monotonic() > begin + 0.1, 30)
    with pytest.raises(WaitedInVain, match="not within 0 s: nothing came"):
        until(lambda: False, 0.1)
