"""``deepprivacy-rt devices``: lists cameras with their modes, and virtual cameras."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from deepprivacy_rt.cli.files import one_line
from deepprivacy_rt.sources.devices import Camera, list_cameras

_NONE_FOUND = (
    "no camera found; plug one in, or give this machine's camera to the container or virtual machine you are in"
)


def add_parser(subparsers: Any) -> None:
    """Add this command's parser."""
    parser = subparsers.add_parser(
        "devices", help="list cameras with their modes, and virtual cameras", description=__doc__
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Print the list and return 0, also where it is empty."""
    cameras = list_cameras()
    if args.json:
        print(json.dumps([_record(camera) for camera in cameras], indent=2))
        return 0
    for camera in cameras:
        for line in _lines(camera):
            print(one_line(line))
    if not cameras:
        print(_NONE_FOUND)
    return 0


def _lines(camera: Camera) -> Iterator[str]:
    yield "  ".join(filter(None, (camera.path, camera.name, _kind(camera))))
    if camera.problem:
        yield f"  {camera.problem}"
    for pixels, modes in itertools.groupby(camera.modes, lambda mode: mode.pixels):
        for mode in modes:
            rates = " ".join(_number(rate) for rate in mode.rates)
            yield f"  {pixels:<5}{f'{mode.width}x{mode.height}':<11}{rates and rates + ' fps'}".rstrip()


def _kind(camera: Camera) -> str:
    if camera.problem:
        return ""
    if not camera.virtual:
        return f"[camera, {camera.driver}]"
    return f"[virtual camera, {camera.driver}{'' if camera.captures else ', nobody writes to it'}]"


def _record(camera: Camera) -> dict[str, object]:
    return {
        "path": camera.path,
        "name": camera.name,
        "driver": camera.driver,
        "bus": camera.bus,
        "virtual": camera.virtual,
        "captures": camera.captures,
        "problem": camera.problem or None,
        "modes": [
            {
                "pixels": mode.pixels,
                "width": mode.width,
                "height": mode.height,
                "rates": [round(float(rate), 3) for rate in mode.rates],
            }
            for mode in camera.modes
        ],
    }


def _number(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")
