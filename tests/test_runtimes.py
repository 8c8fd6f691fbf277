"""The OpenVINO runtime: on real and on tiny networks."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepprivacy_rt.errors import StageError, WeightsError
from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, cpu_has_bf16, load_openvino
from deepprivacy_rt.runtimes.tflite_torch import TorchNetwork
from deepprivacy_rt.weights import Weights

openvino = load_openvino()


def doubling(rows: int = -1) -> Any:
    """Return an in-memory network y = 2 x + 1 over (rows, 3) float32."""
    from openvino import opset13 as ops

    x = ops.parameter([rows, 3], np.float32, name="x")
    y = ops.add(ops.multiply(x, np.float32(2)), np.float32(1))
    y.output(0).get_tensor().set_names({"y"})
    return openvino.Model([y], [x], "doubling")


def test_runs_an_in_memory_model() -> None:
    network = OpenVinoNetwork(doubling())
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (y,) = network.infer([x])
    np.testing.assert_array_equal(y, 2 * x + 1)
    assert network.input_shapes == [(-1, 3)]
    assert network.output_index("y") == 0


def test_results_belong_to_the_caller() -> None:
    network = OpenVinoNetwork(doubling())
    (first,) = network.infer([np.zeros((1, 3), np.float32)])
    network.infer([np.ones((1, 3), np.float32)])
    np.testing.assert_array_equal(first, 1)


def test_fixes_open_shapes() -> None:
    network = OpenVinoNetwork(doubling(), shapes={"x": (4, 3)})
    assert network.input_shapes == [(4, 3)]
    assert network.output_shapes == [(4, 3)]


def test_many_threads_share_a_network() -> None:
    network = OpenVinoNetwork(doubling())
    wrong: list[object] = []

    def work(value: int) -> None:
        x = np.full((64, 3), value, np.float32)
        for _ in range(50):
            (y,) = network.infer([x])
            if not (y == 2 * value + 1).all():
                wrong.append(y)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_runs_a_model_file(model_file: Callable[[str], Path]) -> None:
    network = OpenVinoNetwork(model_file("blazeface-short-range"))
    outputs = network.infer([np.zeros((1, 128, 128, 3), np.float32)])
    assert [output.shape for output in outputs] == network.output_shapes == [(1, 896, 16), (1, 896, 1)]


def test_bf16_is_used_only_where_the_cpu_has_it(model_file: Callable[[str], Path]) -> None:
    path = model_file("blazeface-short-range")
    exact, fast = OpenVinoNetwork(path), OpenVinoNetwork(path, precision="bf16")
    assert fast.precision == ("bf16" if cpu_has_bf16() else "f32")
    x = [np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)]
    for a, b in zip(exact.infer(x), fast.infer(x), strict=True):
        assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_keeps_compiled_networks(model_file: Callable[[str], Path], tmp_path: Path) -> None:
    OpenVinoNetwork(model_file("blazeface-short-range"), cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir())


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.onnx: no such model file; cure: "):
        OpenVinoNetwork(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no network")
    with pytest.raises(WeightsError, match=r"broken\.onnx: OpenVINO cannot load it: .+") as caught:
        OpenVinoNetwork(broken)
    assert "\n" not in str(caught.value)


def test_failed_inference_is_a_stage_error() -> None:
    network = OpenVinoNetwork(doubling(4))
    with pytest.raises(StageError, match="doubling: inference failed"):
        network.infer([np.zeros((5, 3), np.float32)])
    with pytest.raises(WeightsError, match="no output 'z'"):
        network.output_index("z")


def test_face_mesh_in_pytorch_computes_what_openvino_computes(tmp_path: Path) -> None:
    model = Weights().path("face-landmark")
    picture = np.random.default_rng(0).uniform(0, 1, (1, 192, 192, 3)).astype(np.float32)
    ours, theirs = TorchNetwork(model).infer([picture]), OpenVinoNetwork(model).infer([picture])
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 2e-3 < np.abs(other).max()
    with pytest.raises(StageError, match=r"face_landmark\.tflite: inference failed"):
        TorchNetwork(model).infer([picture[:, :, :, :2]])


def test_absent_openvino_is_named_with_its_cure() -> None:
    # A real import of the whole detector package in an interpreter that cannot find OpenVINO.
    code = """
import sys
sys.modules["openvino"] = None
from pathlib import Path
from deepprivacy_rt.errors import EnvironmentProblem
from deepprivacy_rt.detectors import blazeface, yunet
try:
    yunet.YuNetDetector(Path("yunet.onnx"))
except EnvironmentProblem as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "OpenVINO is not installed; cure: pip install 'deepprivacy-rt[openvino]'"


HEAP = """
import psutil, sys, threading
from deepprivacy_rt.runtimes.heap import give_back_memory

def pile(kept):
    pieces = [bytearray(60_000) for _ in range(1500)]
    kept.append(pieces[-1])  # the topmost piece stays: by itself, a heap never shrinks below it

kept, process = [], psutil.Process()
before = process.memory_info().rss
threads = [threading.Thread(target=pile, args=(kept,)) for _ in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
piled = process.memory_info().rss
assert give_back_memory()
print((piled - before) >> 20, (process.memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_free_memory_is_given_back_to_the_system() -> None:
    piled, left = map(
        int, subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True).stdout.split()
    )
    assert piled > 40 and left < piled / 4


def test_what_holds_itself_is_freed_after_the_heap_was_frozen() -> None:
    code = """
import gc, weakref
from deepprivacy_rt.runtimes.heap import freeze_heap, give_back_memory

class Holder:
    pass

freeze_heap()
frozen = gc.get_freeze_count()
one = Holder()
one.itself = one
gone = weakref.ref(one)
del one
give_back_memory()
print(frozen > 1000, gone() is None)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == [
        "True",
        "True",
    ]


_SIGNALLED = """
import gc, os, signal, sys, time
sys.path[:0] = sys.argv[1:]
from test_runtimes import OpenVinoNetwork, cpu_has_bf16, doubling
cpu_has_bf16()
first, second = OpenVinoNetwork(doubling()), OpenVinoNetwork(doubling())
del first
gc.collect()
del second
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaned up")
"""


def test_a_signal_after_networks_are_gone_is_handled() -> None:
    """Where networks are not loaded on threads of their own, this ends by signal 11."""
    words = [sys.executable, "-c", _SIGNALLED, str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "cleaned up\n"), done.stderr


_LEFT_AT_WORK = """
import sys, threading, time
sys.path[:0] = sys.argv[1:]
import numpy as np
from deepprivacy_rt.cli import main
from test_runtimes import OpenVinoNetwork, doubling
network, x = OpenVinoNetwork(doubling()), np.ones((60_000, 3), np.float32)
def work():
    while True:
        network.infer([x])
def interrupted():
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(1)
    print("error: interrupted")
    return 1
main.main = interrupted
main.program()
"""


def test_threads_that_are_left_in_a_network_hold_up_no_end() -> None:
    """Threads that share a network hung before they took turns; at Python's own end, C++ at times aborts."""
    words = [sys.executable, "-c", _LEFT_AT_WORK, str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (1, "error: interrupted\n"), done.stderr
