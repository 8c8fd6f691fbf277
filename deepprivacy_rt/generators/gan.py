"""Faces from the trained network, on OpenVINO (CPU) or PyTorch (CUDA, MPS, and CPUs without OpenVINO).

All that enters the network is a patch's erased pixels, its mask, its keypoints, its expression (three numbers, at rest
where ``privacy`` is ``strict``), and a latent that is drawn from the track's identity number and the session's salt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.batching import BatchCounts
from deepprivacy_rt.networks.pool import LatentSource
from deepprivacy_rt.networks.prior import read_prior
from deepprivacy_rt.runtimes.openvino import cpu_has_int8, is_installed
from deepprivacy_rt.types import FacePatch, FaceTrack, Replacement

Floats = NDArray[np.float32]
Precision: TypeAlias = Literal["auto", "f32"]
Runtime: TypeAlias = Literal["auto", "torch"]

SPREAD = 1.4
"""Without a pool, latents are drawn with this many times the prior's deviation: faces differ more, and still are faces.
What gave bad faces far from the mean, blur, is no longer a direction of the prior."""
NEARBY = 0.3
"""The same for a latent of a pool: how far from it a face is drawn. Its looks and quality are the pool's."""

_LEAST, _MOST = 0.0, (0.7, 1.0, 1.0)
"""Range of expressions that was trained: beyond it, mouths fall apart."""


class Executor(Protocol):
    """Runs the network on one machine's hardware. May be shared between threads, whose faces it runs together."""

    @property
    def batches(self) -> BatchCounts:
        """How often the network ran, and for how many faces."""
        ...

    def run(self, *inputs: Floats) -> Floats:
        """Map a batch to faces, (n, 3, s, s) float32.

        :param inputs: float32: images (n, 3, s, s), masks (n, 1, s, s), keypoints (n, 6, 2), latents (n, latent),
            expressions (n, 3), and hints of portraits (n, 2, s, s) where the network takes them.
        """
        ...


class GanGenerator:
    """Invents faces with a trained network (a :class:`deepprivacy_rt.stages.Generator`).

    :param weights: a file of :mod:`deepprivacy_rt.networks.serialization`, its checksum already verified.
    :param device: "cpu", "cuda", "cuda:N" or "mps"; it must exist.
    :param salt: the session's secret; the same salt and identity give the same face.
    :param cache_dir: for converted networks.
    :param quantized: the same network in int8, an OpenVINO ``.xml`` file with its ``.bin`` beside it, both verified.
    :param precision: ``auto`` takes int8 on CPUs with AVX2, bf16 on hardware that has it, else float32; ``f32`` is
        float32 everywhere.
    :param pool: latents that were looked at, (n, latent) float32; None: they are drawn from the prior.
    :param runtime: ``auto`` takes OpenVINO on the CPU where it is installed; ``torch`` PyTorch everywhere.

    Raises WeightsError.
    """

    def __init__(
        self,
        weights: Path,
        *,
        device: str,
        salt: bytes,
        cache_dir: Path | None = None,
        quantized: Path | None = None,
        precision: Precision = "auto",
        pool: Floats | None = None,
        runtime: Runtime = "auto",
    ) -> None:
        self._prior = read_prior(weights)
        self._latents = LatentSource(self._prior, salt, SPREAD if pool is None else NEARBY, pool)
        self._identity: Floats | None = None
        exact = precision == "f32"
        self._executor = self._choose(weights, device, cache_dir, quantized, exact=exact, own=runtime == "auto")

    def _choose(
        self, weights: Path, device: str, cache_dir: Path | None, quantized: Path | None, *, exact: bool, own: bool
    ) -> Executor:
        if own and device == "cpu" and is_installed():
            from deepprivacy_rt.generators.gan_openvino import load_float, load_quantized

            if quantized is not None and not exact and cpu_has_int8():
                return load_quantized(quantized)
            return load_float(weights, self._prior, cache_dir, exact=exact)
        from deepprivacy_rt.generators.gan_torch import TorchExecutor

        return TorchExecutor(weights, device, exact=exact)

    def as_identity(self, latent: Floats) -> GanGenerator:
        """Return one that gives all faces this latent, (latent,) float32, and shares the network."""
        other = copy.copy(self)
        other._identity = latent
        return other

    @property
    def executor(self) -> Executor:
        """What runs the network."""
        return self._executor

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._prior.size

    def latent(self, identity: int) -> Floats:
        """Return the identity's latent, (latent,) float32; where one was given for all faces, that one."""
        if self._identity is not None:
            return self._identity
        return self._latents.latent(identity)

    @property
    def sees_portraits(self) -> bool:
        """Whether the network takes hints of portraits."""
        return self._prior.portrait > 0

    def hints(self, hints: Sequence[Floats | None]) -> tuple[Floats, ...]:
        """Return one more input, (n, 2, s, s), where the network takes portraits: zeros for those without one."""
        if not self.sees_portraits:
            return ()
        none = np.zeros((self._prior.portrait, self._prior.size, self._prior.size), np.float32)
        return (np.stack([none if one is None else one for one in hints]),)

    def told(self, tracks: Sequence[FaceTrack], keypoints: Floats) -> tuple[Floats, ...]:
        """Return what the network is told of n faces beside their pictures: keypoints, latents, expressions.

        :param keypoints: (n, 6, 2) patch pixels.
        """
        # Pixel centres → -1..1 over the outer edges of the patch.
        placed = (keypoints + 0.5) * np.float32(2 / self._prior.size) - 1
        latents = np.stack([self.latent(track.identity) for track in tracks])
        expressions = np.clip([track.expression.openings for track in tracks], _LEAST, _MOST).astype(np.float32)
        return placed.astype(np.float32), latents, expressions

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        """Return a replacement per patch. One whose output is not finite is left out, and so stays filled.

        Raises StageError when a patch has the wrong size or the network fails.
        """
        if not patches:
            return []
        size = self._prior.size
        if any(patch.image.shape[0] != size for patch in patches):
            raise StageError(f"the generator takes patches of {size} pixels")
        mask = np.stack([patch.mask for patch in patches])[:, None].astype(np.float32)
        image = np.stack([patch.image for patch in patches]).transpose(0, 3, 1, 2).astype(np.float32)
        image = (image * np.float32(1 / 127.5) - 1) * (1 - mask)
        told = self.told([patch.track for patch in patches], np.stack([patch.keypoints for patch in patches]))
        told = (*told, *self.hints([patch.hint for patch in patches]))
        output = self._executor.run(np.ascontiguousarray(image), mask, *told)
        return [
            Replacement(patch=patch, image=_to_image(face))
            for patch, face in zip(patches, output, strict=True)
            if np.isfinite(face).all()
        ]


def _to_image(face: Floats) -> NDArray[np.uint8]:
    """(3, s, s) -1..1 → (s, s, 3) uint8."""
    return np.ascontiguousarray(np.rint((np.clip(face, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0))
