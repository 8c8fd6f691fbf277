"""Small files that a run writes beside its outputs (report, preview), and text that fits on one line."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from deepprivacy_rt.errors import SinkError, UsageError


def one_line(text: object) -> str:
    """Return text that can be printed anywhere on one line: control characters and undecodable bytes are escaped."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return shown.encode("utf-8", "backslashreplace").decode()


def check_side_file(path: Path, option: str, others: Iterable[Path], *, overwrite: bool) -> None:
    """Raise UsageError where ``path`` cannot be written, or is one of ``others`` (inputs and outputs).

    Called before any work, so that hours of it do not end in a typing error.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder")
    here = place(path)
    for other in others:
        if place(other) == here or same_file(path, other):
            raise UsageError(f"{option} {path}: is an input or output of this run; choose another name")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{option} {path}: exists; --overwrite replaces it")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from error


def write_side_file(path: Path, content: bytes) -> None:
    """Write a small file under a temporary name and rename it. Raises SinkError that names it and the cause."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).chmod(0o666 & ~_umask())  # mkstemp makes private files
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error


def place(path: Path) -> str:
    """Equal for two names that would be written to the same place; case is ignored, as some file systems do."""
    return os.path.join(os.path.realpath(path.parent), path.name).casefold()  # noqa: PTH118


def file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode, equal for every name of a file, links included; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def same_file(first: Path, second: Path) -> bool:
    """Return whether both exist and are one file or folder, by whatever names."""
    identity = file_id(first)
    return identity is not None and identity == file_id(second)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
