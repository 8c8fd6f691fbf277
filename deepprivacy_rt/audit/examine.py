"""Looks at every face of an original, and at what became of it in the anonymized copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepprivacy_rt.audit import cache
from deepprivacy_rt.audit.examples import ExampleBook
from deepprivacy_rt.audit.exposure import exposed_share
from deepprivacy_rt.audit.faces import Face, FaceFinder, best_match
from deepprivacy_rt.audit.floors import floors
from deepprivacy_rt.audit.pairs import FramePairs, same_scene
from deepprivacy_rt.audit.recogniser import Embedding, Recogniser, align
from deepprivacy_rt.audit.records import KEPT_IOU, FaceRecord, FileAudit
from deepprivacy_rt.audit.tracks import FaceLinker
from deepprivacy_rt.types import Frame, Image

_FLOOR_SIZE = 48.0
_FLOOR_SECONDS = 0.5
"""Time between two faces on which floors are measured."""


class Examiner:
    """Examines pairs of files.

    :param recogniser: None leaves similarities out.
    :param every: look at every n-th frame of the original.
    :param successive: each time, look at so many frames one after the other.
    :param measure_floors: whether similarities after crude treatments are measured too.
    :param cache_folder: keep what is found in originals, embeddings included, for the next audit; None keeps nothing.
    """

    def __init__(
        self,
        finder: FaceFinder,
        recogniser: Recogniser | None = None,
        *,
        every: int = 1,
        successive: int = 1,
        measure_floors: bool = True,
        cache_folder: Path | None = None,
    ) -> None:
        if every < 1 or successive < 1:
            raise ValueError(f"every and successive must be at least 1, not {every} and {successive}")
        self._finder = finder
        self._recogniser = recogniser
        self._every = every
        self._successive = successive
        self._measure_floors = measure_floors
        self._cache_folder = cache_folder

    def examine(
        self,
        original: Path,
        anonymized: Path,
        *,
        name: str | None = None,
        on_frame: Callable[[int, int | None], None] = lambda done, total: None,
        on_face: Callable[[Frame, Frame, FaceRecord], None] = lambda before, after, record: None,
    ) -> FileAudit:
        """Examine one file. Raises SourceError, UsageError (sizes that do not fit), StageError.

        :param name: what the file is called in reports, by default its file name.
        :param on_frame: is told how many frames are done, and how many there are as far as known.
        :param on_face: is shown each face that is added to the result, with both frames.
        """
        recogniser_for_floors = self._recogniser if self._measure_floors else None
        audit = FileAudit(name or original.name)
        work = _Work(audit, self._finder, self._recogniser, recogniser_for_floors, on_face)
        key = self._key(original)
        known = None if key is None or self._cache_folder is None else cache.load(self._cache_folder, key)
        work.known = known or {}
        pairs = FramePairs(original, anonymized)
        for number, (before, after) in enumerate(pairs):
            if number % self._every < self._successive:
                work.look(before, after)
            on_frame(number + 1, pairs.frames)
        work.audit.missing, work.audit.extra = pairs.count.missing, pairs.count.extra
        work.audit.examples = work.book.examples()
        if known is None and key is not None and self._cache_folder is not None:
            cache.save(self._cache_folder, key, work.seen)
        return work.audit

    def _key(self, original: Path) -> str | None:
        if self._cache_folder is None:
            return None
        models = [self._finder.model] + ([self._recogniser.model] if self._recogniser else [])
        return cache.cache_key(original, models, (self._finder.score, self._every, self._successive))


class _Work:
    """The state of one file's examination."""

    def __init__(
        self,
        audit: FileAudit,
        finder: FaceFinder,
        recogniser: Recogniser | None,
        recogniser_for_floors: Recogniser | None,
        on_face: Callable[[Frame, Frame, FaceRecord], None],
    ) -> None:
        self.audit = audit
        self.known: cache.Findings = {}
        self.seen: cache.Findings = {}
        self.book = ExampleBook()
        self._finder = finder
        self._recogniser = recogniser
        self._recogniser_for_floors = recogniser_for_floors
        self._on_face = on_face
        self._linker = FaceLinker()
        self._next_floor = 0.0

    def look(self, before: Frame, after: Frame | None) -> None:
        self.audit.frames += 1
        found = self._originals(before)
        self.seen[before.index] = found
        faces = [face for face, _ in found]
        tracks = self._linker.link(float(before.pts), faces)
        if after is None:
            return
        if not same_scene(before.image, after.image, [face.box for face in faces]):
            self.audit.unlike.append(before.index)
        copies = self._finder.find(after.image) if faces else []
        for (face, embedding), track in zip(found, tracks, strict=True):
            record = self._record(before, after, face, faces, copies, track, embedding)
            self.audit.faces.append(record)
            self.book.see(record, before.image, after.image)
            self._on_face(before, after, record)
        self._measure_floors(before, faces)

    def _originals(self, frame: Frame) -> list[tuple[Face, Embedding | None]]:
        if frame.index in self.known:
            return self.known[frame.index]
        return [(face, self._embed(frame.image, face)) for face in self._finder.find(frame.image)]

    def _embed(self, image: Image, face: Face) -> Embedding | None:
        return None if self._recogniser is None else self._recogniser.embed(image, face.points)

    def _record(
        self,
        before: Frame,
        after: Frame,
        face: Face,
        faces: list[Face],
        copies: list[Face],
        track: int,
        embedding: Embedding | None,
    ) -> FaceRecord:
        match, overlap = best_match(face.box, copies)
        # Where no face is found, a recogniser would still be shown the place where the original's was.
        kept = match if match is not None and overlap >= KEPT_IOU else None
        copy = self._embed(after.image, kept or face)
        share = exposed_share(before.image, after.image, face.box, [other.box for other in faces])
        embeddings = None if embedding is None or copy is None else (embedding, copy)
        return FaceRecord(before.index, float(before.pts), face, track, share, overlap, embeddings, kept)

    def _measure_floors(self, frame: Frame, faces: list[Face]) -> None:
        large = [face for face in faces if face.size >= _FLOOR_SIZE]
        if self._recogniser_for_floors is None or not large or frame.pts < self._next_floor:
            return
        self._next_floor = float(frame.pts) + _FLOOR_SECONDS
        for face in large:
            aligned = align(frame.image, face.points)
            original = self._recogniser_for_floors.embed_aligned(aligned)
            for name, picture in floors(aligned).items():
                similarity = float(original @ self._recogniser_for_floors.embed_aligned(picture))
                self.audit.floors.setdefault(name, []).append(similarity)
