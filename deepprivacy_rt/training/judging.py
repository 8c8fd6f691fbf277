"""A discriminator that goes on learning beside a generator whose pictures it judges."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deepprivacy_rt.networks.discriminator import Discriminator
from deepprivacy_rt.training import losses
from deepprivacy_rt.training.augment import Augmenter
from deepprivacy_rt.training.run import half, halves
from deepprivacy_rt.training.views import Views

_RATE = 1e-4
_FEATURES = 0.5
_PENALTY, _PENALTY_EVERY = 0.7, 8
_TAUGHT_EVERY = 2
"""Steps between two in which it learns: it is far ahead of the generator, and learning costs it most."""
_AUGMENTED = 0.5
"""How often each change of the pictures that it sees is made."""


class Judge:
    """Tells pictures from photographs, and learns to.

    :param adversarial: weight of its verdict.
    """

    def __init__(self, discriminator: Discriminator, random: torch.Generator, adversarial: float) -> None:
        self.discriminator, self._adversarial = discriminator, adversarial
        self._augmenter = Augmenter(_AUGMENTED, random)
        self._optimizer = torch.optim.Adam(discriminator.parameters(), lr=_RATE, betas=(0.0, 0.99))
        self._steps = 0

    @classmethod
    def read(cls, folder: Path, size: int, random: torch.Generator, adversarial: float) -> Judge:
        """Return the one that a training run left in a folder. Raises OSError, RuntimeError."""
        discriminator = Discriminator(size)
        state = {k: v for i in range(2) for k, v in load_file(folder / f"discriminator{i}.safetensors").items()}
        discriminator.load_state_dict(state)
        return cls(discriminator.float(), random, adversarial)

    def write(self, folder: Path) -> None:
        """Write it to where ``read`` finds it."""
        for i, part in enumerate(halves(half(self.discriminator))):
            save_file(part, folder / f"discriminator{i}.safetensors")

    def loss(self, whole: Tensor, views: Views, log: dict[str, Tensor]) -> Tensor:
        """Return the adversarial loss of pictures with feature matching, and learn from the same ones now and then.

        :param whole: (n, 3, s, s) made in place of ``views.target``. :param log: gets the parts of both losses.
        """
        judge = self.discriminator
        maps = torch.cat([views.cover, judge.maps(views.keypoints)], dim=1)
        draw = self._augmenter.draw(whole, len(whole))
        real, fake = (self._augmenter.apply(torch.cat([one, maps], dim=1), draw) for one in (views.target, whole))
        if self._steps % _TAUGHT_EVERY == 0:
            log["judge"] = self._taught(real, fake)
        self._steps += 1
        judge.requires_grad_(False)
        with torch.no_grad():
            real_logits, real_features = judge(real)
        fake_logits, fake_features = judge(fake)
        judge.requires_grad_(True)
        log["deceit"] = losses.relativistic(fake_logits, real_logits)
        log["feature"] = losses.feature_matching(fake_features, real_features)
        return self._adversarial * log["deceit"] + _FEATURES * log["feature"]

    def _taught(self, real: Tensor, fake: Tensor) -> Tensor:
        """Learn; return the loss."""
        penalise = self._steps % _PENALTY_EVERY == 0
        seen, shown = (one.detach().requires_grad_(penalise) for one in (real, fake))
        (real_logits, _), (fake_logits, _) = self.discriminator(seen), self.discriminator(shown)
        loss = losses.relativistic(real_logits, fake_logits)
        teaching = loss
        if penalise:
            penalty = losses.gradient_penalty(real_logits, seen) + losses.gradient_penalty(fake_logits, shown)
            teaching = loss + _PENALTY * _PENALTY_EVERY * penalty
        descend(self._optimizer, teaching, self.discriminator)
        return loss


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    """Take one step of a network's weights down a loss; gradients are clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
