"""An output container that is being written: the video track and what goes along with it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av

from deepprivacy_rt.media.info import VideoInfo
from deepprivacy_rt.sinks.encoding import Encoding
from deepprivacy_rt.sinks.formats import OutputFormat, muxer_options
from deepprivacy_rt.sinks.passthrough import Passthrough
from deepprivacy_rt.sinks.video import VideoTrack
from deepprivacy_rt.types import Image

WRITE_ERRORS = (av.FFmpegError, OSError, ValueError)
_BUFFER = 1 << 20
_STORES_SHAPE = ("libx264", "libx265", "mpeg4", "mpeg2video")
"""Encoders that write the pixel aspect ratio into their stream. PyAV gives no access to Matroska's own field."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before the first byte is written.

    :ivar unit: the encoder's unit of time, in seconds.
    :ivar origin: time of the input, in seconds, that becomes 0 in the output.
    """

    info: VideoInfo
    form: OutputFormat
    encoding: Encoding
    unit: Fraction
    origin: Fraction
    audio: bool
    keep_metadata: bool


class Recording:
    """Writes the header when made, then pictures, sound and subtitles side by side."""

    def __init__(self, file: BinaryIO, plan: Plan, *, audio: bool, copy: bool) -> None:
        """Raises one of ``WRITE_ERRORS`` where the muxer refuses, SourceError if the input cannot be read again."""
        self._plan = plan
        options = muxer_options(plan.form, plan.info, plan.unit, plan.keep_metadata)
        self._output = av.open(
            file, "w", format=plan.form.muxer, container_options=options, buffer_size=_BUFFER, metadata_errors="replace"
        )
        self._passthrough = Passthrough(plan.info)
        try:
            self._video = VideoTrack(self._output, plan.info, plan.encoding, plan.form, plan.unit, plan.origin)
            self._passthrough.attach(self._output, plan.form, plan.origin, audio=audio, copy=copy)
            if plan.keep_metadata:
                self._passthrough.copy_metadata(self._output, self._video.stream)
            self._output.start_encoding()
        except BaseException:
            self.abandon()
            raise

    def write(self, image: Image, time: Fraction) -> None:
        """Encode a picture, (h, w, 3) uint8 RGB, upright, and bring the other tracks up to its time in seconds."""
        self._output.mux(self._video.encode(image, time - self._plan.origin))
        self._passthrough.advance(self._output, time)

    def finish(self) -> list[str]:
        """Write what is left and the trailer; return notes on what was re-encoded or dropped."""
        self._output.mux(self._video.finish())
        self._passthrough.advance(self._output, None)
        self._output.close()
        if not self._plan.keep_metadata:
            self._passthrough.note_private()
        self._passthrough.close()
        return [*self._plan.encoding.notes, *self._passthrough.notes, *self._notes_on_picture()]

    def abandon(self) -> None:
        """Release everything; the file is not complete and errors do not matter any more."""
        self._passthrough.close()
        with contextlib.suppress(*WRITE_ERRORS):
            self._output.close()

    def _notes_on_picture(self) -> list[str]:
        notes = []
        info, form, encoding = self._plan.info, self._plan.form, self._plan.encoding
        if self._video.rounded:
            grid = f"{float(self._plan.unit):.6g} s"
            notes.append(f"{self._video.rounded} time stamps were rounded to the container's grid of {grid}")
        stores_shape = encoding.encoder in _STORES_SHAPE or form.muxer in ("mp4", "mov", "3gp", "3g2")
        if info.sample_aspect_ratio != 1 and not stores_shape:
            shape = f"{info.sample_aspect_ratio.numerator}:{info.sample_aspect_ratio.denominator}"
            notes.append(f"the pixel shape {shape} was lost: write .mp4 or .mkv with h264 to keep it")
        if self._plan.origin:
            notes.append(f"the start offset of {float(self._plan.origin):.3f} s was removed: {form.muxer} holds none")
        if info.start < 0 and not (form.muxer == "matroska" and info.container.startswith("matroska")):
            notes.append("all times were shifted so that none is negative")
        if not (info.orientation.is_identity or form.turns):
            notes.append("the rotation was applied to the pixels: the container cannot store it")
        return notes


def start_recording(file: BinaryIO, plan: Plan) -> Recording:
    """Begin with copied sound; where the muxer refuses, with sound encoded anew; at last without any.

    Raises one of ``WRITE_ERRORS`` if the container does not even take the picture.
    """
    for audio, copy in ((plan.audio, True), (plan.audio, False)):
        with contextlib.suppress(*WRITE_ERRORS):
            return Recording(file, plan, audio=audio, copy=copy)
        file.seek(0)
        file.truncate()
    return Recording(file, plan, audio=False, copy=False)
