"""Says which faces of successive frames are one face, so that frames of one are not counted as many people."""

from __future__ import annotations

from collections.abc import Sequence

from deepprivacy_rt.audit.faces import Face, iou
from deepprivacy_rt.types import Box

_LEAST_IOU = 0.3
_LONGEST_GAP = 1.0
"""Seconds after which a face that comes back at the same place is another one."""


class FaceLinker:
    """Links by overlap with the last place seen, best overlaps first."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, Box]] = {}
        self._next = 0

    def link(self, time: float, faces: Sequence[Face]) -> list[int]:
        """Return the track of each face of the next frame. :param time: seconds, rising."""
        self._last = {track: seen for track, seen in self._last.items() if time - seen[0] <= _LONGEST_GAP}
        overlaps = [
            (iou(face.box, box), number, track)
            for number, face in enumerate(faces)
            for track, (_, box) in self._last.items()
        ]
        found: dict[int, int] = {}
        for overlap, number, track in sorted(overlaps, reverse=True):
            if overlap >= _LEAST_IOU and number not in found and track not in found.values():
                found[number] = track
        for number, face in enumerate(faces):
            if number not in found:
                found[number] = self._next
                self._next += 1
            self._last[found[number]] = (time, face.box)
        return [found[number] for number in range(len(faces))]
