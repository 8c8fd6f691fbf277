"""A temporary folder for original faces: what a run that was killed left there, the next one removes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWNER = ".owner"
"""A file that its run has locked for as long as it lives: the lock of a dead process is gone, however it died."""


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it at the end.

    :param prefix: of its name; abandoned folders are told by it. Raises OSError.
    """
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        with (folder / f"{_OWNER}.new").open("w") as owner:
            _lock(owner.fileno())
            (folder / f"{_OWNER}.new").rename(folder / _OWNER)  # nobody may see it unlocked
            yield folder


def remove_abandoned(prefix: str) -> int:
    """Remove this user's folders whose run is dead, and return how many. Where there are no such locks: none."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _is_abandoned(folder: Path) -> bool:
    if sys.platform == "win32":
        return False
    try:
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.getuid():
            return False
        with (folder / _OWNER).open() as owner:
            return _lock(owner.fileno())
    except OSError:
        return False  # gone meanwhile, or not one of these


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed; say whether nobody else has. Where a file system knows no locks: no."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
