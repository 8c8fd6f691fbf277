"""The numbers of an audit, over one file or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepprivacy_rt.audit.bootstrap import Share, share
from deepprivacy_rt.audit.people import Identification, identify
from deepprivacy_rt.audit.records import FaceRecord, FileAudit
from deepprivacy_rt.audit.thresholds import Threshold

LARGE = 48.0
BINS = ((">=48 px", LARGE, np.inf), ("24-48 px", 24.0, LARGE), ("<24 px", 0.0, 24.0))
"""By the shorter side of the face's box in the original frame."""
_MOST_UNLIKE = 0.05


@dataclass(frozen=True, slots=True)
class Recognition:
    """How well a recogniser still knows the people, on faces of at least 48 px.

    :ivar same: share of faces taken for the same person as the original.
    :ivar median, highest: similarity of original and anonymized face.
    :ivar floors: by treatment, the share of original faces still taken for the same person after it, and the median.
    """

    same: Share
    median: float
    highest: float
    threshold: float
    origin: str
    identification: Identification | None
    floors: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Summary:
    """All numbers.

    :ivar exposed: by size of face (see ``BINS``).
    :ivar kept: by size of face.
    :ivar recognition: None without a recogniser, or without a face of 48 px.
    :ivar doubts: reasons not to trust the numbers, one line each.
    """

    files: int
    frames: int
    exposed: dict[str, Share]
    kept: dict[str, Share]
    recognition: Recognition | None
    doubts: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no face of 48 px or more is exposed, and nothing speaks against trusting that."""
        return self.exposed[BINS[0][0]].hits == 0 and not self.doubts


def summarise(audits: Sequence[FileAudit], threshold: Threshold | None) -> Summary:
    """Return the numbers over all files. Intervals draw files again, or tracks where there is one file only."""
    faces = [(audit, record) for audit in audits for record in audit.faces]
    exposed, kept = {}, {}
    for name, low, high in BINS:
        part = [(audit, record) for audit, record in faces if low <= record.face.size < high]
        groups = _groups(audits, part)
        exposed[name] = share([record.exposed for _, record in part], groups)
        kept[name] = share([record.kept for _, record in part], groups)
    large = [(audit, record) for audit, record in faces if record.face.size >= LARGE and record.embeddings is not None]
    recognition = _recognise(audits, large, threshold) if threshold is not None and large else None
    frames = sum(audit.frames for audit in audits)
    return Summary(len(audits), frames, exposed, kept, recognition, tuple(_doubts(audits)))


def _groups(audits: Sequence[FileAudit], faces: Sequence[tuple[FileAudit, FaceRecord]]) -> list[str]:
    names = {id(audit): number for number, audit in enumerate(audits)}
    if len(audits) > 1:
        return [str(names[id(audit)]) for audit, _ in faces]
    return [f"track {record.track}" for _, record in faces]


def _recognise(
    audits: Sequence[FileAudit], large: Sequence[tuple[FileAudit, FaceRecord]], threshold: Threshold
) -> Recognition:
    similarities = np.array([record.similarity for _, record in large], np.float64)
    groups = _groups(audits, large)
    floors: dict[str, list[float]] = {}
    for audit in audits:
        for name, values in audit.floors.items():
            floors.setdefault(name, []).extend(values)
    return Recognition(
        same=share([bool(value > threshold.value) for value in similarities], groups),
        median=float(np.median(similarities)),
        highest=float(similarities.max()),
        threshold=threshold.value,
        origin=threshold.origin,
        identification=identify(large, groups, threshold.others, threshold.value),
        floors={
            name: (float(np.mean(np.array(v) > threshold.value)), float(np.median(v))) for name, v in floors.items()
        },
    )


def _doubts(audits: Sequence[FileAudit]) -> list[str]:
    lines = []
    for audit in audits:
        if not audit.frames:
            lines.append(f"{audit.name}: no frame was looked at")
        if audit.missing:
            lines.append(f"{audit.name}: {audit.missing} frames of the original have no counterpart at their time")
        if audit.extra:
            lines.append(f"{audit.name}: {audit.extra} anonymized frames have no original: nobody has looked at them")
        if len(audit.unlike) > _MOST_UNLIKE * audit.frames:
            lines.append(
                f"{audit.name}: {len(audit.unlike)} of {audit.frames} frames show other surroundings (withheld?)"
            )
    return lines


def to_json(summary: Summary, audits: Sequence[FileAudit]) -> dict[str, object]:
    """Return everything as JSON values, without pictures and embeddings. Schema: docs/audit.md."""
    return {
        "version": 1,
        "passed": summary.passed,
        "files": summary.files,
        "frames": summary.frames,
        "exposed": {name: share_json(value) for name, value in summary.exposed.items()},
        "kept": {name: share_json(value) for name, value in summary.kept.items()},
        "recognition": None if summary.recognition is None else _recognition_json(summary.recognition),
        "doubts": list(summary.doubts),
        "per_file": [_file_json(audit) for audit in audits],
    }


def share_json(value: Share) -> dict[str, object]:
    """Return a share as JSON values; null for what cannot be told."""
    numbers = {"share": value.value, "low": value.low, "high": value.high}
    known = {name: None if np.isnan(number) else round(number, 5) for name, number in numbers.items()}
    return {"hits": value.hits, "total": value.total, **known, "groups": value.groups}


def _recognition_json(recognition: Recognition) -> dict[str, object]:
    who = recognition.identification
    floors = recognition.floors.items()
    return {
        "threshold": round(recognition.threshold, 4),
        "threshold_origin": recognition.origin,
        "same_person": share_json(recognition.same),
        "similarity_median": round(recognition.median, 4),
        "similarity_highest": round(recognition.highest, 4),
        "rank_1": None if who is None else {"correct": share_json(who.correct), "people": who.people},
        "floors": {name: {"same_person": round(same, 4), "median": round(mid, 4)} for name, (same, mid) in floors},
    }


def _file_json(audit: FileAudit) -> dict[str, object]:
    return {
        "name": audit.name,
        "frames": audit.frames,
        "missing": audit.missing,
        "extra": audit.extra,
        "unlike": audit.unlike,
        "faces": len(audit.faces),
        "exposed": [_face_json(record) for record in audit.faces if record.exposed],
        "not_kept": sum(not record.kept for record in audit.faces if record.face.size >= LARGE),
    }


def _face_json(record: FaceRecord) -> dict[str, object]:
    return {
        "frame": record.frame,
        "time": round(record.time, 3),
        "box": [round(value, 1) for value in record.face.box],
        "score": round(record.face.score, 3),
        "share": round(record.exposed_share, 3),
        "track": record.track,
    }
