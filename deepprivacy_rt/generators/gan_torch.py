"""The trained network in PyTorch: on GPUs, and on CPUs without OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.generators.batching import MOST_FACES, BatchCounts, Batcher
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.networks.serialization import load_generator
from deepprivacy_rt.portraits.hint import CHANNELS
from deepprivacy_rt.types import FaceTrack

Floats = NDArray[np.float32]

BATCHES = (1, 2, 4, 8, MOST_FACES)
"""Numbers of faces that a graph is recorded for. In between, copies of the first face make up the number."""
_WARM_UP = 3
_PATIENCE_SECONDS = 0.004
"""That a stream waits for the faces of another. Chosen to be lost in a frame of 33 ms; never measured on a GPU."""


class TorchExecutor:
    """bfloat16 and recorded graphs on CUDA; float32, one launch after the other, elsewhere.

    What several threads ask for at the same time is one batch; they never run at once, for a graph has its own memory.

    :param weights: the generator's file.
    :param exact: float32 on CUDA too.

    Raises WeightsError.
    """

    def __init__(self, weights: Path, device: str, *, exact: bool = False) -> None:
        self.device = torch.device(device)
        self._network = load_generator(weights).to(self.device)
        self._autocast = self.device.type == "cuda" and not exact
        self._graphs: dict[int, _Graph] = {}
        self._batcher: Batcher[Tensor] = Batcher(self._forward, _joined, patience=_PATIENCE_SECONDS)

    @property
    def batches(self) -> BatchCounts:
        """See :class:`deepprivacy_rt.generators.gan.Executor`."""
        return self._batcher.counts

    @torch.inference_mode()
    def run(self, *inputs: Floats) -> Floats:
        """See :class:`deepprivacy_rt.generators.gan.Executor`."""
        tensors = [torch.from_numpy(array).to(self.device) for array in inputs]
        result: Floats = self.forward(*tensors).cpu().numpy()
        return result

    @torch.inference_mode()
    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network on tensors of the device: at least one face, in float32, the same order as ``run``."""
        return self._batcher(*inputs)

    def _forward(self, *inputs: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return self._call(*inputs)
        return in_batches(self._replayed, inputs)

    def _call(self, *inputs: Tensor) -> Tensor:
        # No cache: weights that were cast while one graph was recorded would belong to that graph.
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast, cache_enabled=False):
            output: Tensor = self._network(*inputs)
        return output.float()

    def _replayed(self, *inputs: Tensor) -> Tensor:
        count = len(inputs[0])
        if count not in self._graphs:
            self._graphs[count] = _Graph(self._call, inputs)
        return self._graphs[count](*inputs)


class _Graph:
    """A function of tensors of fixed shapes, recorded once on CUDA and replayed with one launch."""

    def __init__(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        self._inputs = [one.clone() for one in inputs]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch has no type for it
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their algorithms, and allocate, before the recording
            for _ in range(_WARM_UP):
                call(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # The detector's thread goes on using the device meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = call(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output.clone()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts))


def in_batches(call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Return what ``call`` makes of the rows of the inputs, given numbers of rows out of ``BATCHES`` only."""
    parts = []
    for first in range(0, len(inputs[0]), BATCHES[-1]):
        rows = [one[first : first + BATCHES[-1]] for one in inputs]
        count = len(rows[0])
        missing = next(size for size in BATCHES if size >= count) - count
        if missing:
            rows = [torch.cat([one, one[:1].expand(missing, *one.shape[1:])]) for one in rows]
        parts.append(call(*rows)[:count])
    return torch.cat(parts) if len(parts) > 1 else parts[0]


class DeviceGan:
    """A :class:`deepprivacy_rt.generators.gan.GanGenerator` for patches that lie on its device.

    Implements :class:`deepprivacy_rt.on_device.canvas.FaceNetwork`. Raises StageError for one that PyTorch does not
    run.
    """

    def __init__(self, generator: GanGenerator) -> None:
        if not isinstance(generator.executor, TorchExecutor):
            raise StageError("the generator does not run in PyTorch")
        self._generator = generator
        self._executor = generator.executor

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels."""
        return self._generator.patch_size

    def draw(
        self,
        image: Tensor,
        mask: Tensor,
        tracks: Sequence[FaceTrack],
        keypoints: Floats,
        hints: Tensor | None = None,
    ) -> Tensor:
        """See :class:`deepprivacy_rt.on_device.canvas.FaceNetwork`."""
        told = [torch.from_numpy(array).to(image.device) for array in self._generator.told(tracks, keypoints)]
        if self._generator.sees_portraits:
            none = mask.new_zeros(len(mask), CHANNELS, *mask.shape[2:])
            told.append(none if hints is None else hints.to(mask.dtype))
        return self._executor.forward(image, mask, *told)
