"""Portraits drawn on the device, all faces of a frame at once: see :mod:`deepprivacy_rt.portraits.relief` and
:mod:`deepprivacy_rt.generators.portraying`, whose methods and numbers these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.generators import portraying as look
from deepprivacy_rt.generators.retouching import CRISP_BLUR, CRISP_GAIN, crisp_reach
from deepprivacy_rt.generators.wardrobe import Face
from deepprivacy_rt.on_device.portrait_gestures import DeviceGestures
from deepprivacy_rt.portraits import relief
from deepprivacy_rt.portraits.bank import PortraitBank
from deepprivacy_rt.portraits.canonical import CENTER_Y, HALF
from deepprivacy_rt.portraits.hint import MOST
from deepprivacy_rt.types import Expression, Image

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceFace:
    """What an identity looks like.

    :ivar image: (3, f, f) its picture, 0 to 255. :ivar soft: (3, t, t) the same, blurred.
    :ivar cover: (2, t, t) how much of it is face, and skin, 0 to 1. :ivar relief: (9, g, g).
    """

    image: Tensor
    soft: Tensor
    cover: Tensor
    relief: Tensor

    @classmethod
    def of(cls, face: Face, device: torch.device) -> DeviceFace:
        """Bring a face to the device."""
        return cls(
            _picture(face.texture.image, device),
            _picture(face.texture.soft, device),
            torch.from_numpy(np.ascontiguousarray(face.texture.cover.transpose(2, 0, 1))).to(device),
            torch.from_numpy(face.relief.planes).to(device),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Portraits of n faces on their patches, finer than these by a whole factor.

    :ivar image: (n, 3, S, S) whole levels, 0 to 255. :ivar share: (n, 1, S, S) 0 to 1, how much of it is to be seen.
    :ivar mouth, teeth: (n, 1, S, S) how much is the inside of an open mouth, and teeth, which are part of that.
    :ivar coarse: (n, 3, g, g) whole levels. :ivar skin: (n, 1, g, g) where that is to be seen, and skin.
    """

    image: Tensor
    share: Tensor
    mouth: Tensor
    teeth: Tensor
    coarse: Tensor
    skin: Tensor


class PortraitDrawer:
    """Draws the portraits of a bank on patches of a device.

    :param size: side of the patches. :ivar side: of what is drawn.
    """

    def __init__(self, bank: PortraitBank, size: int, device: torch.device) -> None:
        self.size, self._device = size, device
        self.side = size * (look.ZOOM if size < look.FINE else 1)
        self._grid = min(size // 2, relief.GRID)
        self._gestures = DeviceGestures(bank.gestures, device)
        ticks = (torch.arange(self._grid, device=device, dtype=torch.float32) + 0.5) * (size / self._grid) - 0.5
        self._pixels = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"))[None]
        self._smooth = blur_matrix(size, CRISP_BLUR * size, 6).to(device)
        self._blur = blur_matrix(look.TONE_CELLS, look.TONE_BLUR * look.TONE_CELLS, 8).to(device)

    def draw(self, faces: Sequence[DeviceFace], poses: NDArray[np.float64], doings: Sequence[Expression]) -> Drawing:
        """Draw at least one portrait.

        :param poses: (n, 2, 4), from canonical points to patch pixels.
        """
        places, seen = self._solve(torch.stack([face.relief for face in faces]), poses)
        texels = self._gestures.texels(places.permute(0, 2, 3, 1), doings)
        inside, teeth = self._gestures.insides(self._enlarged(places).permute(0, 2, 3, 1), doings)
        where = _in_map(texels.permute(0, 3, 1, 2))
        cover = torch.stack([face.cover for face in faces])
        covered = _sampled(cover, where, outside="zeros") * seen
        fine = self._enlarged(where)
        textures = torch.stack([face.image for face in faces])
        image = _sampled(textures, fine).round()
        return Drawing(
            image=self._gestures.lower_lids(image, textures, fine, doings).round(),
            share=_sampled(cover[:, :1], fine, outside="zeros") * self._enlarged(seen),
            mouth=inside[:, None],
            teeth=teeth[:, None] * self._gestures.dents(fine),
            coarse=_sampled(torch.stack([face.soft for face in faces]), where).round(),
            skin=covered[:, 1:],
        )

    def hints(self, drawing: Drawing) -> Tensor:
        """Return what the network is told of portraits, (n, 2, s, s): see :mod:`deepprivacy_rt.portraits.hint`."""
        weight = drawing.skin.sum(dim=(1, 2, 3)).clamp(min=1e-3)
        skin = ((luma(drawing.coarse) * drawing.skin).sum(dim=(1, 2, 3)) / weight).clamp(min=1)
        light = (luma(drawing.image) / skin[:, None, None, None] - 1).clamp(-MOST, MOST) * drawing.share
        return F.avg_pool2d(torch.cat([light, drawing.share], dim=1), self.side // self.size)

    def tones(self, faces: Tensor, drawing: Drawing) -> Tensor:
        """Return what portraits are multiplied by, (n, 3, c, c), so that the tones of their skin are the faces'.

        :param faces: (n, 3, s, s), 0 to 255.
        """
        coarse = F.interpolate(faces, (self._grid, self._grid), mode="area")
        cells = (look.TONE_CELLS, look.TONE_CELLS)
        both = torch.cat([coarse * drawing.skin, drawing.coarse * drawing.skin])
        enlarges = self._grid < look.TONE_CELLS
        few = F.interpolate(both, cells, mode="bilinear") if enlarges else F.interpolate(both, cells, mode="area")
        own, portrait = (self._blur @ few @ self._blur.T).chunk(2)
        return ((own + 0.1) / (portrait + 0.1)).clamp(look.LEAST_GAIN, look.MOST_GAIN)

    def blended(self, faces: Tensor, drawing: Drawing, tones: Tensor) -> Tensor:
        """Return faces with the features of portraits, (n, 3, S, S). :param faces: (n, 3, S, S), 0 to 255."""
        inside, teeth = (faces.new_tensor(color)[None, :, None, None] for color in (look.INSIDE, look.TEETH))
        bite = drawing.teeth
        mean = tones.mean(dim=(2, 3), keepdim=True)
        inside, teeth = (color * (mean.mean(dim=1, keepdim=True) / mean) for color in (inside, teeth))
        deep = inside * (1 - bite) + teeth * bite * (1 - look.DARKER_DEEP * (1 - bite))
        picture = (drawing.image + drawing.mouth * (deep - drawing.image)) * self._enlarged(tones)
        return (faces + (picture - faces) * drawing.share).clamp(0, 255)

    def crisp(self, faces: Tensor) -> Tensor:
        """Return faces with fine detail raised, whole levels. :param faces: (n, 3, s, s), 0 to 255."""
        reach = crisp_reach(self.size)
        faces = _median(faces, reach)
        smooth = (self._smooth @ faces @ self._smooth.T).round()
        raised = (faces + CRISP_GAIN * (faces - smooth)).round()
        darkest, brightest = (s * F.max_pool2d(s * faces, reach, stride=1, padding=reach // 2) for s in (-1, 1))
        return raised.clamp(darkest, brightest)

    def fine(self, faces: Tensor) -> Tensor:
        """Return faces in the portraits' resolution, whole levels. :param faces: (n, 3, s, s), 0 to 255."""
        if self.side == faces.shape[2]:
            return faces
        large = F.interpolate(faces, (self.side, self.side), mode="bicubic", align_corners=False)
        return large.round().clamp(0, 255)

    def _enlarged(self, cells: Tensor) -> Tensor:
        return F.interpolate(cells, (self.side, self.side), mode="bilinear", align_corners=False)

    def _solve(self, reliefs: Tensor, poses: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return the canonical place seen in each cell, (n, 2, g, g), and whether it is seen, (n, 1, g, g) 0 to 1."""
        flat = np.linalg.inv(poses[:, :, :2] + 1e-6 * np.eye(2))
        away = poses[:, :, 3] + poses[:, :, 2] * relief.FLAT_Z
        scale = np.sqrt((poses[:, :, :3] ** 2).sum(axis=(1, 2)) / 2)
        near = np.stack([relief.toward_viewer(pose) for pose in poses])
        matrix, shift, back, start, unit, toward = (
            torch.from_numpy(np.asarray(part, np.float32)).to(self._device)
            for part in (poses[:, :, :3], poses[:, :, 3, None, None], flat, away[:, :, None, None], scale, near)
        )
        unit = unit[:, None, None, None]
        places = self._kept(torch.einsum("nij,njhw->nihw", back, self._pixels - start))
        # Projected once: what is linear comes out the same before and after interpolation.
        parts = [torch.einsum("nij,njhw->nihw", matrix, part) for part in reliefs.chunk(3, dim=1)]
        field = torch.cat([parts[0] + shift, *parts[1:]], dim=1)
        places = self._started_in_front(places, field, torch.einsum("ni,nihw->nhw", toward, reliefs[:, :3]))
        for _ in range(relief.STEPS):
            error, (a, c, b, d), area = self._miss(field, places)
            least = 0.05 * unit**2
            safe = torch.where(area.abs() < least, least, area)
            x, y = error.chunk(2, dim=1)
            step = torch.cat([d * x - b * y, a * y - c * x], dim=1) / safe
            places = self._kept(places + step.clamp(-relief.LARGEST_STEP, relief.LARGEST_STEP))
        error, _, area = self._miss(field, places)
        misfit = error.abs().amax(dim=1, keepdim=True) / unit
        facing = ((area / unit**2 - relief.FACING[0]) / (relief.FACING[1] - relief.FACING[0])).clamp(0, 1)
        seen = _median(facing * (2 - misfit / relief.MISFIT).clamp(0, 1), 3)
        return places, F.avg_pool2d(F.pad(seen, (1, 1, 1, 1), mode="reflect"), 3, stride=1)

    def _started_in_front(self, places: Tensor, field: Tensor, depth: Tensor) -> Tensor:
        """See ``portraits.relief._start_in_front``. :param depth: (n, g, g), larger where nearer."""
        cell = relief.FORE_CELL
        count, cells = -(-self._grid // cell), field.shape[3]
        column, row = ((field[:, :2] + 0.5) * (self._grid / self.size / cell)).floor().flatten(2).unbind(dim=1)
        a, c, b, d = field[:, 2:].flatten(2).unbind(dim=1)
        known = (column >= 0) & (column < count) & (row >= 0) & (row < count) & (a * d > c * b)
        # What is not known goes to one cell more, which is thrown away.
        where = torch.where(known, row * count + column, count**2).long()
        near = depth.flatten(1)
        nearest = near.new_full((len(near), count**2 + 1), -torch.inf).scatter_reduce(1, where, near, "amax")
        number = torch.arange(near.shape[1], device=near.device).expand_as(near)
        number = torch.where(near == nearest.gather(1, where), number, -1)
        fore = torch.full_like(nearest, -1, dtype=torch.long).scatter_reduce(1, where, number, "amax")[:, :-1]
        fore = fore.reshape(-1, 1, count, count).repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
        fore = fore[..., : self._grid, : self._grid]
        x, y = (((one + 0.5) / cells * 2 - 1) * HALF for one in (fore % cells, fore // cells))
        return torch.where(fore >= 0, torch.cat([x, y + CENTER_Y], dim=1), places)

    def _miss(self, field: Tensor, places: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """See ``portraits.relief._miss``. :param field: (n, 6, g, g) places, their change along x, and along y."""
        found = _sampled(field, _in_map(places))
        a, c, b, d = found[:, 2:].chunk(4, dim=1)
        return self._pixels - found[:, :2], (a, c, b, d), a * d - c * b

    @staticmethod
    def _kept(places: Tensor) -> Tensor:
        """Return places within the map, (n, 2, g, g)."""
        x, y = places.chunk(2, dim=1)
        return torch.cat([x.clamp(-HALF, HALF), y.clamp(CENTER_Y - HALF, CENTER_Y + HALF)], dim=1)


def blur_matrix(cells: int, deviation: float, widths: int) -> Tensor:
    """Return the (cells, cells) matrix of OpenCV's Gaussian blur of that many values, mirrored at the ends.

    :param widths: of the kernel, in deviations: 8 for OpenCV's float32, 6 for bytes.
    """
    width = round(deviation * widths + 1) | 1
    return torch.from_numpy(cv2.GaussianBlur(np.eye(cells, dtype=np.float32), (1, width), deviation))


def _in_map(points: Tensor) -> Tensor:
    """Return where canonical points lie in a map, -1 to 1 from edge to edge, (n, 2, h, w)."""
    x, y = points.chunk(2, dim=1)
    return torch.cat([x, y - CENTER_Y], dim=1) / HALF


def _sampled(maps: Tensor, where: Tensor, outside: str = "border") -> Tensor:
    grid = where.permute(0, 2, 3, 1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def luma(image: Tensor) -> Tensor:
    weights = image.new_tensor(_LUMA)[None, :, None, None]
    return (image * weights).sum(dim=1, keepdim=True).round()


def _median(pictures: Tensor, side: int) -> Tensor:
    """Return the median of each pixel's square of ``side``, odd, (n, c, s, s); edges go on beyond the picture."""
    around = F.pad(pictures, (side // 2,) * 4, mode="replicate")
    return around.unfold(2, side, 1).unfold(3, side, 1).flatten(-2).median(dim=-1).values


def _picture(image: Image, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(device).float()
