"""Runs a network of a TensorFlow Lite file in PyTorch, on any device, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.runtimes.tflite import Operator, TfliteNetwork, read_tflite

_SAME = 0
_RELU = 1


class TorchTflite(nn.Module):
    """The network, for batches. Pictures inside are (n, c, h, w), as PyTorch has them.

    Raises WeightsError for a file that cannot be read, or does what is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        network = read_tflite(path)
        self._network = network
        self._steps = [step for step in network.operators if step.kind not in ("dequantize", "densify")]
        self._alias = _same_values(network)
        for index, value in network.constants.items():
            if value.dtype.kind == "f":
                self.register_buffer(f"c{index}", torch.from_numpy(value.astype("float32")))
        known = [name.removeprefix("_do_") for name in dir(self) if name.startswith("_do_")]
        unknown = {step.kind for step in self._steps} - set(known)
        if unknown:
            raise WeightsError(f"{path}: operators that are not known here: {', '.join(sorted(unknown))}")

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the outputs, in the file's order.

        :param pictures: (n, 3, h, w) float32, of the size that the file asks for.
        """
        values: dict[int, Tensor] = {self._network.inputs[0]: pictures}
        for step in self._steps:
            values[step.outputs[0]] = getattr(self, f"_do_{step.kind}")(step, values)
        return [values[index] for index in self._network.outputs]

    def _value(self, index: int, values: dict[int, Tensor]) -> Tensor:
        index = self._alias.get(index, index)
        return values[index] if index in values else self.get_buffer(f"c{index}")

    def _numbers(self, index: int) -> list[int]:
        return [int(v) for v in self._network.constants[index].ravel()]

    def _do_conv(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        kernel = self._value(step.inputs[1], values).permute(0, 3, 1, 2)
        return self._convolved(step, values, kernel, groups=1, fused=3, dilation=4)

    def _do_depthwise_conv(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        kernel = self._value(step.inputs[1], values).permute(3, 0, 1, 2)
        return self._convolved(step, values, kernel, groups=len(kernel), fused=4, dilation=5)

    def _convolved(
        self, step: Operator, values: dict[int, Tensor], kernel: Tensor, *, groups: int, fused: int, dilation: int
    ) -> Tensor:
        """:param fused, dilation: numbers of the fields of these options."""
        x = self._value(step.inputs[0], values)
        bias = self._value(step.inputs[2], values)
        stride = (step.options.number(2), step.options.number(1))
        if step.options.number(dilation, default=1) != 1:
            raise WeightsError("a dilated convolution is not known here")
        x = _padded(x, step, (kernel.shape[2], kernel.shape[3]), stride)
        return _activated(F.conv2d(x, kernel, bias, stride, groups=groups), step, fused)

    def _do_max_pool(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        stride = (step.options.number(2), step.options.number(1))
        size = (step.options.number(4), step.options.number(3))
        x = _padded(self._value(step.inputs[0], values), step, size, stride, value=float("-inf"))
        return _activated(F.max_pool2d(x, size, stride), step, 5)

    def _do_add(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        one, other = (self._value(index, values) for index in step.inputs)
        return _activated(one + other, step, 0)

    def _do_relu(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        return F.relu(self._value(step.inputs[0], values))

    def _do_prelu(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        return F.prelu(self._value(step.inputs[0], values), self._value(step.inputs[1], values).ravel())

    def _do_pad(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        n, h, w, c = zip(*[iter(self._numbers(step.inputs[1]))] * 2, strict=True)
        if n != (0, 0):
            raise WeightsError("padding between pictures is not known here")
        return F.pad(self._value(step.inputs[0], values), (*w, *h, *c))

    def _do_resize_bilinear(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        height, width = self._numbers(step.inputs[1])
        if not step.options.number(3, "b"):
            raise WeightsError("a resizing other than by half pixel centres is not known here")
        x = self._value(step.inputs[0], values)
        return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)

    def _do_depth_to_space(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        block = step.options.number(0)
        n, channels, h, w = (x := self._value(step.inputs[0], values)).shape
        # TensorFlow has the place within the block outermost, PyTorch's pixel_shuffle innermost.
        x = x.reshape(n, block, block, channels // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(n, channels // block**2, h * block, w * block)

    def _do_reshape(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        """Flatten a picture to (n, anchors, values), which is what these networks do with it."""
        x = self._value(step.inputs[0], values)
        shape = self._network.shapes[step.outputs[0]]
        return x.permute(0, 2, 3, 1).reshape(len(x), *shape[1:])

    def _do_concatenate(self, step: Operator, values: dict[int, Tensor]) -> Tensor:
        parts = [self._value(index, values) for index in step.inputs]
        if parts[0].ndim != 3 or step.options.number(0) != 1:
            raise WeightsError("a concatenation other than of anchors is not known here")
        return torch.cat(parts, dim=1)


class TorchNetwork:
    """A network for one picture at a time on the CPU; ``infer`` is that of
    :class:`deepprivacy_rt.runtimes.openvino.OpenVinoNetwork`, and may be called from any thread.

    Raises WeightsError for a file that cannot be read.
    """

    def __init__(self, model: Path) -> None:
        self.name = model.name
        self._network = TorchTflite(model)

    @torch.inference_mode()
    def infer(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once.

        :param inputs: the picture, (1, h, w, c) float32.
        :return: one array per output, (1, h, w, c) where it is a picture.

        Raises StageError when the inference fails.
        """
        try:
            outputs = self._network(torch.from_numpy(inputs[0]).permute(0, 3, 1, 2))
        except RuntimeError as error:
            raise StageError(f"{self.name}: inference failed: {str(error).splitlines()[0]}") from error
        return [(out.permute(0, 2, 3, 1) if out.ndim == 4 else out).contiguous().numpy() for out in outputs]


def _same_values(network: TfliteNetwork) -> dict[int, int]:
    """Return which tensors are other ones in another precision or packing: these are read dense and in float32."""
    alias: dict[int, int] = {}
    for step in network.operators:
        if step.kind in ("dequantize", "densify"):
            source = step.inputs[0]
            alias[step.outputs[0]] = alias.get(source, source)
    return alias


def _padded(x: Tensor, step: Operator, kernel: tuple[int, int], stride: tuple[int, int], value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's "same" does, the odd pixel at the right and bottom; as "valid": not at all."""
    if step.options.number(0, "b") != _SAME:
        return x
    margins: list[int] = []
    for size, window, pace in zip((x.shape[3], x.shape[2]), kernel[::-1], stride[::-1], strict=True):
        missing = max(0, (-(-size // pace) - 1) * pace + window - size)
        margins += [missing // 2, missing - missing // 2]
    return F.pad(x, margins, value=value) if any(margins) else x


def _activated(x: Tensor, step: Operator, field: int) -> Tensor:
    kind = step.options.number(field, "b")
    if kind not in (0, _RELU):
        raise WeightsError(f"activation {kind} is not known here")
    return F.relu(x) if kind == _RELU else x
