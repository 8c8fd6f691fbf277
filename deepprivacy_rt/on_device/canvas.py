"""One frame on a device: uploaded once, erased, painted, copied back once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.on_device.calming import FaceCalmer
from deepprivacy_rt.on_device.cutting import PatchCutter, Patches
from deepprivacy_rt.on_device.erasing import erase
from deepprivacy_rt.on_device.pasting import PatchPaster, is_flat
from deepprivacy_rt.on_device.portraying import DevicePortrayer
from deepprivacy_rt.on_device.shapes import FaceShape
from deepprivacy_rt.runtimes.uploads import Uploads
from deepprivacy_rt.types import FaceTrack, Frame, SafeFrame


class FaceNetwork(Protocol):
    """Invents faces on the device. Sees only erased patches."""

    @property
    def patch_size(self) -> int:
        """Side in pixels of the patches it accepts and returns."""
        ...

    def draw(
        self,
        image: Tensor,
        mask: Tensor,
        tracks: Sequence[FaceTrack],
        keypoints: NDArray[np.float32],
        hints: Tensor | None = None,
    ) -> Tensor:
        """Map (n, 3, s, s) RGB in -1..1, 0 where erased, and (n, 1, s, s), 1 where erased, to (n, 3, s, s) RGB in
        -1..1, all float32 on the device.

        :param keypoints: (n, 6, 2) patch pixels. :param hints: of portraits, (n, 2, s, s); None: there are none.
        """
        ...


class DevicePainter:
    """Makes the canvases of one stream, whose frames come in order (a :class:`deepprivacy_rt.stages.Painter`)."""

    def __init__(
        self,
        network: FaceNetwork,
        region: Region,
        uploads: Uploads,
        frame_rate: float,
        wardrobe: Wardrobe | None = None,
    ) -> None:
        """:param uploads: shared with the detector. :param frame_rate: frames per second, above 0.
        :param wardrobe: the stream's; None: faces are the network's alone."""
        self._geometry = GEOMETRY[region]
        self._uploads = uploads
        self.network = network
        self.cutter = PatchCutter(self._geometry, network.patch_size, uploads.device)
        self.paster = PatchPaster(network.patch_size, uploads.device)
        self.calmer = FaceCalmer(frame_rate, portrayed=wardrobe is not None)
        self.portrayer: DevicePortrayer | None = None
        if wardrobe is not None:
            self.portrayer = DevicePortrayer(wardrobe, network.patch_size, uploads.device, frame_rate)

    @torch.inference_mode()
    def erase(self, frame: Frame, tracks: Sequence[FaceTrack]) -> DeviceCanvas:
        """See :class:`deepprivacy_rt.stages.Painter`. Raises StageError for a track without a shape."""
        shapes = [FaceShape.of(track, self._geometry, self.network.patch_size) for track in tracks]
        return DeviceCanvas(self, frame, self._uploads.of(frame.image), shapes)


class DeviceCanvas:
    """Implements :class:`deepprivacy_rt.stages.Canvas`. It holds the erased frame; the original is not kept."""

    def __init__(self, painter: DevicePainter, frame: Frame, original: Tensor, shapes: Sequence[FaceShape]) -> None:
        self._painter = painter
        self._index, self._pts = frame.index, frame.pts
        self._shapes = {id(shape.track): shape for shape in shapes}
        self._image = original.clone()
        self._cover = torch.zeros(original.shape[:2], dtype=torch.bool, device=original.device)
        erase(self._image, self._cover, shapes)
        self._painted: list[FaceTrack] = []
        self._changed: list[Tensor] = []

    @torch.inference_mode()
    def paint(self, tracks: Sequence[FaceTrack]) -> None:
        """See :class:`deepprivacy_rt.stages.Canvas`."""
        # Fills first: where one overlaps a face, the face stays whole.
        shapes = [self._shapes[id(track)] for track in sorted(tracks, key=lambda track: not track.uncertain)]
        unsure = sum(shape.track.uncertain for shape in shapes)
        if unsure == len(shapes):
            self._painter.calmer.forget()
        if not shapes:
            return
        patches = self._painter.cutter.cut(self._image, self._cover, shapes)
        fills = self._painter.paster.spread(Patches(patches.image[:unsure], patches.mask[:unsure]))
        faces, sound = fills, torch.ones(unsure, dtype=torch.bool, device=fills.device)
        if unsure < len(shapes):
            drawn, good = self._drawn(Patches(patches.image[unsure:], patches.mask[unsure:]), shapes[unsure:])
            fills = fills if self._painter.portrayer is None else self._painter.portrayer.fine(fills)
            faces, sound = torch.cat([fills, drawn]), torch.cat([sound, good])
        # What a failed network gives is left out: its face stays filled.
        usable = sound & (~is_flat(faces) | patches.mask.flatten(1).all(dim=1))
        matched = self._painter.paster.color_matched(faces, patches)
        image = self._image.clone()  # a failure half-way leaves the fill
        changed = [
            self._painter.paster.paste(image, face, shape, wanted)
            for face, shape, wanted in zip(matched, shapes, usable, strict=True)
        ]
        self._image, self._changed, self._painted = image, changed, [shape.track for shape in shapes]

    def _drawn(self, patches: Patches, shapes: Sequence[FaceShape]) -> tuple[Tensor, Tensor]:
        """Return faces in whole levels, (n, 3, S, S) float32, and which of them are finite, (n,) bool."""
        mask = patches.mask.float()
        image = (patches.image * (1 / 127.5) - 1) * (1 - mask)
        keypoints, tracks = np.stack([shape.keypoints for shape in shapes]), [shape.track for shape in shapes]
        network, calmer, portrayer = self._painter.network, self._painter.calmer, self._painter.portrayer
        shown = hints = None
        if portrayer is not None:
            portrayer.meet(patches, shapes, lambda told: _levels(network.draw(image, mask, tracks, keypoints, told)))
            shown = portrayer.drawn(shapes)
            hints = portrayer.hints(shown, len(shapes))
        output = network.draw(image, mask, tracks, keypoints, hints)
        sound = output.isfinite().flatten(1).all(dim=1)
        faces = calmer.calmed(_levels(output.nan_to_num()), sound, patches, shapes).round()
        return faces if portrayer is None else portrayer.portrayed(faces, sound, patches, shown), sound

    @torch.inference_mode()
    def fetch(self) -> tuple[SafeFrame, Sequence[FaceTrack]]:
        """See :class:`deepprivacy_rt.stages.Canvas`."""
        height, width = self._cover.shape
        flags = torch.stack(self._changed) if self._changed else self._cover.new_zeros(0)
        # In one piece, for every copy waits for the device.
        together = torch.cat([self._image.flatten(), self._cover.flatten().byte(), flags.byte()]).cpu().numpy()
        image, cover, changed = np.split(together, [3 * height * width, 4 * height * width])
        safe = SafeFrame(
            image=image.reshape(height, width, 3),
            cover=cover.reshape(height, width).view(np.bool_),
            index=self._index,
            pts=self._pts,
        )
        return safe, [track for track, is_new in zip(self._painted, changed, strict=True) if is_new]


def _levels(output: Tensor) -> Tensor:
    """Return a network's answer in whole levels, 0 to 255; what is not finite stays so, or is at an end."""
    return ((output.clamp(-1, 1) + 1) * 127.5).round()
