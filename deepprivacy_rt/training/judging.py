"""A discriminator that goes on learning beside a generator whose pictures it judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    :param adversarial: weight of its verdict. :param fast: multiply in bfloat16, see :func:`reckoned`.
    """

    def __init__(
        self, discriminator: Discriminator, random: torch.Generator, adversarial: float, *, fast: bool = False
    ) -> None:
        self.discriminator, self._adversarial, self._fast = discriminator, adversarial, fast
        self._augmenter = Augmenter(_AUGMENTED, random)
        self._optimizer = torch.optim.Adam(discriminator.parameters(), lr=_RATE, betas=(0.0, 0.99))
        self._steps = 0

    @classmethod
    def read(cls, folder: Path, size: int, random: torch.Generator, adversarial: float, *, fast: bool = False) -> Judge:
        """Return the one that a training run left in a folder. Raises OSError, RuntimeError."""
        discriminator = Discriminator(size)
        state = {k: v for i in range(2) for k, v in load_file(folder / f"discriminator{i}.safetensors").items()}
        discriminator.load_state_dict(state)
        return cls(discriminator.float(), random, adversarial, fast=fast)

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
            real_logits, real_features = reckoned(judge, real, fast=self._fast)
        fake_logits, fake_features = reckoned(judge, fake, fast=self._fast)
        judge.requires_grad_(True)
        log["deceit"] = losses.relativistic(fake_logits, real_logits)
        log["feature"] = losses.feature_matching(fake_features, real_features)
        return self._adversarial * log["deceit"] + _FEATURES * log["feature"]

    def _taught(self, real: Tensor, fake: Tensor) -> Tensor:
        """Learn; return the loss."""
        penalise = self._steps % _PENALTY_EVERY == 0
        seen, shown = (one.detach().requires_grad_(penalise) for one in (real, fake))
        fast = self._fast and not penalise  # the penalty's second derivatives are small numbers
        (real_logits, _), (fake_logits, _) = (reckoned(self.discriminator, one, fast=fast) for one in (seen, shown))
        loss = losses.relativistic(real_logits, fake_logits)
        teaching = loss
        if penalise:
            penalty = losses.gradient_penalty(real_logits, seen) + losses.gradient_penalty(fake_logits, shown)
            teaching = loss + _PENALTY * _PENALTY_EVERY * penalty
        descend(self._optimizer, teaching, self.discriminator)
        return loss


def reckoned(network: nn.Module, *inputs: Tensor, fast: bool) -> Any:
    """Return what a network says, in float32.

    :param fast: multiply in bfloat16 on the CPU: half as fast again where it has that (AVX512-BF16), slower elsewhere.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        return _float(network(*inputs))


def _float(said: Any) -> Any:
    return said.float() if isinstance(said, Tensor) else type(said)(_float(one) for one in said)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    """Take one step of a network's weights down a loss; gradients are clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
