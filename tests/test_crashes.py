"""A test that takes its process down is reported with the place, or with the lack of one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("signal", "said"),
    [("SIGSEGV", ["*Segmentation fault*", "*in falls*"]), ("SIGKILL", ["*killed from outside*"])],
)
def test_the_report_says_where(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, signal: str, said: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makeini("[pytest]")
    pytester.makepyfile(
        f"""
        import os
        import signal

        def falls():
            os.kill(os.getpid(), signal.{signal})

        def test_of_it():
            falls()
        """
    )
    done = pytester.runpytest_subprocess("-p", "crashes", "-n", "1", timeout=120)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*crashed while running*", *said])
