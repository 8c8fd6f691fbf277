"""A file that gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.media.container import reason, shown


class PendingFile:
    """A hidden temporary file beside the wanted one: :meth:`commit` gives it the name, :meth:`discard` removes it.

    :ivar file: open for writing and seeking.
    """

    def __init__(self, path: Path, source: Path, overwrite: bool) -> None:
        """Raises SinkError if the output exists (without ``overwrite``), is the input, or cannot be created."""
        self.path = path
        self._source = source
        self._overwrite = overwrite
        self._refuse()
        self._temporary = path.parent / f".deepprivacy-{secrets.token_hex(8)}.part"
        try:
            self.file: BinaryIO = self._temporary.open("xb")
        except OSError as error:
            raise SinkError(f"{shown(path)}: cannot be written: {reason(error)}") from error

    def commit(self) -> None:
        """Flush to the disk and rename atomically. Raises SinkError, and discards, where that cannot be."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self._refuse()
            self._publish()
        except OSError as error:
            self.discard()
            raise SinkError(f"{shown(self.path)}: cannot be completed: {reason(error)}") from error
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Close and remove the temporary file. May be called more than once."""
        with contextlib.suppress(OSError):  # closing may fail to flush what is thrown away anyhow
            self.file.close()
        self.remove()

    def remove(self) -> None:
        """Remove the temporary file, and leave it open: a thread may hang while it writes."""
        self._temporary.unlink(missing_ok=True)

    def _refuse(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.samefile(self._source):
                raise SinkError(f"{shown(self.path)}: is the input itself; choose another output")
        if self.path.is_dir():
            raise SinkError(f"{shown(self.path)}: is a folder; give a file name")
        if not self._overwrite and os.path.lexists(self.path):
            raise SinkError(f"{shown(self.path)}: exists already; use --overwrite to replace it")

    def _publish(self) -> None:
        if self._overwrite:
            self._temporary.replace(self.path)
            return
        try:  # a link, unlike a rename, refuses a name that somebody else took in the meantime
            os.link(self._temporary, self.path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            self._temporary.rename(self.path)
        else:
            self._temporary.unlink()
