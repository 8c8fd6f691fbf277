"""Replacing the faces of one frame. Here it is decided what happens when anything fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.pipeline.reports import FaceReport, FrameReport
from deepprivacy_rt.pipeline.timing import StageTimes
from deepprivacy_rt.stages import Blender, Cropper, ExpressionReader, Generator, TakesTurns
from deepprivacy_rt.types import Coverage, FacePatch, FaceTrack, Frame, Replacement, SafeFrame, is_image_of

_WITHHELD_GRAY = 96


def withhold(frame: Frame) -> SafeFrame:
    """Return a frame of the same size without any pixel of the original: all one grey, all cover."""
    image = np.full(frame.image.shape, _WITHHELD_GRAY, dtype=np.uint8)
    return SafeFrame(image=image, cover=np.ones(image.shape[:2], dtype=np.bool_), index=frame.index, pts=frame.pts)


def describe(stage: str, error: BaseException) -> str:
    """Return one line about a failure."""
    lines = str(error).splitlines()
    return f"{stage}: {type(error).__name__}: {lines[0]}" if lines else f"{stage}: {type(error).__name__}"


class Replacer(ABC):
    """Turns a frame and its tracks into a safe frame, and accounts for every face."""

    def __init__(self, times: StageTimes | None = None, expressions: ExpressionReader | None = None) -> None:
        """:param expressions: None: all faces are at rest."""
        self._times = times or StageTimes()
        self._expressions = expressions

    @property
    def times(self) -> StageTimes:
        """Time of the stages."""
        return self._times

    def take_turns(self, faces: int) -> None:
        """From so many faces in a frame on, serve those at rest in turns; 1: time is short. From any thread."""
        for stage in self._turning():
            if isinstance(stage, TakesTurns):
                stage.take_turns(faces)

    def _turning(self) -> Sequence[object]:
        return (self._expressions,)

    @abstractmethod
    def replace(self, frame: Frame, tracks: Sequence[FaceTrack]) -> tuple[SafeFrame, FrameReport]:
        """Return the safe frame and the account of it. Raises nothing that a stage raises."""

    def withheld(
        self, frame: Frame, tracks: Sequence[FaceTrack], problems: Sequence[str]
    ) -> tuple[SafeFrame, FrameReport]:
        """Return the withheld frame and the account of it.

        :param tracks: the faces that are known nevertheless.
        :param problems: why it is withheld.
        """
        known = [track for track in tracks if isinstance(track, FaceTrack)] if isinstance(tracks, Sequence) else []
        faces = tuple(FaceReport.of(track, Coverage.WITHHELD) for track in known if is_visible(track, frame))
        return withhold(frame), FrameReport(frame.index, frame.pts, faces, withheld=True, problems=tuple(problems))

    def _with_expressions(self, frame: Frame, tracks: Sequence[FaceTrack], problems: list[str]) -> Sequence[FaceTrack]:
        """Return the tracks with what their faces do; where that cannot be read, as they are: at rest."""
        if self._expressions is None or not tracks:
            return tracks
        try:
            with self._times.measure("express"):
                read = self._expressions.read(frame, tracks)
            check_read(tracks, read)
            return read
        except Exception as error:
            problems.append(describe("express", error))
            return tracks


class FaceReplacer(Replacer):
    """Replaces faces stage by stage: erase, cut, generate, paste.

    Erasing comes first; the original is not used after it. When erasing fails, the frame is withheld. When anything
    after it fails, raises, or breaks its contract, the faces concerned stay filled.
    """

    def __init__(
        self,
        cropper: Cropper,
        generator: Generator,
        blender: Blender,
        times: StageTimes | None = None,
        filler: Generator | None = None,
        expressions: ExpressionReader | None = None,
    ) -> None:
        """:param filler: makes a calm fill for uncertain tracks (a face where none was is worse); None: plain fill."""
        super().__init__(times, expressions)
        self._cropper = cropper
        self._generator = generator
        self._blender = blender
        self._filler = filler

    def _turning(self) -> Sequence[object]:
        return self._expressions, self._generator

    def replace(self, frame: Frame, tracks: Sequence[FaceTrack]) -> tuple[SafeFrame, FrameReport]:
        """See :class:`Replacer`."""
        problems: list[str] = []
        try:
            check_tracks(tracks)
            tracks = self._with_expressions(frame, tracks, problems)
            with self._times.measure("erase"):
                safe = self._cropper.erase(frame, tracks)
            check_erased(frame, tracks, safe)
            visible = [track for track in tracks if is_visible(track, frame)]
        except Exception as error:
            return self.withheld(frame, tracks, [*problems, describe("erase", error)])
        patches = self._cut(safe, visible, problems)
        fills = self._generate(self._filler, [one for one in patches if one.track.uncertain], problems)
        faces_made = self._generate(self._generator, [one for one in patches if not one.track.uncertain], problems)
        # Fills first: where one overlaps a face, the face stays whole.
        replacements = [*fills, *faces_made]
        result = self._paste(frame, safe, replacements, problems)
        replaced = {id(one.patch.track) for one in replacements if _has_changed(safe, result, one.patch.track)}
        problems += [
            f"paste: track {one.patch.track.track_id} was left out"
            for one in replacements
            if result is not safe and id(one.patch.track) not in replaced
        ]
        generated = replaced - {id(one.patch.track) for one in fills}
        faces = tuple(
            FaceReport.of(track, Coverage.GENERATED if id(track) in generated else Coverage.FILLED) for track in visible
        )
        return result, FrameReport(frame.index, frame.pts, faces, problems=tuple(problems))

    def _cut(self, safe: SafeFrame, tracks: Sequence[FaceTrack], problems: list[str]) -> list[FacePatch]:
        patches = []
        for track in tracks:
            try:
                with self._times.measure("cut"):
                    patch = self._cropper.cut(safe, track)
                if not isinstance(patch, FacePatch) or patch.track is not track:
                    raise StageError(f"track {track.track_id}: cropper returned another face's patch")
            except Exception as error:
                problems.append(describe("cut", error))
            else:
                patches.append(patch)
        return patches

    def _generate(
        self, generator: Generator | None, patches: Sequence[FacePatch], problems: list[str]
    ) -> list[Replacement]:
        if generator is None or not patches:
            return []
        try:
            with self._times.measure("generate"):
                answers = list(generator.generate(patches))
        except Exception as error:
            problems.append(describe("generate", error))
            return []
        missing = {id(patch): patch for patch in patches}
        good = []
        for answer in answers:
            flaw = _flaw(answer, missing)
            if flaw is None:
                good.append(answer)
                del missing[id(answer.patch)]
            else:
                problems.append(f"generate: {flaw}")
        problems += [f"generate: track {patch.track.track_id} got no usable face" for patch in missing.values()]
        return good

    def _paste(
        self, frame: Frame, safe: SafeFrame, replacements: Sequence[Replacement], problems: list[str]
    ) -> SafeFrame:
        if not replacements:
            return safe
        try:
            with self._times.measure("paste"):
                result = self._blender.paste(safe, replacements)
            _check_same_picture(frame, result, "blender")
            if result.cover is not safe.cover and not np.array_equal(result.cover, safe.cover):
                raise StageError("blender changed the cover")
        except Exception as error:
            problems.append(describe("paste", error))
            return safe
        return result


def check_tracks(tracks: Sequence[FaceTrack]) -> None:
    for track in tracks:
        if not isinstance(track, FaceTrack):
            raise StageError(f"tracker returned a {type(track).__name__} in place of a FaceTrack")


def check_read(tracks: Sequence[FaceTrack], read: Sequence[FaceTrack]) -> None:
    """Raise StageError unless these are the same tracks but for keypoints, expression and doubts that were added."""
    if len(tracks) != len(read):
        raise StageError(f"{len(read)} faces were read of {len(tracks)}")
    check_tracks(read)
    for track, one in zip(tracks, read, strict=True):
        if _identified(track) != _identified(one) or (track.uncertain and not one.uncertain):
            raise StageError(f"track {track.track_id} was read as another")


def _identified(track: FaceTrack) -> tuple[object, ...]:
    return track.track_id, track.identity, track.box, track.score, track.evidence


def _check_same_picture(frame: Frame, safe: SafeFrame, stage: str) -> None:
    """Raise StageError unless this is a safe frame of the same shape and time, with memory of its own."""
    if not isinstance(safe, SafeFrame):
        raise StageError(f"{stage} returned a {type(safe).__name__}")
    if safe.image.shape != frame.image.shape or safe.image.dtype != np.uint8:
        raise StageError(f"{stage} returned {safe.image.shape} {safe.image.dtype} for a {frame.image.shape} frame")
    if (safe.index, safe.pts) != (frame.index, frame.pts):
        raise StageError(f"{stage} returned frame {safe.index} for frame {frame.index}")
    if np.may_share_memory(safe.image, frame.image):
        raise StageError(f"{stage} returned the original's memory")


def check_erased(frame: Frame, tracks: Sequence[FaceTrack], safe: SafeFrame) -> None:
    """Raise StageError unless the frame is a copy that has a cover at least at the centre of every face."""
    _check_same_picture(frame, safe, "cropper")
    height, width = safe.cover.shape
    for track in tracks:
        x, y = (round(value) for value in track.box.center)
        if 0 <= x < width and 0 <= y < height and not safe.cover[y, x]:
            raise StageError(f"cropper left track {track.track_id} uncovered")


def is_visible(track: FaceTrack, frame: Frame) -> bool:
    height, width = frame.image.shape[:2]
    box = track.box
    return box.x1 > 0 and box.y1 > 0 and box.x0 < width and box.y0 < height


def _flaw(answer: object, missing: dict[int, FacePatch]) -> str | None:
    """Say what is wrong with a generator's answer, or None."""
    if not isinstance(answer, Replacement):
        return f"generator returned a {type(answer).__name__}"
    if id(answer.patch) not in missing:
        return "generator returned a face for a patch that it was not given, or a second one"
    if not is_image_of(answer.image, answer.patch):
        return f"track {answer.patch.track.track_id}: image is not {answer.patch.image.shape} uint8, or a multiple"
    return None


def _has_changed(safe: SafeFrame, result: SafeFrame, track: FaceTrack) -> bool:
    """Say whether the blender put anything over the fill of this face: a report must not claim more than was done."""
    if result is safe:
        return False
    height, width = safe.cover.shape
    box = track.box
    rows = slice(max(0, int(box.y0)), min(height, int(box.y1) + 1), max(1, int(box.height / 24)))
    columns = slice(max(0, int(box.x0)), min(width, int(box.x1) + 1), max(1, int(box.width / 24)))
    return not np.array_equal(safe.image[rows, columns], result.image[rows, columns])
