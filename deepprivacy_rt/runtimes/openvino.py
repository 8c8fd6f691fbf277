"""Runs one network on the CPU through OpenVINO, an optional extra of this package.

Nothing here imports OpenVINO before a network is built, so the package works without it.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import EnvironmentProblem, StageError, WeightsError

Result = TypeVar("Result")
Precision: TypeAlias = Literal["f32", "bf16"]

_AVX2 = 11
"""CV_CPU_AVX2 of OpenCV's cvdef.h, which has no name in Python."""
_CURE = "OpenVINO is not installed; cure: pip install 'deepprivacy-rt[openvino]'"


def is_installed() -> bool:
    """Tell whether OpenVINO can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def load_openvino() -> Any:
    """Import OpenVINO without what reports its use; return the module. Raises EnvironmentProblem where it is missing.

    By itself the import leaves a lasting id in the home folder and tells Google Analytics of every start. Where its
    package ``openvino_telemetry`` cannot be imported, it does neither, and NNCF as little (docs/adr/0025).
    """
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    try:
        import openvino
    except ImportError as error:
        raise EnvironmentProblem(_CURE) from error
    return openvino


def cpu_has_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware. Raises EnvironmentProblem without OpenVINO."""
    openvino = load_openvino()
    return "BF16" in _on_a_thread_of_its_own(lambda: openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def cpu_has_int8() -> bool:
    """Tell whether int8 is faster than float32 on this CPU: AVX2, on x86.

    With VNNI it takes a third of the time, without it 50 to 60 % (docs/performance.md). Without it two products may in
    principle exceed the 16 bits that they are summed in; no shipped network's do (``training.quantize`` measures it).
    """
    return bool(cv2.checkHardwareSupport(_AVX2))


class OpenVinoNetwork:
    """A compiled network. ``infer`` may be called from any thread; threads take turns.

    :param model: a file (``.tflite``, ``.onnx``, or ``.xml`` with its ``.bin`` beside it) or an ``openvino.Model``.
    :param threads: CPU threads for one inference. More than one spins when the machine is busy.
    :param precision: what to compute in. ``bf16`` falls back to ``f32`` on a CPU without it; ``precision`` says which.
    :param shapes: input shapes to fix, by input name, for models with open ones; the same order as ``infer``.
    :param cache_dir: folder where compiled networks are kept, for a faster start; created when missing.

    Raises EnvironmentProblem without OpenVINO, WeightsError for a file that is missing or unreadable.
    """

    def __init__(
        self,
        model: Path | Any,
        *,
        threads: int = 1,
        precision: Precision = "f32",
        shapes: Mapping[str, Sequence[int]] | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        openvino = load_openvino()
        self.name = model.name if isinstance(model, Path) else str(model.get_friendly_name())
        self.precision: Precision = "bf16" if precision == "bf16" and cpu_has_bf16() else "f32"
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": self.precision,
            # Every network pinned to the first core would make networks wait for each other.
            "ENABLE_CPU_PINNING": False,
        }
        if cache_dir is not None:
            options["CACHE_DIR"] = str(cache_dir)
        if isinstance(model, Path) and not model.is_file():
            raise WeightsError(f"{model}: no such model file; cure: deepprivacy-rt weights fetch")

        def compiled() -> Any:
            core = openvino.Core()
            network = core.read_model(model) if isinstance(model, Path) else model
            if shapes is not None:
                network.reshape({name: list(shape) for name, shape in shapes.items()})
            return core.compile_model(network, "CPU", options)

        try:
            self._compiled = _on_a_thread_of_its_own(compiled)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise WeightsError(f"{model}: OpenVINO cannot load it: {_first_line(error)}") from error
        # A network has one stream, so that OpenVINO lets one thread in after the other anyhow. By itself, though, it
        # makes a request for one thread while another infers, and at times each waits for the other for ever.
        self._turn = threading.Lock()

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs, in order; -1 where a dimension is open."""
        return [_shape(port) for port in self._compiled.inputs]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the outputs, in order; -1 where a dimension is open."""
        return [_shape(port) for port in self._compiled.outputs]

    def output_index(self, name: str) -> int:
        """Return the place of a named output in the result of ``infer``. Raises WeightsError if there is none."""
        for index, port in enumerate(self._compiled.outputs):
            if name in port.get_names():
                return index
        raise WeightsError(f"{self.name}: the network has no output {name!r}; cure: use the model file in the manifest")

    def infer(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once.

        :param inputs: one array per input, in the model's order, in its dtype.
        :return: one array per output, in the model's order; fresh memory that the caller owns.

        Raises StageError when the inference fails, wrong numbers and shapes of inputs included.
        """
        # OpenVINO would go on with whatever lies in the memory of an input that is not given.
        if len(inputs) != len(self._compiled.inputs):
            raise StageError(f"{self.name}: takes {len(self._compiled.inputs)} inputs, not {len(inputs)}")
        try:
            with self._turn:
                self._request.infer([np.ascontiguousarray(array) for array in inputs], share_inputs=True)
                return [np.array(self._request.get_output_tensor(i).data) for i in range(len(self._compiled.outputs))]
        except Exception as error:
            raise StageError(f"{self.name}: inference failed: {_first_line(error)}") from error


def _on_a_thread_of_its_own(work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, or raise what it raises; it runs on a thread that ends with it.

    On Linux, OpenVINO gives the thread that first uses a ``Core`` a stack of its own making for signal handlers, and
    frees it with the core. Where cores end in the order in which they began, or on another thread, it is not taken back
    before: the next signal, as Ctrl-C, ends the program with a segmentation fault, and nothing is cleaned up. A thread
    that is gone gets no signals.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _shape(port: Any) -> tuple[int, ...]:
    return tuple(-1 if dimension.is_dynamic else dimension.get_length() for dimension in port.partial_shape)


def _first_line(error: Exception) -> str:
    """OpenVINO's messages span lines and begin with places in its own source; the last line tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
