"""Keeps what was found in originals on the disk, for audits that are run again and again.

The files hold embeddings of real faces, which are biometric data: nothing is kept unless a folder is named.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from deepprivacy_rt.audit.faces import Face
from deepprivacy_rt.audit.recogniser import Embedding
from deepprivacy_rt.types import Box

Findings: TypeAlias = dict[int, list[tuple[Face, Embedding | None]]]
"""By frame index: faces, with their embedding where a recogniser is there."""

_VERSION = "1"


def cache_key(original: Path, models: Sequence[Path], settings: Sequence[object]) -> str:
    """Return a name that changes with the content of the files and with the settings."""
    digest = hashlib.sha256(repr((_VERSION, *settings)).encode())
    for path in (original, *models):
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def load(folder: Path, key: str) -> Findings | None:
    """Return what was kept, or None where there is nothing, or nothing readable."""
    path = folder / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("frames", "boxes", "points", "scores", "embeddings", "empty")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    findings: Findings = {int(frame): [] for frame in arrays["empty"]}
    embeddings = arrays["embeddings"] if arrays["embeddings"].size else [None] * len(arrays["frames"])
    rows = zip(*(arrays[name] for name in ("frames", "boxes", "points", "scores")), embeddings, strict=True)
    for frame, box, points, score, embedding in rows:
        face = Face(Box(*map(float, box)), points, float(score))
        findings.setdefault(int(frame), []).append((face, embedding))
    return findings


def save(folder: Path, key: str, findings: Findings) -> None:
    """Keep findings, readable by their owner alone. A full disk is no reason to fail: then nothing is kept."""
    rows = [(frame, face, embedding) for frame, found in findings.items() for face, embedding in found]
    embeddings = [embedding for _, _, embedding in rows if embedding is not None]
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(
                file,
                frames=np.array([frame for frame, _, _ in rows], np.int64),
                boxes=np.array([face.box for _, face, _ in rows], np.float64).reshape(-1, 4),
                points=np.array([face.points for _, face, _ in rows], np.float32).reshape(-1, 5, 2),
                scores=np.array([face.score for _, face, _ in rows], np.float64),
                embeddings=np.array(embeddings, np.float32),
                empty=np.array([frame for frame, found in findings.items() if not found], np.int64),
            )
        Path(name).replace(folder / f"{key}.npz")
