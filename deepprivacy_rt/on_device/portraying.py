"""Portraits over a network's faces, on the device: see :class:`deepprivacy_rt.generators.portraying.PortraitGenerator`.

As blind as that: what a portrait does follows from keypoints, expression, identity and the network's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepprivacy_rt.generators.posing import Posed, new_part, posed
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.on_device.backdrop import Backdrop
from deepprivacy_rt.on_device.complexion import Complexions
from deepprivacy_rt.on_device.cutting import Patches
from deepprivacy_rt.on_device.forehead import Foreheads
from deepprivacy_rt.on_device.grain import Grainer
from deepprivacy_rt.on_device.outline import Outliner
from deepprivacy_rt.on_device.portrait_drawing import DeviceFace, Drawing, PortraitDrawer
from deepprivacy_rt.on_device.shapes import FaceShape
from deepprivacy_rt.types import FacePatch, Replacement


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The portraits of a frame. :ivar rows: which faces have one."""

    rows: list[int]
    drawing: Drawing
    heads: list[Posed]


class DevicePortrayer:
    """Chooses, poses and draws the portraits of one stream, whose frames come in order.

    :param size: side of the patches. :param frame_rate: frames per second, above 0.
    """

    def __init__(self, wardrobe: Wardrobe, size: int, device: torch.device, frame_rate: float) -> None:
        self._wardrobe, self._device = wardrobe, device
        self._drawer = PortraitDrawer(wardrobe.bank, size, device)
        self._part = new_part(frame_rate)
        self._trial = DeviceFace.of(wardrobe.trial, device)
        self._faces: dict[int, DeviceFace] = {}
        self._motions: dict[int, tuple[Posed, Tensor, Tensor]] = {}
        self._complexions, self._backdrop = Complexions(size, device, frame_rate), Backdrop(size, device)
        self._foreheads, self._outliner = Foreheads(size, device), Outliner(size, device)
        self._grainer = Grainer(size, self._drawer.side, self._foreheads, device)

    def meet(self, patches: Patches, shapes: Sequence[FaceShape], draw: Callable[[Tensor | None], Tensor]) -> None:
        """Give identities that are new a face, by what the network draws around a face that all try on.

        :param draw: takes hints, and makes it of these patches, (n, 3, s, s) levels; called where somebody is new.
        """
        new = {
            shape.track.identity: row for row, shape in enumerate(shapes) if shape.track.identity not in self._wardrobe
        }
        if not new:
            return
        rows = list(new.values())
        drawn = draw(self.hints(self._tried(rows, shapes), len(shapes)))
        faces, seen, masks = (
            part[rows].permute(0, 2, 3, 1).cpu().numpy() for part in (drawn, patches.image, patches.mask)
        )
        for row, face, image, mask in zip(rows, faces, seen, masks, strict=True):
            if np.isfinite(face).all():
                patch = _patch(shapes[row], image.astype(np.uint8), mask[..., 0])
                self._wardrobe.meet(Replacement(patch, face.astype(np.uint8)))
        self._wardrobe.forget(len(shapes))
        self._faces = {one: face for one, face in self._faces.items() if one in self._wardrobe}

    def _tried(self, rows: list[int], shapes: Sequence[FaceShape]) -> Shown:
        """Return the trial face on some faces of a frame."""
        heads = [
            posed(shapes[row].track, shapes[row].keypoints, self._wardrobe.trial.head, self._drawer.size, None, 1.0)
            for row in rows
        ]
        return self._shown(rows, [self._trial] * len(rows), heads)

    def _shown(self, rows: list[int], faces: list[DeviceFace], heads: list[Posed]) -> Shown:
        doings = [head.track.expression for head in heads]
        return Shown(rows, self._drawer.draw(faces, np.stack([head.matrix for head in heads]), doings), heads)

    def drawn(self, shapes: Sequence[FaceShape]) -> Shown | None:
        """Return the portraits of a frame's faces; None: none of them has one."""
        rows = [row for row, shape in enumerate(shapes) if shape.track.identity in self._wardrobe]
        if not rows:
            return None
        heads, faces = [], []
        for shape in (shapes[row] for row in rows):
            track = shape.track
            earlier = self._motions.get(track.track_id, (None,))[0]
            face = self._wardrobe.face(track.identity)
            heads.append(posed(track, shape.keypoints, face.head, self._drawer.size, earlier, self._part))
            if track.identity not in self._faces:
                self._faces[track.identity] = DeviceFace.of(face, self._device)
            faces.append(self._faces[track.identity])
        return self._shown(rows, faces, heads)

    def hints(self, shown: Shown | None, count: int) -> Tensor | None:
        """Return what the network is told of them, (count, 2, s, s), 0 for faces without a portrait."""
        if shown is None:
            return None
        found = self._drawer.hints(shown.drawing)
        hints = found.new_zeros(count, *found.shape[1:])
        hints[shown.rows] = found
        return hints

    def portrayed(self, faces: Tensor, sound: Tensor, patches: Patches, shown: Shown | None) -> Tensor:
        """Return faces with their portraits, (n, 3, S, S) whole levels.

        :param faces: (n, 3, s, s) whole levels, 0 to 255, calmed. :param sound: (n,) bool, False: the network failed.
        """
        before, self._motions = self._motions, {}
        if shown is None:
            return self.fine(faces)
        rows, heads = shown.rows, shown.heads
        seen = Patches(patches.image[rows], patches.mask[rows])
        tracks, goes_on = [head.track.track_id for head in heads], [head.goes_on for head in heads]
        faces = faces.clone()
        steadied = self._complexions.steadied(faces[rows], sound[rows], seen, shown.drawing.skin, tracks, goes_on)
        earlier = [before[head.track.track_id][2] if head.goes_on else None for head in heads]
        skins, share = self._complexions.skins(tracks), shown.drawing.share
        backed, walls, behind = self._backdrop.behind(steadied, seen, skins, earlier, self._part, share)
        backed = self._foreheads.evened(backed, seen.mask, self._drawer.hints(shown.drawing), skins, walls)
        faces[rows] = self._drawer.crisp(self._outliner.outlined(backed, walls, behind, seen.mask))
        fine = self.fine(faces)
        tones = self._drawer.tones(backed, shown.drawing)
        calmed = []
        for head, tone, wall in zip(heads, tones, walls, strict=True):
            if head.goes_on:
                was = before[head.track.track_id][1]
                tone = was + self._part * (tone - was)
            calmed.append(tone)
            self._motions[head.track.track_id] = head, tone, wall
        blended = self._drawer.blended(fine[rows], shown.drawing, torch.stack(calmed)).round()
        poses = [head.matrix for head in heads]
        fine[rows] = self._grainer.grained(blended, faces[rows], share, shown.drawing.skin, poses)
        return fine

    def fine(self, faces: Tensor) -> Tensor:
        """Return pictures in the portraits' resolution, a copy. :param faces: (n, 3, s, s)."""
        return self._drawer.fine(faces).clone()


def _patch(shape: FaceShape, image: np.ndarray, mask: np.ndarray) -> FacePatch:
    return FacePatch(
        track=shape.track,
        image=image,
        mask=mask,
        keypoints=shape.keypoints,
        transform=shape.to_patch,
        outline=shape.outline,
    )
