"""Mouths of portraits that open and smile, in canonical coordinates: lips are in one place for all."""

from __future__ import annotations

import numpy as np

from deepprivacy_rt.portraits.canonical import HALF, Floats
from deepprivacy_rt.portraits.lids import eyes_of
from deepprivacy_rt.types import REST, Expression

_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Where the lips meet, from corner to corner: the inner edge of the upper one."""
_CHIN, _UNDER_NOSE = 152, 2
GAP = 0.35
"""Gap between the lips of a wide open mouth: what Face Mesh calls fully open (expressions/face_mesh.py)."""
MOST_OPEN = 0.75
"""Opening beyond which lips that were drawn shut would be torn."""
UPPER_SHARE = 0.15
"""Part of the gap that the upper lip makes room for; the jaw gives the rest."""
JAW_LAG = 0.25
"""Part of the jaw's way that the chin lags behind."""
STRETCH = 0.65
TEETH = 0.065
"""Most that is seen of the upper teeth, in canonical units."""
JAW_REACH, LIP_REACH = 2.4, 0.35
"""Half widths of the lips beside which the jaw gives way; part of the way to the chin that goes with the lips."""
BITE, TEETH_REACH, TEETH_FADE = 0.55, 0.95, 0.5
"""Most of a gap that is teeth; half widths of the lips up to which they are seen, and over which they fade."""
SMILE_BITE, SMILE_TEETH, SMILE_FADE = 0.4, 0.5, 0.65
"""How much more of a gap is teeth, how much more is seen of them at most, and by how much less they fade towards the
corners, in a broad smile."""
LIP_SHADOW, LIP_SHADOW_REACH = 0.4, 0.04
"""How much darker teeth are below the upper lip, and canonical units down to which that reaches."""
_TEETH_ENDS, _TEETH_GAP, _GAP_DEPTH, _DEEPER = (0.0, 0.094, 0.166, 0.249), 0.008, 0.2, 0.4
"""Where one tooth ends and the next begins, in canonical units from the middle: widths of 8.5, 6.5 and 7.5 mm, where
the outer corners of the eyes are 90 mm apart; how wide and how dark gaps are; how much darker teeth are by the corners.
"""
SMILE = 0.12, -0.115
"""How far the corners of a mouth are drawn out and up by a broad smile. Face Mesh sees 0.10 and 0.08 in those that it
takes for one (expressions/face_mesh.py); cheeks rise with these, and here they do not, so that it takes more to be
seen for one."""
SMILE_REACH = 0.17, 0.13
"""Standard deviations, across and down, of how skin about the corners goes along."""
SOFT = 0.012
"""Canonical units over which the edge of a mouth is soft."""
_LEAST_GAP = 0.01
DENTS = 1024


def gap_of(doing: Expression) -> float:
    """Return the gap between the lips in canonical units."""
    gap = GAP * max(min(doing.mouth, MOST_OPEN) - REST.mouth, 0.0) / (1 - REST.mouth)
    return gap if gap > _LEAST_GAP else 0.0


class Gestures:
    """Finds which texels of a portrait at rest are to be seen where, when it does something.

    :param mean: (468, 3) the canonical places of Face Mesh's points.
    :ivar lips: (11, 2) where they meet. :ivar chin, nose: rows of the chin and of the nose's lower end.
    :ivar dents: (``DENTS``,) how bright teeth are, 0 to 1, from the left to the right of a map.
    :ivar eyes: the right and the left one.
    """

    def __init__(self, mean: Floats) -> None:
        self.lips = mean[list(_LIPS), :2]
        self.chin, self.nose = float(mean[_CHIN, 1]), float(mean[_UNDER_NOSE, 1])
        middle, half = float(self.lips[:, 0].mean()), float(np.ptp(self.lips[:, 0])) / 2
        off = np.abs(np.linspace(-HALF, HALF, DENTS, endpoint=False) + HALF / DENTS - middle)
        gaps = sum(np.exp(-0.5 * ((off - end) / _TEETH_GAP) ** 2) for end in _TEETH_ENDS)
        self.dents = np.asarray((1 - _GAP_DEPTH * gaps) * (1 - _DEEPER * np.minimum(off / half, 1) ** 2), np.float32)
        self.eyes = eyes_of(mean)

    def texels(self, places: Floats, doing: Expression) -> Floats:
        """Return the canonical places of the texels to show, (…, 2).

        :param places: (…, 2) canonical places of a face that does something.
        """
        x, y = self._unsmiled(places[..., 0], places[..., 1], doing.smile)
        gap = gap_of(doing)
        if gap > 0:
            y = self._parted(x, y, gap)
        return np.stack([x, y], axis=-1)

    def insides(self, places: Floats, doing: Expression) -> tuple[Floats, Floats]:
        """Return how much of places is the inside of a mouth, and how much teeth, which are part of that, (…) 0 to 1.

        Their edges are sharper than a coarse grid can tell. :param places: as for ``texels``.
        """
        gap, smile = gap_of(doing), doing.smile
        x, y = self._unsmiled(places[..., 0], places[..., 1], smile)
        if gap <= 0:
            return np.zeros_like(y), np.zeros_like(y)
        line, off, lips = self._lips_at(x)
        lower_edge, upper_edge = line + (1 - UPPER_SHARE) * gap * lips, line - UPPER_SHARE * gap * lips
        soft = np.float32(SOFT)
        inside = np.clip((y - upper_edge) / soft, 0.0, 1.0) * np.clip((lower_edge - y) / soft, 0.0, 1.0) * (off < 1)
        bite = upper_edge + np.minimum(TEETH * (1 + SMILE_TEETH * smile), (BITE + SMILE_BITE * smile) * gap * lips)
        fade = TEETH_FADE * (1 - SMILE_FADE * smile)
        teeth = np.clip((bite - y) / soft, 0.0, 1.0) * np.clip((TEETH_REACH - off) / fade, 0.0, 1.0)
        teeth = teeth * (1 - LIP_SHADOW * np.clip(1 - (y - upper_edge) / LIP_SHADOW_REACH, 0.0, 1.0))
        return inside.astype(np.float32), (inside * teeth).astype(np.float32)

    def _unsmiled(self, x: Floats, y: Floats, smile: float) -> tuple[Floats, Floats]:
        """Return where places would lie without a smile. About each corner all is moved alike, less farther off."""
        if smile <= 0:
            return x, y.copy()
        out, up = (np.float32(smile * one) for one in SMILE)
        right, down = np.zeros_like(x), np.zeros_like(y)
        for (at_x, at_y), side in ((self.lips[0], -out), (self.lips[-1], out)):
            off_x, off_y = (x - (at_x + side)) / SMILE_REACH[0], (y - (at_y + up)) / SMILE_REACH[1]
            share = np.exp(np.float32(-0.5) * (off_x * off_x + off_y * off_y)).astype(np.float32)
            right += side * share
            down += up * share
        return x - right, y - down

    def _lips_at(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the rows where lips meet, how far from their middle that is, in half widths, and how far they part."""
        middle, half = float(self.lips[:, 0].mean()), float(np.ptp(self.lips[:, 0])) / 2
        line = np.interp(x, self.lips[:, 0], self.lips[:, 1]).astype(np.float32)
        off = np.abs(x - middle) / half
        return line, off, np.sqrt(np.clip(1 - off**2, 0.0, 1.0))

    def _parted(self, x: Floats, y: Floats, gap: float) -> Floats:
        """Return the rows of texels that a mouth with a gap shows."""
        line, off, lips = self._lips_at(x)
        jaw = np.clip(1 - (off / JAW_REACH) ** 2, 0.0, 1.0)
        parted = (1 - UPPER_SHARE) * gap * lips
        low = np.clip((y - line) / (self.chin - line), 0.0, 1.5)
        near = np.clip(1 - low / LIP_REACH, 0.0, 1.0)
        down = (1 - UPPER_SHARE) * gap * (near * lips + (1 - near) * jaw * (1 - JAW_LAG * np.minimum(low, 1.0)))
        # Beside the lips skin is stretched, no more than this: what lies below never comes up to where they meet.
        down = np.minimum(down, parted + STRETCH * np.maximum(y - line - parted, 0.0))
        up = UPPER_SHARE * gap * lips * np.clip((y - self.nose) / (line - self.nose), 0.0, 1.0)
        below = y > line + (0.5 - UPPER_SHARE) * gap * lips
        return np.asarray(np.where(below, np.maximum(y - down, line), np.minimum(y + up, line)), np.float32)
