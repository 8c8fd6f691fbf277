"""Arithmetic of the networks, and the time that it would take at the peak of one core of this machine.

    python benchmarks/arithmetic.py [--json F]

Multiplications are counted in the networks as they are shipped: all convolutions and matrix products, one GMAC being a
thousand million multiplications with their additions. The peak is measured, as the best of many runs of large
convolutions through OpenVINO on one thread, in float32 and int8. DeepPrivacy v1 (Hukkelås et al. 2019) is there for
comparison, with the size that it was published with.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepprivacy_rt.runtimes.openvino import OpenVinoNetwork, load_openvino
from deepprivacy_rt.weights import Weights

NETWORKS = (
    ("generator", "face128-int8", "int8", 1.0),
    ("BlazeFace, full range", "blazeface-full-range", "f32", 1.0),
    ("BlazeFace, short range", "blazeface-short-range", "f32", 0.0),
)
"""Name, file, precision, and calls per frame at 30 frames per second, with one face that nothing casts doubt on: four
looks of the detector in four frames, see detectors/paced.py."""
DEEPPRIVACY_V1 = {"name": "DeepPrivacy v1, 128x128", "parameters": 46.9e6, "gmac": 61.4}
_SHAPES = ((256, 32, 3), (256, 32, 1), (128, 64, 3), (512, 16, 3), (512, 32, 1))
"""Channels, side, kernel."""
_SECONDS = 0.7


def count(model: Any) -> tuple[int, float]:
    """Return the number of weights, and GMAC of one call, of an ``openvino.Model``."""
    weights, products = 0, 0
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        kernel, output = tuple(node.input_value(1).get_shape()), tuple(node.output(0).get_shape())
        size = math.prod(kernel)
        weights += size
        # Convolutions: one product per weight and place, but a row of a MatMul is one place.
        places = math.prod(output[2:]) if kind != "MatMul" else math.prod(output[:-1])
        products += size * places * (output[0] if kind != "MatMul" else 1)
    return weights, products / 1e9


def convolution(channels: int, side: int, kernel: int, *, quantized: bool) -> Any:
    """Return a network of four equal convolutions."""
    openvino = load_openvino()
    from openvino import opset13 as ops

    random = np.random.default_rng(0)
    start = ops.parameter([1, channels, side, side], np.float32, name="x")
    x = start
    for _ in range(4):
        values = random.uniform(-1, 1, (channels, channels, kernel, kernel)).astype(np.float32) / (channels * kernel)
        weights = ops.constant(values)
        if quantized:
            high = np.float32(np.abs(values).max())
            weights = ops.fake_quantize(weights, -high, high, -high, high, 255)
            x = ops.fake_quantize(x, np.float32(-1.28), np.float32(1.27), np.float32(-1.28), np.float32(1.27), 256)
        pad = [kernel // 2] * 2
        x = ops.convolution(x, weights, strides=[1, 1], pads_begin=pad, pads_end=pad, dilations=[1, 1])
    return openvino.Model([x], [start])


def peak(*, quantized: bool) -> float:
    """Return the most GMAC per second that one thread came to."""
    best = 0.0
    for channels, side, kernel in _SHAPES:
        model = convolution(channels, side, kernel, quantized=quantized)
        gmac = count(model)[1]
        network = OpenVinoNetwork(model)
        picture = np.random.default_rng(1).uniform(-1, 1, (1, channels, side, side)).astype(np.float32)
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            begin = time.perf_counter()
            network.infer([picture])
            best = max(best, gmac / (time.perf_counter() - begin))
    return best


def measured_ms(path: Path) -> float:
    """Return CPU milliseconds of one call of a network on one thread: the median of many."""
    network = OpenVinoNetwork(path)
    inputs = [np.zeros(shape, np.float32) for shape in network.input_shapes]
    times = []
    end = time.monotonic() + 2 * _SECONDS
    while time.monotonic() < end:
        begin = time.perf_counter()
        network.infer(inputs)
        times.append((time.perf_counter() - begin) * 1e3)
    return float(np.median(times))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    peaks = {"f32": peak(quantized=False), "int8": peak(quantized=True)}
    weights, core, rows = Weights(), load_openvino().Core(), []
    weights.path("face128-int8-bin")
    for name, file, precision, calls in NETWORKS:
        path = weights.path(file)
        parameters, gmac = count(core.read_model(path))
        at_peak = gmac / peaks[precision] * 1e3
        rows.append((name, parameters, gmac, precision, at_peak, measured_ms(path), calls))
    print("| one core's peak | G products with their sums per second |\n|---|---|")
    for precision, value in peaks.items():
        print(f"| {precision} | {value:.0f} |")
    print("\n| network | weights | GMAC a call | in | ms at the peak | ms measured | calls per frame |")
    print("|---|---|---|---|---|---|---|")
    for name, parameters, gmac, precision, at_peak, taken, calls in rows:
        size = f"{parameters / 1e6:.2f} M | {gmac:.3f}"
        print(f"| {name} | {size} | {precision} | {at_peak:.1f} | {taken:.1f} | {calls:g} |")
    v1 = DEEPPRIVACY_V1
    print(
        f"| {v1['name']}, as published | {v1['parameters'] / 1e6:.1f} M | {v1['gmac']} "
        f"| f32 | {v1['gmac'] / peaks['f32'] * 1e3:.0f} | | 1 |"
    )
    print(f"\nper frame at the peak: {sum(row[4] * row[6] for row in rows):.1f} ms of one core")
    if options.json:
        content = {"peaks_gmac_per_second": peaks, "networks": [dict(zip(_KEYS, row, strict=True)) for row in rows]}
        options.json.write_text(json.dumps(content | {"reference": v1}, indent=1) + "\n")


_KEYS = ("name", "weights", "gmac", "precision", "ms_at_peak", "ms_measured", "calls_per_frame")


if __name__ == "__main__":
    main()
