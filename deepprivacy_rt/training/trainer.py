"""One training run: networks, optimisers, averages, random state, and the step that moves them."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
from torch import Tensor, nn

from deepprivacy_rt.cropping import GEOMETRY, Region
from deepprivacy_rt.expressions.face_mesh import FaceMesh
from deepprivacy_rt.networks.discriminator import Discriminator
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.training import losses
from deepprivacy_rt.training.augment import Augmenter
from deepprivacy_rt.training.config import TrainConfig
from deepprivacy_rt.training.dataset import FaceData
from deepprivacy_rt.training.encoding import recolored
from deepprivacy_rt.training.following import Follower, drawn_expressions
from deepprivacy_rt.training.prior import RunningPrior
from deepprivacy_rt.training.views import Geometry, Views, ViewSampler, warp_between

_FEATURES = 4.0
"""How much more reconstruction counts at eyes and mouth than elsewhere: they are small, and what people look at."""


class Trainer:
    """Holds everything that changes during training; :meth:`state` and :meth:`restore` carry all of it.

    :param data: the training faces for each region (they differ in how often a tight picture is drawn).
    :param precision: type of the networks' arithmetic under autocast; float32 switches autocast off.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: dict[Region, FaceData],
        device: torch.device,
        precision: torch.dtype,
        mesh: FaceMesh | None = None,
    ) -> None:
        self.config, self.device, self.precision = config, device, precision
        torch.manual_seed(config.seed)
        size = config.generator.size
        layout: Any = {"memory_format": torch.channels_last} if device.type == "cuda" else {}
        self.generator = Generator(config.generator).to(device, **layout)
        self.encoder = Encoder(config.generator.latent).to(device, **layout)
        self.discriminator = Discriminator(size, config.discriminator_width).to(device, **layout)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.prior = RunningPrior(config.generator.latent).to(device)
        rate = config.learning_rate
        made = [*self.generator.parameters(), *self.encoder.parameters()]
        self.make = torch.optim.Adam(made, lr=rate, betas=(0.0, 0.99), eps=1e-8, fused=device.type == "cuda")
        self.judge = torch.optim.Adam(
            self.discriminator.parameters(), lr=rate, betas=(0.0, 0.99), eps=1e-8, fused=device.type == "cuda"
        )
        self.random = torch.Generator(device).manual_seed(config.seed)
        self.samplers = {r: ViewSampler(data[r], GEOMETRY[r], size, self.random) for r in data}
        self.augmenter = Augmenter(config.augment, self.random)
        self.follower = Follower(device, mesh)
        self.step_count = 0

    @property
    def pictures(self) -> int:
        """Pictures shown so far."""
        return self.step_count * self.config.batch

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return min(1.0, self.pictures / self.config.pictures)

    def autocast(self) -> torch.autocast:
        """Return the context that the networks run in."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    def step(self) -> dict[str, Tensor]:
        """Show one batch; return the losses as scalars on the device."""
        while self.follower.steps < self.config.probe_steps:
            self._warm_up()
        region = self._region()
        sampler = self.samplers[region]
        batch = self.config.batch
        quarter = max(1, batch // 4) if self.config.weights.consistency else 0
        self._schedule()
        index = sampler.choose(batch)
        geometry, look = sampler.geometry(index), sampler.look(batch)
        views = sampler.views(index, geometry, look)
        later = sampler.nudge(geometry.part(quarter))
        views_later = sampler.views(index[:quarter], later, look.part(quarter))
        log: dict[str, Tensor] = {}
        with self.autocast():
            real, fake = self._make_step(views, views_later, geometry.part(quarter), later, region, log)
            if self.step_count % self.config.judge_every == 0:
                self._judge_step(real, fake, log)
        self._update_average()
        self.step_count += 1
        return log

    def _warm_up(self) -> None:
        """Let the probe learn from photographs, so that its first advice is of use."""
        sampler = self.samplers[Region.FACE]
        index = sampler.choose(max(32, self.config.batch))
        views = sampler.views(index, sampler.geometry(index), sampler.look(len(index)))
        self.follower.learn(views.target, views.keypoints, views.expression)

    def _region(self) -> Region:
        """Choose by the step's number alone, so that a resumed run continues exactly."""
        head = random.Random(f"{self.config.seed}/{self.step_count}").random() < self.config.head_share
        return Region.HEAD if head and Region.HEAD in self.samplers else Region.FACE

    def _schedule(self) -> None:
        """Constant rate for the first half, then a straight line down to the final one."""
        config = self.config
        late = max(0.0, 2 * self.progress - 1)
        rate = config.learning_rate + (config.final_learning_rate - config.learning_rate) * late
        for group in [*self.make.param_groups, *self.judge.param_groups]:
            group["lr"] = rate

    def _make_step(
        self,
        views: Views,
        views_later: Views,
        geometry: Geometry,
        later: Geometry,
        region: Region,
        log: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Update generator and encoder; return the augmented real and generated inputs of the discriminator."""
        weights, batch = self.config.weights, len(views.target)
        half, quarter = batch // 2, len(views_later.target)
        mean, logvar = self.encoder(recolored(views.target[half:], self.samplers[Region.FACE]), views.cover[half:])
        noise = torch.randn(batch, self.config.generator.latent, device=self.device, generator=self.random)
        drawn = self.prior.draw(noise[:half])
        latent = torch.cat([drawn, mean + noise[half:] * (0.5 * logvar).exp()])
        self.prior.update(mean.detach())
        told = torch.cat([drawn_expressions(views.expression[:half], self.random), views.expression[half:]])
        out = self.generator(
            torch.cat([views.image, views_later.image]),
            torch.cat([views.mask, views_later.mask]),
            torch.cat([views.keypoints, views_later.keypoints]),
            torch.cat([latent, latent[:quarter]]),
            torch.cat([told, told[:quarter]]),
        ).float()
        face = out[:batch]
        composite = (views.mask * face + (1 - views.mask) * views.target) * views.valid
        maps = torch.cat([views.cover, self.discriminator.maps(views.keypoints)], dim=1)
        draw = self.augmenter.draw(face, batch)
        real = self.augmenter.apply(torch.cat([views.target, maps], dim=1), draw)
        fake = self.augmenter.apply(torch.cat([composite, maps], dim=1), draw)
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real_logits, real_features = self.discriminator(real)
        fake_logits, fake_features = self.discriminator(fake)
        hole = views.cover * views.valid
        known = torch.cat([1 - views.mask, 1 - views_later.mask])
        targets = torch.cat([views.target, views_later.target])
        log["g_adversarial"] = losses.relativistic(fake_logits, real_logits)
        log["feature"] = losses.feature_matching([f[half:] for f in fake_features], [f[half:] for f in real_features])
        sharp = hole * (1 + _FEATURES * self.follower.places(views.keypoints, hole.shape[-1]))
        log["reconstruction"] = losses.pyramid_l1(face[half:], views.target[half:], sharp[half:], (1, 4, 16))
        log["kl"] = losses.kl_divergence(mean, logvar)
        log["ring"] = losses.masked_l1(out, targets, known)
        log["consistency"] = log["latent"] = torch.zeros((), device=self.device)
        if quarter:
            moved, seen = warp_between(face[:quarter], geometry, later, GEOMETRY[region])
            log["consistency"] = losses.pyramid_l1(out[batch:], moved, views_later.cover * seen, (1, 4))
        if weights.latent:
            log["latent"] = self._latent_loss(composite[:half], views.cover[:half], drawn)
        log["expression"] = self.follower.loss(composite, views.keypoints, told)
        total = (
            weights.adversarial * log["g_adversarial"]
            + weights.feature * log["feature"]
            + weights.reconstruction * log["reconstruction"]
            + weights.kl * log["kl"]
            + weights.ring * log["ring"]
            + weights.consistency * log["consistency"]
            + weights.latent * log["latent"]
            + weights.expression * log["expression"]
        )
        self._update(self.make, total, [self.generator, self.encoder])
        self.discriminator.requires_grad_(True)
        log["probe"] = self._teach_probe(views, composite.detach(), region)
        return real.detach(), fake.detach()

    def _teach_probe(self, views: Views, composite: Tensor, region: Region) -> Tensor:
        """Let the probe learn from this batch, photographs and generated faces alike; return its error."""
        labels, read = self.follower.label(composite, views.keypoints, GEOMETRY[region])
        return self.follower.learn(
            torch.cat([views.target, composite[read]]),
            torch.cat([views.keypoints, views.keypoints[read]]),
            torch.cat([views.expression, labels]),
        )

    def _latent_loss(self, composite: Tensor, cover: Tensor, latent: Tensor) -> Tensor:
        """The face must show its latent: the (frozen) encoder reads it back (BicycleGAN, Zhu et al. 2017)."""
        self.encoder.requires_grad_(False)
        mean, _ = self.encoder(recolored(composite, self.samplers[Region.FACE]), cover)
        self.encoder.requires_grad_(True)
        loss: Tensor = (mean - latent).square().mean()
        return loss

    def _judge_step(self, real: Tensor, fake: Tensor, log: dict[str, Tensor]) -> None:
        every = self.config.penalty_every
        penalise = self.step_count % every == 0
        real.requires_grad_(penalise)
        fake.requires_grad_(penalise)
        real_logits, _ = self.discriminator(real)
        fake_logits, _ = self.discriminator(fake)
        log["d_adversarial"] = losses.relativistic(real_logits, fake_logits)
        log["d_margin"] = (real_logits - fake_logits).float().mean().detach()
        total = log["d_adversarial"]
        if penalise:
            start, end = self.config.weights.penalty_start, self.config.weights.penalty_end
            gamma = start * (end / start) ** self.progress
            log["r1"] = losses.gradient_penalty(real_logits, real)
            log["r2"] = losses.gradient_penalty(fake_logits, fake)
            total = total + gamma * every * (log["r1"] + log["r2"])
        self._update(self.judge, total, [self.discriminator])

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, loss: Tensor, networks: list[nn.Module]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for network in networks:
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average of the generator; short at first, so that the start is forgotten."""
        half_life = min(self.config.ema, 0.05 * self.pictures + 1)
        decay = 0.5 ** (self.config.batch / half_life)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)

    def _parts(self) -> dict[str, Any]:
        names = ("generator", "encoder", "discriminator", "average", "prior", "make", "judge", "follower")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        """Return all state; saving and restoring it continues the run exactly."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "random": self.random.get_state(), "step": self.step_count}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.random.set_state(state["random"].cpu())
        self.step_count = int(state["step"])
