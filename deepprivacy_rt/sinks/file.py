"""Anonymized frames into a video file, beside the sound and subtitles of the input."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from deepprivacy_rt.errors import SinkError
from deepprivacy_rt.media.container import reason, shown
from deepprivacy_rt.media.info import VideoInfo
from deepprivacy_rt.sinks.encoding import choose_encoding
from deepprivacy_rt.sinks.formats import output_format, time_base
from deepprivacy_rt.sinks.pending import PendingFile
from deepprivacy_rt.sinks.recording import WRITE_ERRORS, Plan, Recording, start_recording
from deepprivacy_rt.sinks.video import coded_size
from deepprivacy_rt.types import SafeFrame

_NEGLIGIBLE_OFFSET = Fraction(1, 10)


class FileSink:
    """Writes frames as a video that looks, sounds and is timed like the source, without its private metadata.

    Time stamps, rotation, pixel aspect ratio, colour tags, odd sizes and the frame count are kept. Audio and text
    subtitles are copied packet by packet where the container holds them, else re-encoded. The file appears under its
    name when it is complete; on an exception nothing is left behind. Between containers that differ in whether times
    may be negative, all tracks may move together by the encoder's delay, less than a tenth of a second.

    :ivar notes: what was re-encoded or dropped, one line each; complete after ``__exit__``.
    """

    def __init__(
        self,
        path: Path,
        source: VideoInfo,
        *,
        codec: str | None = None,
        quality: int | None = None,
        preset: str = "veryfast",
        audio: bool = True,
        keep_metadata: bool = False,
        overwrite: bool = False,
    ) -> None:
        """
        :param path: output; its ending chooses the container.
        :param source: facts about the input, whose file is read again for sound and subtitles.
        :param codec: "h264", "hevc", "vp9", "av1" or an encoder's name; None takes what suits the container.
        :param quality: constant quality, lower is better: 0 to 51 (x264, x265), 0 to 63 (VP9, AV1), 1 to 31 (older).
        :param preset: one of x264's names, from "ultrafast" to "veryslow"; other encoders take the nearest speed.
        :param audio: False leaves the sound out.
        :param keep_metadata: True takes titles, places, times and chapters along; never cover pictures.
        :param overwrite: True replaces an existing file, but never the input.
        :raises SinkError: the ending is unknown.
        :raises UsageError: codec, quality or preset cannot be.
        """
        self.path = path
        self.notes: list[str] = []
        form = output_format(path)
        encoding = choose_encoding(form.encoder, source, coded_size(source, form), codec, quality, preset)
        unit = time_base(form, encoding.encoder, source)
        origin = source.start if form.starts_at_zero and abs(source.start) > _NEGLIGIBLE_OFFSET else Fraction(0)
        self._plan = Plan(source, form, encoding, unit, origin, audio, keep_metadata)
        self._overwrite = overwrite
        self._pending: PendingFile
        self._recording: Recording
        self._frames = 0

    def __enter__(self) -> FileSink:
        """Create the temporary file and write the header. Raises SinkError."""
        self._pending = PendingFile(self.path, self._plan.info.path, self._overwrite)
        try:
            self._recording = start_recording(self._pending.file, self._plan)
        except WRITE_ERRORS as error:
            self._pending.discard()
            raise self._problem(error) from error
        except BaseException:
            self._pending.discard()
            raise
        return self

    def __exit__(self, kind: object = None, *rest: object) -> None:
        """Complete the file and give it its name; after an exception, remove it. Raises SinkError."""
        if kind is not None:
            self._discard()
            return
        try:
            if not self._frames:
                raise SinkError(f"{shown(self.path)}: no picture came to be written")
            self.notes += self._recording.finish()
            self._pending.commit()
        except WRITE_ERRORS as error:
            self._discard()
            raise self._problem(error) from error
        except BaseException:
            self._discard()
            raise

    def write(self, frame: SafeFrame) -> None:
        """Encode the next frame and bring sound and subtitles up to its time. Raises SinkError."""
        info = self._plan.info
        height, width = frame.image.shape[:2]
        if (width, height) != (info.width, info.height):
            wanted = f"{info.width}x{info.height}"
            raise SinkError(f"{shown(self.path)}: frame {frame.index} is {width}x{height}, not {wanted}")
        try:
            self._recording.write(frame.image, frame.pts)
            self._frames += 1
        except WRITE_ERRORS as error:
            raise self._problem(error) from error

    def remove_unfinished(self) -> None:
        """Remove the temporary file of an entered sink, for a process that is ended while :meth:`write` hangs."""
        self._pending.remove()

    def _discard(self) -> None:
        self._pending.discard()
        self._recording.abandon()

    def _problem(self, error: BaseException) -> SinkError:
        return SinkError(f"{shown(self.path)}: cannot be written: {reason(error)}")
