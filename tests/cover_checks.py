"""What a cover leaves open: helpers shared by tests."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.types import Box, FaceTrack, Frame

_FRAME = Frame(np.zeros((720, 1280, 3), dtype=np.uint8), 0, Fraction(0))


def box_iou(a: Box, b: Box) -> float:
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.width * a.height + b.width * b.height - shared)


def face_pixels(x: float, y: float, size: float) -> np.ndarray:
    """Points all over the ellipse of a true face, (n, 2)."""
    angles, radii = np.meshgrid(np.linspace(0, 2 * math.pi, 40), np.linspace(0, 1, 8))
    return np.stack([x + size / 2 * radii * np.cos(angles), y + size / 2 * radii * np.sin(angles)], -1).reshape(-1, 2)


def covered_part(tracks: list[FaceTrack], points: np.ndarray) -> float:
    """Part of the points within a 1280x720 frame that the real cropper covers."""
    cover = AlignedCropper(64).erase(_FRAME, tracks).cover
    points = points[(points >= 0).all(1) & (points[:, 0] <= 1279) & (points[:, 1] <= 719)].round().astype(int)
    return float(cover[points[:, 1], points[:, 0]].mean())
