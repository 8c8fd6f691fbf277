"""Reads networks from TensorFlow Lite files: operators, and weights as arrays. No library of TensorFlow is needed.

A file is a FlatBuffer (google.github.io/flatbuffers/internals): tables point to a vtable, which says where in the table
each field lies; all numbers are little-endian. Field numbers are those of TensorFlow's ``schema.fbs``, version 3. Read
is what BlazeFace and Face Mesh need: float weights, half precision and sparse ones included, and no quantized ones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import WeightsError

Array = NDArray[Any]

_DTYPES: dict[int, type] = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64}
_INDEX_DTYPES: dict[int, type] = {1: np.int32, 2: np.uint16, 3: np.uint8}
OPERATORS = {
    0: "add",
    2: "concatenate",
    3: "conv",
    4: "depthwise_conv",
    5: "depth_to_space",
    6: "dequantize",
    17: "max_pool",
    19: "relu",
    22: "reshape",
    23: "resize_bilinear",
    34: "pad",
    54: "prelu",
    124: "densify",
}
"""Names, by number in the file, of the operators that are known here."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a network.

    :ivar kind: a value of ``OPERATORS``. :ivar inputs, outputs: numbers of tensors.
    :ivar options: its table of options; empty where it has none.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table


@dataclass(frozen=True, slots=True)
class TfliteNetwork:
    """A network, as it is in the file: pictures are (n, h, w, c), kernels (outputs, h, w, inputs).

    :ivar operators: in the order in which they can be run. :ivar constants: weights by number of the tensor, dense.
    :ivar shapes: of all tensors. :ivar inputs, outputs: numbers of tensors.
    """

    operators: tuple[Operator, ...]
    constants: dict[int, Array]
    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Table:
    """A FlatBuffer table: fields by number, with the default of what is not there."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        self._vtable = place - _number(data, place, "i")
        self._fields = (_number(data, self._vtable, "H") - 4) // 2

    def _offset(self, field: int) -> int:
        """Return where a field lies, 0 where it is not there."""
        if field >= self._fields:
            return 0
        inside = int(_number(self._data, self._vtable + 4 + 2 * field, "H"))
        return self._place + inside if inside else 0

    def number(self, field: int, kind: str = "i", default: int = 0) -> int:
        """Return a number. :param kind: its ``struct`` character."""
        place = self._offset(field)
        return int(_number(self._data, place, kind)) if place else default

    def table(self, field: int) -> Table | None:
        place = self._offset(field)
        return Table(self._data, self._target(place)) if place else None

    def tables(self, field: int) -> list[Table]:
        start, count = self._vector(field)
        return [Table(self._data, self._target(start + 4 * index)) for index in range(count)]

    def array(self, field: int, dtype: Any = np.int32) -> Array:
        """Return a vector of numbers, (n,); empty where it is not there."""
        start, count = self._vector(field)
        return np.frombuffer(self._data, dtype, count, start) if count else np.zeros(0, dtype)

    def _target(self, place: int) -> int:
        return place + int(_number(self._data, place, "I"))

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._offset(field)
        if not place:
            return 0, 0
        start = self._target(place)
        return start + 4, int(_number(self._data, start, "I"))


def read_tflite(path: Path) -> TfliteNetwork:
    """Return the network of a file. Raises WeightsError for a file that is missing, damaged, or uses what is not known
    here."""
    try:
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise ValueError("not a TensorFlow Lite file")
        return _network(Table(data, int(_number(data, 0, "I"))))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such model file; cure: deepprivacy-rt weights fetch") from error
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise WeightsError(f"{path}: cannot be read as a network: {error!r}") from error


def _network(model: Table) -> TfliteNetwork:
    codes = [max(code.number(0, "b"), code.number(3)) for code in model.tables(1)]
    buffers = model.tables(4)
    graph = model.tables(2)[0]
    tensors = graph.tables(0)
    constants = {}
    for index, tensor in enumerate(tensors):
        buffer = buffers[tensor.number(2, "I")]
        if len(buffer.array(0, np.uint8)):
            constants[index] = _constant(tensor, buffer)
    operators = []
    for entry in graph.tables(3):
        code = codes[entry.number(0, "I")]
        if code not in OPERATORS:
            raise ValueError(f"operator {code} is not known")
        inputs, outputs = (tuple(int(v) for v in entry.array(field)) for field in (1, 2))
        options = entry.table(4)
        operators.append(Operator(OPERATORS[code], inputs, outputs, options or _NO_OPTIONS))
    return TfliteNetwork(
        tuple(operators),
        constants,
        tuple(tuple(int(v) for v in tensor.array(0)) for tensor in tensors),
        tuple(int(v) for v in graph.array(1)),
        tuple(int(v) for v in graph.array(2)),
    )


def _constant(tensor: Table, buffer: Table) -> Array:
    shape = tuple(int(v) for v in tensor.array(0))
    values: Array = buffer.array(0, np.uint8).view(_DTYPES[tensor.number(1, "b")])
    sparsity = tensor.table(6)
    return values.reshape(shape) if sparsity is None else _dense(values, shape, sparsity)


def _dense(values: Array, shape: tuple[int, ...], sparsity: Table) -> Array:
    """Return a sparse tensor with its zeros.

    Its dimensions are traversed in an order of their own. A dense one has all its indices, a sparse one those listed:
    segment i to i + 1 of the list belongs to the i-th place so far (TensorFlow's ``SparsityParameters``).
    """
    order = sparsity.array(0).tolist()
    if sorted(order) != list(range(len(shape))):
        raise ValueError("sparse blocks are not known")
    places = np.zeros((1, 0), np.int64)
    for entry in sparsity.tables(2):
        if entry.number(0, "b") == 0:
            size = entry.number(1)
            index = np.tile(np.arange(size), len(places))
            places = np.repeat(places, size, axis=0)
        else:
            segments, index = (_indices(entry, field).astype(np.int64) for field in (2, 4))
            places = np.repeat(places, np.diff(segments), axis=0)
        places = np.concatenate([places, index[:, None]], axis=1)
    dense = np.zeros(shape, values.dtype)
    dense[tuple(places[:, np.argsort(order)].T)] = values[: len(places)]
    return dense


def _indices(entry: Table, field: int) -> Array:
    union = entry.table(field + 1)
    if union is None:
        raise ValueError("a sparse dimension without indices")
    return union.array(0, _INDEX_DTYPES[entry.number(field, "B")])


def _number(data: bytes, place: int, kind: str) -> Any:
    return struct.unpack_from(f"<{kind}", data, place)[0]


_NO_OPTIONS = Table(struct.pack("<HHi", 4, 4, 4), 4)
"""A table without fields: its vtable of four bytes, then its offset to that."""
