"""Teaching a trained generator to paint what surrounds a portrait, and the tone that the portrait is to take.

    python -m deepprivacy_rt.training.surroundings weights/face128.safetensors PACK PORTRAITS painted.safetensors \\
        --renders RENDERS --minutes 60

At run time the features of a portrait are put over the generator's face (docs/adr/0017-portraits.md). What is left for
the generator is hair, jaw, ears and neck around them, and light and skin. That can be learned from pictures alone: the
target is the picture itself. Under the portrait only coarse colours count, for these are all that is used; around it
everything does. The portrait is the picture's own or another's, and now and then there is none: then the face is to be
what the teacher, the generator before, draws for the same latent, so that nothing is forgotten.

Rendered heads take part: they have short hair, bare ears, dark skin and hard light, which the other pictures lack.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.serialization import load_generator, save_generator
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.portraits.hint import CHANNELS
from deepprivacy_rt.training import losses
from deepprivacy_rt.training.dataset import FaceData, held_out, load
from deepprivacy_rt.training.encoding import latents_of, read_encoder
from deepprivacy_rt.training.judging import Judge, descend, reckoned
from deepprivacy_rt.training.portrait_hints import HintPainter
from deepprivacy_rt.training.settle import drawn_doings, tidied
from deepprivacy_rt.training.views import Geometry, Views, ViewSampler

_BATCH, _BARE, _HEAD_SHARE, _HALF_LIFE = 8, 2, 0.35, 2000.0
"""Pictures in a step; of these, without a portrait; share of steps with whole heads; the average's, in pictures."""
_READ = {Region.FACE: 0.5, Region.HEAD: 0.75}
"""How often a photograph's latent is read off its face. Else it is drawn, and tells nothing of the picture: comparing
the two then makes all hair the mean of everybody's."""
_FREE = 0.2
"""How much details of a whole head count whose latent was drawn."""
_RATE = 2e-4
_RENDERS = 0.3
"""Share of the steps that show rendered heads."""
_UNDER = 0.95
"""How much of a portrait's share is taken from the weight of what lies under it."""
_TONE, _BARE_COUNTS, _RING = 1.0, 1.0, 0.3
_JUDGED = 0.4
"""How much details count beside a discriminator: where an edge may lie here or there, comparing blurs it."""
_WIDER = {Region.FACE: (1, 4), Region.HEAD: (7, 4)}
"""Pixels of 128, rows and columns, by which the covers that the teacher learned with reached farther: 0.60 and 0.68 of
a unit for faces, 0.88 and 0.98 for heads."""
_LEAST_TONE_SHARE, _TONES = 4.0, 8
"""Most that pictures of rare lightness are favoured, and classes of lightness."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures to learn from, and what draws portraits on them.

    :ivar real: whether a discriminator may take them for photographs.
    """

    samplers: dict[Region, ViewSampler]
    painter: HintPainter
    real: bool


class Painter:
    """Teacher, pupil and the pupil's average.

    :param photographs: to learn from. :param renders: the same, of rendered heads; None: none.
    :param judge: what else is asked of pictures; None: colours alone are compared. :param encoder: reads latents off
        faces; None: all are drawn. :param fast: see ``reckoned``.
    """

    def __init__(
        self,
        teacher: Generator,
        pupil: Generator,
        photographs: Pictures,
        renders: Pictures | None,
        random: torch.Generator,
        judge: Judge | None = None,
        encoder: Encoder | None = None,
        *,
        fast: bool = False,
    ) -> None:
        self._encoder = encoder
        self.teacher = teacher.requires_grad_(False)
        self.average = copy.deepcopy(pupil).requires_grad_(False)
        self.pupil = pupil.requires_grad_(True).train()
        self.photographs, self.renders, self.random = photographs, renders, random
        self.optimizer = torch.optim.Adam(self.pupil.parameters(), lr=_RATE, betas=(0.9, 0.99))
        self.judge, self._fast = judge, fast
        self.steps = 0

    def step(self) -> dict[str, float]:
        """Take one step; return the errors."""
        source, region = self._source()
        sampler, network = source.samplers[region], self.teacher
        index = sampler.choose(_BATCH)
        geometry, look = sampler.geometry(index), sampler.look(_BATCH, rooms=True)
        views = sampler.views(index, geometry, look)
        hints = source.painter.hints(index, views, geometry.mirror)
        hints[:_BARE] = 0
        latent, is_read = self._latents(source, region, index, geometry)
        doing = torch.cat([drawn_doings(network.rest, views.expression[:_BARE], self.random), views.expression[_BARE:]])
        given = views.image, views.mask, views.keypoints, latent, doing, hints
        made = reckoned(self.pupil, *given, fast=self._fast)
        count = torch.where(is_read, 1.0, _FREE)[_BARE:] if region is Region.HEAD and source.real else None
        log = self._painted(made[_BARE:], views.after(_BARE), hints[_BARE:], count)
        judged = self.judge is not None and source.real
        total = (_JUDGED if judged else 1.0) * log["fine"] + _TONE * log["tone"] + _RING * log["ring"]
        log["bare"] = self._like_teacher(made[:_BARE], views.part(_BARE), latent, doing, region)
        total = total + _BARE_COUNTS * log["bare"]
        if self.judge is not None and judged:
            share = hints[:, 1:]
            face = share * views.target + (1 - share) * made
            whole = (views.mask * face + (1 - views.mask) * views.target) * views.valid
            total = total + self.judge.loss(whole[_BARE:], views.after(_BARE), log)
        descend(self.optimizer, total, self.pupil)
        share = 1 - 0.5 ** (_BATCH / min(_HALF_LIFE, 1 + 0.5 * self.steps * _BATCH))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.pupil.parameters()), share)
        self.steps += 1
        return {name: float(value.detach()) for name, value in log.items()}

    def _source(self) -> tuple[Pictures, Region]:
        kind, place = torch.rand(2, generator=self.random).tolist()
        source = self.renders if self.renders is not None and kind < _RENDERS else self.photographs
        return source, Region.HEAD if place < _HEAD_SHARE else Region.FACE

    def _latents(self, source: Pictures, region: Region, index: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Return latents, and which of them were read off the pictures' own faces, in plain light, (n,)."""
        sampler, network = source.samplers[Region.FACE], self.teacher
        latent = network.prior_mean + sampler.normal(_BATCH, network.config.latent) @ network.prior_factor.T
        is_read = sampler.uniform(_BATCH) < _READ[region]
        if self._encoder is None or not source.real:
            return latent, torch.zeros_like(is_read)
        plain = sampler.views(index, geometry, sampler.look(_BATCH, strength=0.0), jitter=0.0)
        read = latents_of(plain.target, plain.cover, self._encoder, sampler)
        return torch.where(is_read[:, None], read, latent), is_read

    def _painted(self, made: Tensor, views: Views, hints: Tensor, count: Tensor | None = None) -> dict[str, Tensor]:
        """Compare with the pictures. :param count: (n,) how much their details count; None: alike."""
        hole, share = views.cover * views.valid, hints[:, 1:]
        around = hole * (1 - _UNDER * share)
        if count is not None:
            around = around * count[:, None, None, None]
        return {
            "fine": losses.pyramid_l1(made, views.target, around, (1, 4)) + _slopes(made, views.target, around),
            "tone": losses.pyramid_l1(
                F.avg_pool2d(made * hole, 8), F.avg_pool2d(views.target * hole, 8), F.avg_pool2d(hole, 8), (1, 2)
            ),
            "ring": losses.masked_l1(made, views.target, 1 - views.mask),
        }

    @torch.no_grad()
    def _wanted(self, views: Views, latent: Tensor, doing: Tensor, region: Region) -> Tensor:
        """Return what the teacher draws, who learned with wider covers."""
        rows, columns = _WIDER[region]
        mask = F.max_pool2d(views.mask, (2 * rows + 1, 2 * columns + 1), stride=1, padding=(rows, columns))
        clean = views.target * (1 - mask)
        told = reckoned(self.teacher, clean, mask, views.keypoints, latent, doing, fast=self._fast)
        return tidied(told, views.keypoints, GEOMETRY[region])

    def _like_teacher(self, made: Tensor, views: Views, latent: Tensor, doing: Tensor, region: Region) -> Tensor:
        """Compare the features with the teacher's, in the tone of the pupil's: around them pictures teach."""
        wanted = self._wanted(views, latent[: len(made)], doing[: len(made)], region)
        tone = F.avg_pool2d(made.detach() - wanted, 33, stride=1, padding=16, count_include_pad=False)
        return losses.pyramid_l1(made, wanted + tone, views.cover * views.valid, (1, 4))


def _slopes(made: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean difference of the slopes of two pictures: edges are small, and seen first."""
    return sum(
        (
            losses.masked_l1(made.diff(dim=axis), target.diff(dim=axis), mask.narrow(axis, 1, mask.shape[axis] - 1))
            for axis in (2, 3)
        ),
        start=made.new_zeros(()),
    )


def favour_rare_tones(data: FaceData) -> FaceData:
    """Return the data with pictures of rare lightness about the nose drawn more often."""
    lights = []
    for image, center, unit in zip(data.images, data.centers, data.units, strict=True):
        (x, y), r = center.round().int().tolist(), max(2, int(0.15 * float(unit)))
        lights.append(float(image[:, max(y - r, 0) : y + r, max(x - r, 0) : x + r].float().mean()))
    light = np.asarray(lights)
    edges = np.linspace(light.min(), light.max(), _TONES + 1)[1:-1]
    classes = np.digitize(light, edges)
    count = np.bincount(classes, minlength=_TONES)
    favour = np.minimum(count.max() / np.maximum(count, 1), _LEAST_TONE_SHARE)[classes]
    return dataclasses.replace(data, weights=data.weights * torch.from_numpy(favour.astype(np.float32)))


def read_pictures(pack: Path, bank: PortraitBank, size: int, random: torch.Generator, *, real: bool) -> Pictures:
    """Return the pictures of a pack that are not held out. Raises TrainingError."""
    names = [str(name) for name in np.load(pack)["names"] if not held_out(str(name))]
    samplers = {}
    for region in Region:
        data = load(pack, torch.device("cpu"), lambda name: not held_out(name), GEOMETRY[region].side)
        samplers[region] = ViewSampler(favour_rare_tones(data), GEOMETRY[region], size, random)
    return Pictures(samplers, HintPainter(bank, names if real else [], size), real)


def hinted(network: Generator) -> Generator:
    """Return a copy of a generator that sees portraits, and draws as before where there are none."""
    if network.config.portrait:
        return copy.deepcopy(network)
    other = Generator(dataclasses.replace(network.config, portrait=CHANNELS))
    other.load_state_dict(network.state_dict(), strict=False)
    return other


def paint(args: argparse.Namespace, report: Callable[[str], None] = print) -> None:
    """Train for so long, and write the average now and then. Raises WeightsError, TrainingError."""
    args.output.parent.mkdir(parents=True, exist_ok=True)
    teacher, bank = load_generator(args.weights), read_portraits(args.portraits)
    random = torch.Generator().manual_seed(int(time.time()) if args.pupil else 0)
    size = teacher.config.size
    photographs = read_pictures(args.pack, bank, size, random, real=True)
    renders = read_pictures(args.renders, bank, size, random, real=False) if args.renders else None
    judge = None if args.judge is None else Judge.read(args.judge, size, random, args.adversarial, fast=args.bf16)
    pupil = hinted(teacher if args.pupil is None else load_generator(args.pupil))
    encoder = None if args.encoder is None else read_encoder(args.encoder, teacher.config.latent)
    painter = Painter(teacher, pupil, photographs, renders, random, judge, encoder, fast=args.bf16)
    start, logs = time.monotonic(), []
    while time.monotonic() - start < 60 * args.minutes:
        logs.append(painter.step())
        if len(logs) == 100:
            rate = painter.steps * _BATCH / (time.monotonic() - start)
            said = ", ".join(
                f"{name} {np.mean([log[name] for log in logs if name in log]):.4f}"
                for name in sorted(set().union(*logs))
            )
            report(f"{painter.steps * _BATCH} pictures, {rate:.1f} per second: {said}")
            logs.clear()
            _save(painter, args.output)
    _save(painter, args.output)


def _save(painter: Painter, output: Path) -> None:
    """Write the average, and beside it the discriminator, from which ``--judge`` goes on."""
    save_generator(painter.average, output)
    if painter.judge is not None:
        painter.judge.write(output.parent)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.surroundings", description=__doc__)
    parser.add_argument("weights", type=Path, help="the teacher, a generator without a detail head")
    parser.add_argument("pack", type=Path, help="packed faces, made by deepprivacy-rt train --pack")
    parser.add_argument("portraits", type=Path, help="file of portraits of as many of these faces as possible")
    parser.add_argument("output", type=Path, help="where the generator goes")
    parser.add_argument("--renders", type=Path, metavar="PACK", help="packed rendered heads")
    parser.add_argument("--pupil", type=Path, metavar="FILE", help="an earlier output, to go on with")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="training state with a discriminator")
    help_ = "reads latents off photographs, from a training state"
    parser.add_argument("--encoder", type=Path, metavar="FILE.safetensors", help=help_)
    parser.add_argument("--adversarial", type=float, default=0.01, help="its weight (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16; for CPUs with AVX512-BF16")
    parser.add_argument("--minutes", type=float, default=60.0, help="(default: %(default)s)")
    paint(parser.parse_args(), lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
