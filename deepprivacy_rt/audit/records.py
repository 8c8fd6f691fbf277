"""What an audit finds out about one file, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepprivacy_rt.audit.exposure import EXPOSED_SHARE
from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.audit.recogniser import Embedding
from deepprivacy_rt.types import Image

KEPT_IOU = 0.4
"""A face is kept where a face is found in the anonymized frame whose box overlaps the original's by this much."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceRecord:
    """One face of the original in one frame, and what became of it.

    :ivar track: the same for one face over time, within its file.
    :ivar exposed_share: share of it that is still the original's, see :mod:`deepprivacy_rt.audit.exposure`.
    :ivar overlap: IoU with the best matching face found in the anonymized frame, 0 where there is none.
    :ivar embeddings: of the original and of the anonymized face; None without a recogniser.
    :ivar copy: the face found in the anonymized frame, where it is kept.
    """

    frame: int
    time: float
    face: Face
    track: int
    exposed_share: float
    overlap: float
    embeddings: tuple[Embedding, Embedding] | None
    copy: Face | None = None

    @property
    def exposed(self) -> bool:
        return self.exposed_share > EXPOSED_SHARE

    @property
    def kept(self) -> bool:
        return self.overlap >= KEPT_IOU

    @property
    def similarity(self) -> float | None:
        """Of the original and the anonymized face, -1 to 1; None without a recogniser."""
        return None if self.embeddings is None else float(self.embeddings[0] @ self.embeddings[1])


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture of one face, original at the left, anonymized at the right; private, for it shows the original.

    :ivar why: what makes it worth a look.
    """

    why: str
    record: FaceRecord
    picture: Image


@dataclass(slots=True, eq=False)
class FileAudit:
    """All about one file.

    :ivar frames: frames of the original that were looked at.
    :ivar missing: original frames without a counterpart at their time (all frames, looked at or not).
    :ivar extra: anonymized frames that are no frame's counterpart.
    :ivar unlike: frames looked at whose surroundings differ from the original's: withheld, or out of step.
    :ivar floors: similarity of sampled original faces to themselves after a crude treatment, by its name.
    """

    name: str
    frames: int = 0
    missing: int = 0
    extra: int = 0
    unlike: list[int] = field(default_factory=list)
    faces: list[FaceRecord] = field(default_factory=list)
    floors: dict[str, list[float]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
