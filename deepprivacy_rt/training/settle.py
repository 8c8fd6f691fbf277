"""Teaching a trained generator that an opening mouth changes the mouth and nothing else, and that lids shut.

    python -m deepprivacy_rt.training.settle weights/face128.safetensors PACK settled.safetensors --minutes 30 \\
        --encoder weights/training/face128/encoder.safetensors

What it learned of expressions it learned from pictures of different people: with the mouth it opens, its skin and nose
become another's. Here it is its own teacher (distillation, Hinton et al. 2015): it shall draw what it draws at rest,
with the mouth and the chin of what it draws for the expression, brought to the same tone. Eyes that are to be narrow or
shut are drawn open, and then the lids are lowered (:mod:`deepprivacy_rt.training.lids`): no picture has shown it shut
eyes. The teacher sees surroundings without sensor noise and keypoints without the last jitter, so that noise changes
less, too; and its faces are tidied: no coloured fringes, no grid behind the head, both of which a discriminator let
pass. No discriminator is needed: nothing new is drawn. At the end its prior is fitted again.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.geometry import RegionGeometry
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.training import losses
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.detail import gaussian
from deepprivacy_rt.training.encoding import read_encoder
from deepprivacy_rt.training.lids import LidCloser
from deepprivacy_rt.training.prior import fit_prior
from deepprivacy_rt.training.views import Views, ViewSampler
from deepprivacy_rt.weights import Weights

_BATCH, _RATE, _HEAD_SHARE, _HALF_LIFE = 8, 1e-4, 0.25, 400.0
_MOUTH, _EYE = (0.30, 0.23), (0.16, 0.11)
"""Half axes in face units around mouth and eye within which an expression acts."""
_BELOW = 0.14
"""Face units by which the middle of what the mouth moves lies below it: the chin belongs to it."""
_CELL = 16
"""Pixels over which tones are compared."""
_MOST_OPEN = 0.7
"""How far mouths are opened."""
_SHUT, _NARROW, _WINKING = 0.2, 0.4, 0.1
"""Shares of the pictures with both eyes shut, both narrow to any degree, and each eye as it likes."""
_JITTER = 0.002
"""Deviation of keypoints, in face units, that the pupil should not answer to."""
_CHROMA_BLUR, _LUMA_BLUR = 1.5, 0.8
"""Deviations in pixels: of colours everywhere, of brightness outside of the face."""
_OVAL = (0.36, 0.50)
"""Half axes of the face in face units, around the middle between eyes and mouth."""
_LUMA = (0.299, 0.587, 0.114)
_FINE_COUNTS = 4.0
"""How much the error in fine detail counts on its own: without, a pupil draws softer faces than its teacher."""
_EYES_COUNT = 5.0
"""How much the error in the eyes counts on its own: they are a fiftieth of the cover."""


def drawn_doings(rest: Tensor, expressions: Tensor, random: torch.Generator) -> Tensor:
    """Return what faces are told, (n, 3): half of the mouths opened at will, and eyes from wide to shut.

    :param expressions: (n, 3) of the batch's pictures. :param rest: (3,).
    """
    count, device = len(expressions), expressions.device
    other = expressions[torch.randperm(count, device=device, generator=random)]
    freely, opening, kind, wide, left = torch.rand(5, count, 1, device=device, generator=random)
    mouth = torch.where(freely < 0.5, _MOST_OPEN * opening, other[:, :1])
    wide = wide * rest[1]
    right = torch.where(kind < _SHUT, 0.0, torch.where(kind < _SHUT + _NARROW, wide, other[:, 1:2]))
    left = torch.where(kind < _SHUT + _NARROW, right, torch.where(kind > 1 - _WINKING, left * rest[2], other[:, 2:]))
    return torch.cat([mouth, right, left], dim=1)


def acting(keypoints: Tensor, size: int, region: RegionGeometry) -> tuple[Tensor, Tensor]:
    """Return how much of each pixel mouth and eyes may change, (n, 1, size, size) each, 0..1 with soft edges.

    :param keypoints: (n, 6, 2), -1..1 over the patch.
    """
    below = keypoints.new_tensor([0.0, _BELOW * 2 / region.side])
    mouth = _around(keypoints[:, 3] + below, _MOUTH, size, region)
    right, left = (_around(keypoints[:, eye], _EYE, size, region) for eye in (0, 1))
    return mouth, torch.maximum(right, left)


def _around(middle: Tensor, axes: tuple[float, float], size: int, region: RegionGeometry) -> Tensor:
    """Return a soft ellipse around (n, 2) places, (n, 1, size, size). :param axes: half axes in face units."""
    axis = (torch.arange(size, device=middle.device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    across, down = ((axis_ - middle[:, i, None, None]) / (axes[i] * 2 / region.side) for i, axis_ in enumerate((x, y)))
    most = ((1.3 - (across**2 + down**2).sqrt()) / 0.6).clamp(0, 1)
    return (most * most * (3 - 2 * most))[:, None]


def goal(rest: Tensor, doing: Tensor, act: Tensor, cover: Tensor) -> Tensor:
    """Return the face at rest with the acting parts of the other, at the tone that both have around these parts.

    :param rest: (n, 3, s, s), likewise ``doing``.
    :param act: see :func:`acting`.
    :param cover: (n, 1, s, s).
    """
    still = (1 - act) * cover
    weight = F.avg_pool2d(still, _CELL)
    change = F.avg_pool2d((doing - rest) * still, _CELL)
    kernel = torch.ones(1, 1, 5, 5, device=rest.device)
    spread = F.conv2d(change.flatten(0, 1)[:, None], kernel, padding=2).reshape_as(change)
    tone = spread / F.conv2d(weight, kernel, padding=2).clamp(min=1e-3)
    tone = F.interpolate(tone, scale_factor=float(_CELL), mode="bilinear", align_corners=False)
    return act * (doing - tone) + (1 - act) * rest


def tidied(faces: Tensor, keypoints: Tensor, region: RegionGeometry) -> Tensor:
    """Return faces whose colours are a little blurred, and whose brightness is around the face.

    :param faces: (n, 3, s, s). :param keypoints: (n, 6, 2), -1..1 over the patch.
    """
    luma = (faces * faces.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    chroma = gaussian((faces - luma).flatten(0, 1), _CHROMA_BLUR).reshape_as(faces)
    middle = (keypoints[:, :2].mean(dim=1) + keypoints[:, 3]) / 2
    away = 1 - _around(middle, _OVAL, faces.shape[-1], region)
    return chroma + torch.lerp(luma, gaussian(luma[:, 0], _LUMA_BLUR)[:, None], away)


def _fine(faces: Tensor) -> Tensor:
    """Return what is finer than about two pixels."""
    return faces - F.avg_pool2d(faces, 3, stride=1, padding=1, count_include_pad=False)


class Settler:
    """Teacher, pupil and the pupil's average.

    :param data: the training faces for each region.
    :param lids: shuts the eyes of the teacher's faces; None: they stay as it draws them.
    :param pupil: one that has learned before; None: it begins as its teacher.
    """

    def __init__(
        self,
        teacher: Generator,
        data: dict[Region, FaceData],
        device: torch.device,
        lids: LidCloser | None = None,
        pupil: Generator | None = None,
    ) -> None:
        self.lids = lids
        self.teacher = teacher.to(device).requires_grad_(False)
        self.average = copy.deepcopy(pupil or teacher).to(device).requires_grad_(False)
        self.pupil = copy.deepcopy(self.average).requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.pupil.parameters(), lr=_RATE, betas=(0.9, 0.99))
        self.random = torch.Generator(device).manual_seed(0)
        size = teacher.config.size
        self.samplers = {region: ViewSampler(data[region], GEOMETRY[region], size, self.random) for region in data}

    def step(self) -> Tensor:
        """Take one step; return the error, mean over the cover."""
        place = torch.rand(1, generator=self.random, device=self.random.device)
        region = Region.HEAD if float(place) < _HEAD_SHARE else Region.FACE
        sampler, network = self.samplers[region], self.teacher
        index = sampler.choose(_BATCH)
        views = sampler.views(index, sampler.geometry(index), sampler.look(_BATCH))
        latent = network.prior_mean + sampler.normal(_BATCH, network.config.latent) @ network.prior_factor.T
        doing = drawn_doings(network.rest, views.expression, self.random)
        mouth, eyes = acting(views.keypoints, network.config.size, GEOMETRY[region])
        wanted = self._wanted(views, latent, doing, torch.maximum(mouth, eyes), GEOMETRY[region])
        jitter = sampler.normal(*views.keypoints.shape) * (_JITTER * 2 / GEOMETRY[region].side)
        made = self.pupil(views.image, views.mask, views.keypoints + jitter, latent, doing)
        error = losses.pyramid_l1(made, wanted, views.cover, (1, 4, 16))
        error = error + _EYES_COUNT * losses.masked_l1(made, wanted, eyes * views.cover)
        error = error + _FINE_COUNTS * losses.masked_l1(_fine(made), _fine(wanted), views.cover)
        self.optimizer.zero_grad(set_to_none=True)
        error.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.pupil.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        return losses.masked_l1(made, wanted, views.cover).detach()

    @torch.no_grad()
    def _wanted(self, views: Views, latent: Tensor, doing: Tensor, act: Tensor, region: RegionGeometry) -> Tensor:
        network, clean = self.teacher, views.target * (1 - views.mask)
        rest = network(clean, views.mask, views.keypoints, latent, network.rest.expand(_BATCH, -1))
        if self.lids is None:
            told = network(clean, views.mask, views.keypoints, latent, doing)
            return tidied(goal(rest, told, act, views.cover), views.keypoints, region)
        open_eyed = torch.maximum(doing, network.rest * network.rest.new_tensor([0.0, 1.0, 1.0]))
        told = network(clean, views.mask, views.keypoints, latent, open_eyed)
        wanted = tidied(goal(rest, told, act, views.cover), views.keypoints, region)
        whole = views.mask * wanted + (1 - views.mask) * views.target
        shut = self.lids.close(whole, views.keypoints, doing, region)
        return torch.where(views.mask > 0, shut, wanted)

    @torch.no_grad()
    def _update_average(self) -> None:
        share = 1 - 0.5 ** (_BATCH / _HALF_LIFE)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.pupil.parameters()), share)


def settle(
    weights: Path,
    pack: Path,
    output: Path,
    encoder: Path,
    minutes: float,
    pupil: Path | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train for so long, and write the average with its prior. Raises WeightsError, TrainingError.

    :param encoder: the generator's, from its training state.
    :param pupil: an earlier output, to go on with.
    """
    teacher, device = load_generator(weights), torch.device("cpu")
    if teacher.detail is not None:
        raise TrainingError(f"{weights}: has a detail head; settle the generator without it, and train the head anew")
    data = {r: load(pack, device, lambda name: not held_out(name), GEOMETRY[r].side) for r in Region}
    lids = LidCloser(FaceMesh(Weights(report=report).path("face-landmark")))
    settler = Settler(teacher, data, device, lids, None if pupil is None else load_generator(pupil))
    start, errors = time.monotonic(), []
    while time.monotonic() - start < 60 * minutes:
        errors.append(float(settler.step()))
        if len(errors) % 50 == 0:
            rate = len(errors) * _BATCH / (time.monotonic() - start)
            report(f"{len(errors) * _BATCH} pictures, {rate:.1f} per second, error {sum(errors[-50:]) / 50:.4f}")
            save_generator(settler.average, output)
    mean, factor = fit_prior(settler.average, read_encoder(encoder, teacher.config.latent), data[Region.FACE])
    settler.average.prior_mean.copy_(mean)
    settler.average.prior_factor.copy_(factor)
    save_generator(settler.average, output)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.settle", description=__doc__)
    parser.add_argument("weights", type=Path, help="a generator without a detail head")
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("output", type=Path, help="where the settled generator goes")
    help_ = "of its training state: the prior is fitted again"
    parser.add_argument("--encoder", type=Path, required=True, metavar="FILE.safetensors", help=help_)
    parser.add_argument("--minutes", type=float, default=30.0, help="0: fit the prior only (default: %(default)s)")
    parser.add_argument("--pupil", type=Path, metavar="FILE.safetensors", help="an earlier output, to go on with")
    args = parser.parse_args()
    settle(args.weights, args.pack, args.output, args.encoder, args.minutes, args.pupil)


if __name__ == "__main__":
    main()
