"""Training of the detail head alone, over a generator that stays as it is.

Three kinds of faces are enlarged: those that the generator invents, those that it makes from a training face's own
latent, and training faces that were blurred as much as the generator blurs. The last two have a picture to be compared
with. The head learns on crops.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.networks.detail import halve
from deepprivacy_rt.networks.discriminator import TextureDiscriminator
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.training import losses
from deepprivacy_rt.training.config import DetailConfig
from deepprivacy_rt.training.dataset import FaceData
from deepprivacy_rt.training.views import ViewSampler

_FINE_UNIT = 150.0
"""Face unit in picture pixels from which a picture has the detail of a patch of 256; coarser ones are drawn less."""
_KEPT = 48
"""Batches of views that are kept."""
_COARSE = 8
"""What is coarser than so many pixels, the head has to leave as it is."""


@dataclass(frozen=True)
class _Batch:
    """Views or crops of them, side c.

    :ivar low: (n, 3, c/2, c/2), the faces to enlarge.
    :ivar keypoints: (n, 6, 2), over the whole view.
    :ivar paired: (n,) how near the target is to ``low``: 0, it has nothing to do with it; 1, it is alike; 2, the same.
    """

    target: Tensor
    image: Tensor
    mask: Tensor
    cover: Tensor
    low: Tensor
    keypoints: Tensor
    paired: Tensor
    maps: Tensor = field(default_factory=lambda: torch.zeros(0))
    low_maps: Tensor = field(default_factory=lambda: torch.zeros(0))

    def row(self, place: int) -> list[Tensor]:
        """Return one view, without maps."""
        names = ("target", "image", "mask", "cover", "low", "keypoints", "paired")
        return [getattr(self, name)[place : place + 1] for name in names]


class DetailTrainer:
    """Holds everything that changes during training.

    :param data: the training faces for each region.
    """

    def __init__(
        self,
        config: DetailConfig,
        body: Generator,
        encoder: Encoder,
        data: dict[Region, FaceData],
        device: torch.device,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        shape = replace(body.config, size=2 * body.config.size, detail=config.width)
        self.generator = Generator(shape)
        self.generator.load_state_dict(body.state_dict(), strict=False)
        self.generator.to(device).requires_grad_(False)
        self.encoder = encoder.to(device).requires_grad_(False)
        if self.generator.detail is None:
            raise TrainingError("a detail head of width 0 has nothing to learn")
        self.average = self.generator.detail
        self.head = copy.deepcopy(self.average).requires_grad_(True)
        self.discriminator = TextureDiscriminator(config.judge_width).to(device)
        rate = config.learning_rate
        self.make = torch.optim.Adam(self.head.parameters(), lr=rate, betas=(0.5, 0.99))
        self.judge = torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=(0.5, 0.99))
        self.random = torch.Generator(device).manual_seed(config.seed)
        fine = {region: replace(faces, weights=_fine_weights(faces, region)) for region, faces in data.items()}
        self.samplers = {r: ViewSampler(fine[r], GEOMETRY[r], shape.size, self.random) for r in fine}
        self.step_count = 0
        self.kept: deque[_Batch] = deque(maxlen=_KEPT)

    @property
    def pictures(self) -> int:
        """Crops shown so far."""
        return self.step_count * self.config.batch

    def step(self) -> dict[str, Tensor]:
        """Do one step of head and discriminator; return the losses."""
        self._schedule()
        if self.step_count % self.config.reuse == 0 or not self.kept:
            self.kept.append(self._draw())
        batch = self._crop(self._mixed())
        log: dict[str, Tensor] = {}
        made = self._make_step(batch, log)
        self._judge_step(batch, made, log)
        self.step_count += 1
        self._update_average()
        return {name: value.detach() for name, value in log.items()}

    def _schedule(self) -> None:
        done = min(1.0, self.pictures / self.config.pictures)
        rate = self.config.learning_rate * (self.config.final_learning_rate / self.config.learning_rate) ** done
        for optimizer in (self.make, self.judge):
            for group in optimizer.param_groups:
                group["lr"] = rate

    @torch.no_grad()
    def _draw(self) -> _Batch:
        """Return crops: a third of the faces invented, a third from their own latents, a third blurred."""
        sampler, n = self._sampler(), self.config.batch
        index = sampler.choose(n)
        look = replace(sampler.look(n), blur=torch.zeros(n, 1, 1, 1, device=self.device))
        views = sampler.views(index, sampler.geometry(index), look)
        small, small_mask = halve(views.image, views.mask)
        target = F.avg_pool2d(views.target, 2)
        cover = F.max_pool2d(views.cover, 2)
        own, _ = self.encoder(target, cover)
        generator = self.generator
        invented = generator.prior_mean + sampler.normal(n, generator.config.latent) @ generator.prior_factor.T
        third = n // 3
        kind = torch.arange(n, device=self.device)[:, None]
        latent = torch.where(kind < n - 2 * third, invented, own)
        face = generator.draw(small, small_mask, views.keypoints, latent, views.expression)
        face[n - third :] = self._soften(target[n - third :])
        low = small_mask * face + (1 - small_mask) * small
        paired = ((kind >= n - 2 * third).float() + (kind >= n - third).float())[:, 0]
        return _Batch(views.target, views.image, views.mask, views.cover, low, views.keypoints, paired)

    def _sampler(self) -> ViewSampler:
        draw = torch.rand(1, generator=self.random, device=self.device)
        return self.samplers[Region.HEAD if float(draw) < self.config.head_share else Region.FACE]

    def _soften(self, image: Tensor) -> Tensor:
        """Blur by 0.5 to 1.2 pixels: as soft as the generator's faces, and somewhat softer."""
        sampler = self.samplers[Region.FACE]
        return torch.stack([gaussian(one, 0.5 + 0.7 * float(sampler.uniform(1))) for one in image])

    def _mixed(self) -> _Batch:
        """Return a batch whose rows come from different ones of those that were kept."""
        chosen = torch.randint(len(self.kept), (self.config.batch,), generator=self.random, device=self.device)
        rows = [self.kept[int(which)].row(place) for place, which in enumerate(chosen)]
        return _Batch(*(torch.cat(parts) for parts in zip(*rows, strict=True)))

    def _crop(self, whole: _Batch) -> _Batch:
        size, side = whole.target.shape[-1], self.config.crop
        # Of a sum of two, the middle is more likely.
        place = torch.rand(2, 2, generator=self.random, device=self.device).mean(dim=0)
        top, left = (int(v) for v in (place * ((size - side) // 8 + 0.999)).long() * 8)
        large = (..., slice(top, top + side), slice(left, left + side))
        half = (..., slice(top // 2, (top + side) // 2), slice(left // 2, (left + side) // 2))
        return replace(
            whole,
            target=whole.target[large],
            image=whole.image[large],
            mask=whole.mask[large],
            cover=whole.cover[large],
            low=whole.low[half],
            maps=self.head.maps(whole.keypoints, size)[large],
            low_maps=self.head.maps(whole.keypoints, size // 2)[half],
        )

    def _make_step(self, batch: _Batch, log: dict[str, Tensor]) -> Tensor:
        out: Tensor = self.head(batch.low, batch.image, batch.mask, batch.low_maps)
        fake: Tensor = batch.mask * out + (1 - batch.mask) * batch.target
        self.discriminator.requires_grad_(False)
        logits, ours = self.discriminator(fake, batch.mask, batch.maps)
        with torch.no_grad():
            _, theirs = self.discriminator(batch.target, batch.mask, batch.maps)
        self.discriminator.requires_grad_(True)
        near, like = (batch.paired == 2).nonzero()[:, 0], (batch.paired >= 1).nonzero()[:, 0]
        config = self.config
        log["adversarial"] = -logits.mean()
        log["near"] = losses.pyramid_l1(out[near], batch.target[near], batch.cover[near], (1, 4))
        log["like"] = losses.pyramid_l1(out[like], batch.target[like], batch.cover[like], (4, 8)) / 3
        log["feature"] = losses.feature_matching([one[like] for one in ours], [one[like] for one in theirs])
        coarse = F.interpolate(batch.low, scale_factor=2.0, mode="bilinear", align_corners=False)
        log["coarse"] = (F.avg_pool2d(out, _COARSE) - F.avg_pool2d(coarse, _COARSE)).abs().mean()
        log["ring"] = losses.masked_l1(out, batch.target, 1 - batch.mask)
        total = (
            config.adversarial * log["adversarial"]
            + config.reconstruction * (log["near"] + log["like"] + 0.3 * log["ring"])
            + config.feature * log["feature"]
            + config.coarse * log["coarse"]
        )
        _update(self.make, total, self.head)
        return fake.detach()

    def _judge_step(self, batch: _Batch, fake: Tensor, log: dict[str, Tensor]) -> None:
        """Hinge loss (Lim and Ye 2017)."""
        real, _ = self.discriminator(batch.target, batch.mask, batch.maps)
        made, _ = self.discriminator(fake, batch.mask, batch.maps)
        log["judge"] = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        log["margin"] = (real.mean() - made.mean()).detach()
        _update(self.judge, log["judge"], self.discriminator)

    @torch.no_grad()
    def _update_average(self) -> None:
        half_life = min(self.config.ema, 0.05 * self.pictures + 1)
        share = 1 - 0.5 ** (self.config.batch / half_life)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.head.parameters()), share)

    def _parts(self) -> dict[str, Any]:
        names = ("head", "average", "discriminator", "make", "judge")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        """Return what is worth keeping. Views are drawn anew: a resumed run is not the same to the bit."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "random": self.random.get_state(), "step": self.step_count}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.random.set_state(state["random"].cpu())
        self.step_count = int(state["step"])


def _fine_weights(data: FaceData, region: Region) -> Tensor:
    """Prefer pictures that have the detail."""
    fine = _FINE_UNIT * GEOMETRY[Region.FACE].side / GEOMETRY[region].side
    return data.weights * (data.units / fine).clamp(max=1.0) ** 4


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Blur (c, h, w) by a Gaussian of ``sigma`` pixels."""
    radius = int(3 * sigma + 1)
    steps = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, -1)
    padded = F.pad(image[:, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))[:, 0]


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
