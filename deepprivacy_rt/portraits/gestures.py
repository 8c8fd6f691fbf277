"""Opening mouths and lowering lids of portraits, in canonical coordinates: lips and lids are in one place for all."""

from __future__ import annotations

import numpy as np

from deepprivacy_rt.portraits.canonical import HALF, Floats
from deepprivacy_rt.types import REST, Expression

_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Where the lips meet, from corner to corner: the inner edge of the upper one."""
LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133), (52, 65)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362), (282, 295)),
)
"""Of the right and the left eye: upper lid, lower lid, both from the outer corner to the inner one, and the
brow's lower edge, by Face Mesh's numbers."""
_CHIN, _UNDER_NOSE = 152, 2
GAP = 0.35
"""Gap between the lips of a wide open mouth: what Face Mesh calls fully open (expressions/face_mesh.py)."""
MOST_OPEN = 0.75
"""Opening beyond which lips that were drawn shut would be torn."""
UPPER_SHARE = 0.15
"""Part of the gap that the upper lip makes room for; the jaw gives the rest."""
JAW_LAG = 0.25
"""Part of the jaw's way that the chin lags behind."""
_STILL_LID = 0.12
"""Part of a lid's way that is no blink: what is read of open eyes trembles."""
STRETCH = 0.65
TEETH = 0.065
"""Most that is seen of the upper teeth, in canonical units."""
BESIDE, BELOW, LASHES = 0.25, 0.10, 0.05
"""Lengths of an eye: beside its corners skin gives way; a shut lid reaches below the lower one; lashes come along."""
LEAST_SKIN = 0.25
"""Least skin above a lid, which is stretched, in the same."""
JAW_REACH, LIP_REACH = 2.4, 0.35
"""Half widths of the lips beside which the jaw gives way; part of the way to the chin that goes with the lips."""
BITE, TEETH_REACH, TEETH_FADE = 0.55, 0.95, 0.5
"""Most of a gap that is teeth; half widths of the lips up to which they are seen, and over which they fade."""
LIP_SHADOW, LIP_SHADOW_REACH = 0.4, 0.04
"""How much darker teeth are below the upper lip, and canonical units down to which that reaches."""
_TEETH_ENDS, _TEETH_GAP, _GAP_DEPTH, _DEEPER = (0.0, 0.094, 0.166, 0.249), 0.008, 0.4, 0.5
"""Where one tooth ends and the next begins, in canonical units from the middle: widths of 8.5, 6.5 and 7.5 mm, where
the outer corners of the eyes are 90 mm apart; how wide and how dark gaps are; how much darker teeth are by the corners.
"""
SOFT = 0.012
"""Canonical units over which the edge of a mouth is soft."""
_LEAST_GAP = 0.01
DENTS = 1024


def gap_of(doing: Expression) -> float:
    """Return the gap between the lips in canonical units."""
    return GAP * max(min(doing.mouth, MOST_OPEN) - REST.mouth, 0.0) / (1 - REST.mouth)


def amounts(doing: Expression) -> tuple[float, tuple[float, float]]:
    """Return the gap between the lips, and how far the right and the left lid are lowered, 0 to 1; 0: not at all."""
    gap = gap_of(doing)
    right, left = (
        min(max((1.0 - open_ / rest - _STILL_LID) / (1 - _STILL_LID), 0.0), 1.0)
        for open_, rest in zip(doing[1:], REST[1:], strict=True)
    )
    return gap if gap > _LEAST_GAP else 0.0, (right, left)


class Gestures:
    """Finds which texels of a portrait at rest are to be seen where, when it does something.

    :param mean: (468, 3) the canonical places of Face Mesh's points.
    :ivar lips: (11, 2) where they meet. :ivar chin, nose: rows of the chin and of the nose's lower end.
    :ivar dents: (``DENTS``,) how bright teeth are, 0 to 1, from the left to the right of a map.
    :ivar lids: of the right and the left eye: upper lid and lower lid, (9, 2), and the row of the brow's lower edge.
    """

    def __init__(self, mean: Floats) -> None:
        self.lips = mean[list(_LIPS), :2]
        self.chin, self.nose = float(mean[_CHIN, 1]), float(mean[_UNDER_NOSE, 1])
        middle, half = float(self.lips[:, 0].mean()), float(np.ptp(self.lips[:, 0])) / 2
        off = np.abs(np.linspace(-HALF, HALF, DENTS, endpoint=False) + HALF / DENTS - middle)
        gaps = sum(np.exp(-0.5 * ((off - end) / _TEETH_GAP) ** 2) for end in _TEETH_ENDS)
        self.dents = np.asarray((1 - _GAP_DEPTH * gaps) * (1 - _DEEPER * np.minimum(off / half, 1) ** 2), np.float32)
        self.lids = [
            (mean[list(upper), :2], mean[list(lower), :2], float(mean[list(brow), 1].mean()))
            for upper, lower, brow in LIDS
        ]

    def texels(self, places: Floats, doing: Expression) -> tuple[Floats, Floats, Floats]:
        """Return the canonical places of the texels to show, (…, 2), and how much is the inside of a mouth and teeth.

        :param places: (…, 2) canonical places of a face that does something.
        """
        x, y = places[..., 0], places[..., 1].copy()
        inside = teeth = np.zeros_like(y)
        gap, closings = amounts(doing)
        if gap > 0:
            y, inside, teeth = self._mouth(x, y, gap)
        for (upper, lower, brow), closing in zip(self.lids, closings, strict=True):
            if closing > 0:
                y = _lid(x, y, upper, lower, brow, closing)
        return np.stack([x, y], axis=-1), inside, teeth

    def _mouth(self, x: Floats, y: Floats, gap: float) -> tuple[Floats, Floats, Floats]:
        middle, half = float(self.lips[:, 0].mean()), float(np.ptp(self.lips[:, 0])) / 2
        line = np.interp(x, self.lips[:, 0], self.lips[:, 1]).astype(np.float32)
        off = np.abs(x - middle) / half
        lips = np.sqrt(np.clip(1 - off**2, 0.0, 1.0))
        jaw = np.clip(1 - (off / JAW_REACH) ** 2, 0.0, 1.0)
        parted = (1 - UPPER_SHARE) * gap * lips
        low = np.clip((y - line) / (self.chin - line), 0.0, 1.5)
        near = np.clip(1 - low / LIP_REACH, 0.0, 1.0)
        down = (1 - UPPER_SHARE) * gap * (near * lips + (1 - near) * jaw * (1 - JAW_LAG * np.minimum(low, 1.0)))
        # Beside the lips skin is stretched, no more than this: what lies below never comes up to where they meet.
        down = np.minimum(down, parted + STRETCH * np.maximum(y - line - parted, 0.0))
        up = UPPER_SHARE * gap * lips * np.clip((y - self.nose) / (line - self.nose), 0.0, 1.0)
        lower_edge = line + parted
        upper_edge = line - UPPER_SHARE * gap * lips
        soft = np.float32(SOFT)
        inside = np.clip((y - upper_edge) / soft, 0.0, 1.0) * np.clip((lower_edge - y) / soft, 0.0, 1.0)
        bite = upper_edge + np.minimum(TEETH, BITE * gap * lips)
        teeth = np.clip((bite - y) / soft, 0.0, 1.0) * np.clip((TEETH_REACH - off) / TEETH_FADE, 0.0, 1.0)
        source = np.where(y > (upper_edge + lower_edge) / 2, np.maximum(y - down, line), np.minimum(y + up, line))
        inside = inside * (off < 1)
        teeth = teeth * (1 - LIP_SHADOW * np.clip(1 - (y - upper_edge) / LIP_SHADOW_REACH, 0.0, 1.0))
        return source.astype(np.float32), inside.astype(np.float32), (inside * teeth).astype(np.float32)


def _lid(x: Floats, y: Floats, upper: Floats, lower: Floats, brow: float, closing: float) -> Floats:
    """Return the rows of the texels to show: the skin between brow and lid is stretched as the lid goes down."""
    begin, end = sorted((float(upper[0, 0]), float(upper[-1, 0])))
    length = end - begin
    above, below = (np.interp(x, *line[np.argsort(line[:, 0])].T).astype(np.float32) for line in (upper, lower))
    above = above - np.float32(LASHES * length)
    near = np.clip(np.minimum(x - begin, end - x) / (BESIDE * length) + 1.0, 0.0, 1.0)
    lid = above + closing * near * np.maximum(below + BELOW * length - above, 0.0)
    top = np.minimum(np.float32(brow), above - np.float32(LEAST_SKIN * length))
    stretched = top + (y - top) * (above - top) / np.maximum(lid - top, 1e-3)
    return np.where((y > top) & (y < lid) & (near > 0), stretched, y).astype(np.float32)
