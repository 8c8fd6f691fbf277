"""The generator: a conditional U-Net that invents a face for an erased patch.

DeepPrivacy's contract (Hukkelås et al. 2019): erased crop, mask and sparse keypoints in, a full face out. What differs
is chosen for live use on a CPU: a space-to-depth stem, so that no layer but the last works at full resolution; FiLM
in place of normalisation; and one style vector per face from the latent, the pose, the expression and the pooled
surroundings. An expression is three numbers; at rest it adds nothing. A network that knows portraits also sees the one
whose features will be put over its face, so that what it paints around goes with it. A network with a detail head draws
the face at half of the patch's resolution, and the head does the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.networks.blocks import ResidualBlock, act, conv, keypoint_maps
from deepprivacy_rt.networks.detail import DetailHead, halve
from deepprivacy_rt.types import REST

_EXPRESSION_GAIN = 5.0
"""Brings deviations from rest, most below 0.2, to about the size of the other inputs."""
_PLACES = [3, 0, 1]
"""Keypoints at which mouth, right eye and left eye of an expression lie."""


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """Shape of a generator. ``size`` is the patch side in pixels, a multiple of 32, of 64 with a detail head.

    :ivar detail: width of the detail head; 0: none.
    :ivar portrait: channels of a portrait's hint (:mod:`deepprivacy_rt.portraits.hint`); 0: it sees none.
    """

    size: int = 128
    width: int = 64
    latent: int = 64
    style: int = 256
    keypoints: int = 6
    detail: int = 0
    portrait: int = 0

    @property
    def drawn_size(self) -> int:
        """Side in pixels at which the face is drawn before the detail head."""
        return self.size // 2 if self.detail else self.size

    def to_dict(self) -> dict[str, int]:
        """Return plain values, for the header of a weights file."""
        return asdict(self)


class Generator(nn.Module):
    """Erased patch → face. Side s = ``config.drawn_size``, width w = ``config.width``."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        # Latents are drawn as mean + factor · normal; fitted after training, see training/prior.py.
        self.prior_mean: Tensor
        self.prior_factor: Tensor
        self.register_buffer("prior_mean", torch.zeros(config.latent))
        self.register_buffer("prior_factor", torch.eye(config.latent))
        w, style = config.width, config.style
        self.rest: Tensor
        self.register_buffer("rest", torch.tensor(REST.openings), persistent=False)
        self.stem = conv(4 * 16 + config.keypoints + len(REST.openings), w)
        # Starts as nothing: a network that learned without portraits goes on where it was.
        self.hint = conv(config.portrait * 16, w, gain=0.0, bias=False) if config.portrait else None
        self.encode_4 = ResidualBlock(w)
        self.down_8 = conv(w, 2 * w, kernel=4, stride=2)
        self.encode_8 = ResidualBlock(2 * w)
        self.down_16 = conv(2 * w, 4 * w, kernel=4, stride=2)
        self.style = nn.Sequential(
            nn.Linear(config.latent + 2 * config.keypoints + len(REST.openings) + 4 * w, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
        )
        self.middle = nn.ModuleList([ResidualBlock(4 * w, style) for _ in range(4)])
        self.merge_8 = conv(4 * w + 2 * w, 2 * w, kernel=1)
        self.decode_8 = nn.ModuleList([ResidualBlock(2 * w, style) for _ in range(2)])
        self.merge_4 = conv(2 * w + w, w, kernel=1)
        self.decode_4 = nn.ModuleList([ResidualBlock(w, style) for _ in range(3)])
        self.up_2 = conv(w, 4 * (w // 2))
        self.decode_2 = ResidualBlock(w // 2, style)
        self.up_1 = conv(w // 2, 4 * (w // 4))
        self.to_rgb = conv(w // 4, 3, gain=0.3)
        self.detail = DetailHead(config.detail, config.keypoints) if config.detail else None

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        keypoints: Tensor,
        latent: Tensor,
        expression: Tensor,
        portrait: Tensor | None = None,
    ) -> Tensor:
        """Return (n, 3, s, s) RGB, about -1..1 (not clamped).

        :param image: (n, 3, s, s) RGB in -1..1, 0 where erased.
        :param mask: (n, 1, s, s), 1 where erased or unknown.
        :param keypoints: (n, 6, 2) x, y in -1..1 over the patch.
        :param latent: (n, latent), drawn from the prior.
        :param expression: (n, 3) opening of mouth, right and left eye, 0..1.
        :param portrait: (n, 2, s, s) the hint of a portrait; None: there is none, which is all zeros.
        """
        if self.detail is None:
            return self.draw(image, mask, keypoints, latent, expression, portrait)
        small, small_mask = halve(image, mask)
        if portrait is not None:
            portrait = F.avg_pool2d(portrait, 2)
        face = self.draw(small, small_mask, keypoints, latent, expression, portrait)
        maps = self.detail.maps(keypoints, self.config.drawn_size)
        whole = small_mask * face + (1 - small_mask) * small
        return self.detail(whole, image, mask, maps)  # type: ignore[no-any-return]

    def draw(
        self,
        image: Tensor,
        mask: Tensor,
        keypoints: Tensor,
        latent: Tensor,
        expression: Tensor,
        portrait: Tensor | None = None,
    ) -> Tensor:
        """Return the face as it is before the detail head, at the same size as the erased patch."""
        expression = _EXPRESSION_GAIN * (expression - self.rest)
        maps = keypoint_maps(keypoints, self.config.drawn_size // 4, sigma=1.0).to(image.dtype)
        doing = maps[:, _PLACES] * expression[:, :, None, None].to(image.dtype)
        x = torch.cat([F.pixel_unshuffle(torch.cat([image, mask], dim=1), 4), maps, doing], dim=1)  # (n, 64 + k + 3, …)
        x = self.stem(x)
        if self.hint is not None and portrait is not None:
            x = x + self.hint(F.pixel_unshuffle(portrait, 4))
        skip_4 = self.encode_4(x)  # (n, w, s/4, s/4)
        skip_8 = self.encode_8(self.down_8(act(skip_4)))  # (n, 2w, s/8, s/8)
        x = self.down_16(act(skip_8))  # (n, 4w, s/16, s/16)
        told = [latent, keypoints.flatten(1).to(latent.dtype), expression.to(latent.dtype), x.mean(dim=(2, 3))]
        style = self.style(torch.cat(told, dim=1))
        for block in self.middle:
            x = block(x, style)
        x = self.merge_8(torch.cat([F.interpolate(x, scale_factor=2.0), skip_8], dim=1))  # (n, 2w, s/8, s/8)
        for block in self.decode_8:
            x = block(x, style)
        x = self.merge_4(torch.cat([F.interpolate(x, scale_factor=2.0), skip_4], dim=1))  # (n, w, s/4, s/4)
        for block in self.decode_4:
            x = block(x, style)
        x = F.pixel_shuffle(self.up_2(act(x)), 2)  # (n, w/2, s/2, s/2)
        x = self.decode_2(x, style)
        x = F.pixel_shuffle(self.up_1(act(x)), 2)  # (n, w/4, s, s)
        return self.to_rgb(act(x))  # type: ignore[no-any-return]
