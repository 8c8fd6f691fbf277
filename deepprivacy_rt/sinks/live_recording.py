"""A live picture and its sound into a file that stays readable whatever happens to the program.

Matroska in clusters, or MP4 in fragments, of one second; nothing has to be written at the end. The file has its final
name at once, and is kept after an error.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.media.container import reason, shown
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.sounding_sink import SoundingSink
from deepprivacy_rt.sinks.stream import job

_FORMATS = {
    ".mkv": ("matroska", {"cluster_time_limit": "1000", "fflags": "+bitexact", "flush_packets": "1"}),
    ".mp4": (
        "mp4",
        {
            "movflags": "+empty_moov+default_base_moof+frag_keyframe",
            "frag_duration": "1000000",
            "fflags": "+bitexact",
            "flush_packets": "1",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """A file to record to.

    :ivar path: ends with .mkv or .mp4; where it exists, a number is added: ``name-2.mkv``.
    :ivar picture: time stamps are kept as they come; ``rate`` only limits.
    """

    path: Path
    picture: LivePicture = field(default_factory=LivePicture)

    def __post_init__(self) -> None:
        """Raises UsageError for another ending."""
        if self.path.suffix.lower() not in _FORMATS:
            raise UsageError(f"{shown(self.path)}: a live recording ends with {' or '.join(_FORMATS)}")


class RecordingSink(SoundingSink):
    """Records; never overwrites.

    :ivar path: the file that is written, from ``__enter__`` on.
    """

    def __init__(self, settings: RecordingSettings) -> None:
        """Does nothing yet but keep the settings."""
        self._settings = settings
        self.path = settings.path
        picture = settings.picture
        super().__init__(
            "deepprivacy_rt.sinks.stream_child", shown(settings.path), picture.size, picture.rate, picture.patience
        )

    def __enter__(self) -> RecordingSink:
        """Take a free name and start the child. Raises SinkError."""
        try:
            self.path = _claim(self._settings.path)
        except OSError as error:
            raise SinkError(f"{self._shown}: cannot be written: {reason(error)}") from error
        self._shown = shown(self.path)
        muxer, options = _FORMATS[self.path.suffix.lower()]
        self._start(job(str(self.path.absolute()), muxer, options, self._settings.picture, is_file=True))
        return self

    def __exit__(self, kind: object = None, *rest: object) -> None:
        """Complete the file within a second; one that has got no picture is removed. Raises nothing."""
        super().__exit__(kind, *rest)
        with contextlib.suppress(OSError):
            if not self.path.stat().st_size:
                self.path.unlink()

    def _explained(self, why: str) -> str:
        return f"cannot be written: {why}; check that the disk is not full"

    def _cure_of_a_stall(self) -> str:
        return "so the recording was ended: the disk hangs, or the machine is too slow"


def _claim(path: Path) -> Path:
    """Create a file of this name, or of the first free numbered one. Raises OSError."""
    for number in itertools.count(1):
        name = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            name.open("xb").close()
        except FileExistsError:
            continue
        return name
    raise AssertionError
