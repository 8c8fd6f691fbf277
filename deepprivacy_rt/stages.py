"""The contracts of all stages on one page. Who implements one keeps every sentence of it.

Common to all: a stage raises :class:`deepprivacy_rt.errors.DeepPrivacyError` subclasses for foreseen failures; the
pipeline treats *any* exception, and any result that breaks the contract, as "could not replace" and fills.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from deepprivacy_rt.sound import Sound
from deepprivacy_rt.types import Detection, FacePatch, FaceTrack, Frame, Replacement, SafeFrame


class Source(Protocol):
    """Delivers frames in order. A context manager: closed on every way out."""

    def __enter__(self) -> Source: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[Frame]:
        """Yield frames with rising index and pts. Raises SourceError."""
        ...


class Detector(Protocol):
    """Finds faces."""

    def detect(self, frame: Frame) -> Sequence[Detection]:
        """Return every face with a score of at least the detector's low threshold, best first.

        Low-scored detections never start a track; they continue one. A detector for video may leave out frames, a
        fraction of a second at a time, and return nothing there: a tracker that looks ahead fills them.
        """
        ...


class Tracker(Protocol):
    """Follows faces through time, without seeing pixels."""

    def update(self, frame_index: int, detections: Sequence[Detection]) -> Sequence[FaceTrack]:
        """Return all faces to cover in this frame, the ones lost for the moment included."""
        ...


class ExpressionReader(Protocol):
    """Reads off the original what faces do. Nothing but a few numbers and the six points goes on to the generator."""

    def read(self, frame: Frame, tracks: Sequence[FaceTrack]) -> Sequence[FaceTrack]:
        """Return the tracks in their order, each with its expression, and its keypoints as exactly as can be told.

        One that turns out to be no face becomes uncertain. Nothing else changes: covers are the tracker's affair.
        """
        ...


@runtime_checkable
class TakesTurns(Protocol):
    """A stage that can do less where nothing much happens."""

    def take_turns(self, faces: int) -> None:
        """From so many faces in a frame on, serve those at rest in turns; 1: time is short. From any thread."""
        ...


class Cropper(Protocol):
    """Erases faces, and cuts aligned patches from what is left."""

    def erase(self, frame: Frame, tracks: Sequence[FaceTrack]) -> SafeFrame:
        """Return the frame with the cover of every track filled; the fill depends on no pixel under a cover."""
        ...

    def cut(self, safe: SafeFrame, track: FaceTrack) -> FacePatch:
        """Return the aligned patch of one track, cut from the erased frame."""
        ...


class Generator(Protocol):
    """Invents faces. Sees only erased patches."""

    @property
    def patch_size(self) -> int:
        """Side in pixels of the patches it accepts and returns."""
        ...

    def generate(self, patches: Sequence[FacePatch]) -> Sequence[Replacement]:
        """Return a replacement for each patch that it can replace; a missing one stays filled."""
        ...


class Blender(Protocol):
    """Pastes generated pixels over the fill."""

    def paste(self, safe: SafeFrame, replacements: Sequence[Replacement]) -> SafeFrame:
        """Return a new frame; what has no replacement stays filled; original pixels under a cover never come back."""
        ...


class Canvas(Protocol):
    """One frame on a device, its faces erased. Does there what cropper, generator and blender do."""

    def paint(self, tracks: Sequence[FaceTrack]) -> None:
        """Put a face over the fill of each track, a plain one where it is uncertain.

        A failure leaves all of them filled. It may also show only when the result is fetched.
        """
        ...

    def fetch(self) -> tuple[SafeFrame, Sequence[FaceTrack]]:
        """Return the frame as it is now, and the tracks whose fill was painted over."""
        ...


class Painter(Protocol):
    """Takes frames to a device."""

    def erase(self, frame: Frame, tracks: Sequence[FaceTrack]) -> Canvas:
        """Return the frame with the cover of every track filled; the fill depends on no pixel under a cover."""
        ...


class Sink(Protocol):
    """Takes anonymized frames. A context manager: on an exception the output is discarded, never left half-done."""

    def __enter__(self) -> Sink: ...
    def __exit__(self, *exc: object) -> None: ...
    def write(self, frame: SafeFrame) -> None:
        """Take the next frame, in order. Raises SinkError."""
        ...


@runtime_checkable
class SoundSink(Sink, Protocol):
    """A sink that carries sound beside the pictures, by the same clock: ``time.monotonic()`` at capture."""

    def write_sound(self, sound: Sound) -> None:
        """Take the next piece of sound, before the picture that was captured with it. Never blocks."""
        ...

    def mute(self) -> None:
        """Forget the sound that has not gone out yet. From now on there is silence, until sound is written again."""
        ...
