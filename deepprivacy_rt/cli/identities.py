"""``deepprivacy-rt identities``: the faces that ``--identity`` can choose."""

from __future__ import annotations

import argparse
import dataclasses
import threading
import typing
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from deepprivacy_rt.cli.files import check_side_file
from deepprivacy_rt.config import Portraits
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.types import Image

if typing.TYPE_CHECKING:
    from deepprivacy_rt.build import Anonymizer
    from deepprivacy_rt.generators.gan import GanGenerator
    from deepprivacy_rt.generators.wardrobe import Wardrobe
    from deepprivacy_rt.networks.bank import Identity
    from deepprivacy_rt.portraits.bank import PortraitBank
    from deepprivacy_rt.weights import Weights

_MOST_PICTURES = 6
_TILE, _COLUMNS = 224, 8
_NAME = 12
"""Width of the column of names."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "identities",
        help="list the faces that --identity can choose, and show them",
        description="List the identities that --identity takes by name or number. --sheet shows each of them, on a "
        "picture of nobody, or on pictures of yours: only the anonymized result is written.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, by name or number (default: all)")
    help_ = "only those whose portraits are of this group (default: any)"
    parser.add_argument("--portraits", choices=typing.get_args(Portraits), default="any", help=help_)
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="write a picture of all that are listed")
    help_ = f"pictures to show them on, at most {_MOST_PICTURES} (default: a picture of nobody)"
    parser.add_argument("--on", type=Path, nargs="+", default=[], metavar="PICTURE", help=help_)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing sheet")
    parser.add_argument("--verbose", action="store_true", help="show where an error came from")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code. Raises UsageError, WeightsError, SourceError, SinkError."""
    from deepprivacy_rt.build_generator import read_identities
    from deepprivacy_rt.networks.bank import pick
    from deepprivacy_rt.portraits.bank import read_portraits
    from deepprivacy_rt.weights import Weights

    if len(args.on) > _MOST_PICTURES:
        raise UsageError(f"at most {_MOST_PICTURES} pictures, not {len(args.on)}")
    if args.sheet is not None:
        check_side_file(args.sheet, "--sheet", args.on, overwrite=args.overwrite)
    weights = Weights()
    bank = read_portraits(weights.path("portraits"))
    everyone = read_identities(weights)
    named = [pick(everyone, name) for name in args.names] or everyone
    identities = [one for one in named if args.portraits in ("any", bank.portraits[one.number].group)]
    if not identities:
        raise UsageError(f"none of these identities has a portrait of the group {args.portraits!r}")
    for one in identities:
        print(f"{one.number:3} {one.name:{_NAME}} {bank.portraits[one.number].group}")
    if args.sheet is not None:
        _write(args.sheet, weights, bank, identities, args.on)
        print(f"sheet: {args.sheet}")
    return 0


def _write(
    sheet: Path, weights: Weights, bank: PortraitBank, identities: Sequence[Identity], pictures: Sequence[Path]
) -> None:
    """Anonymize every picture with every identity, and write the results in a grid, one block per identity."""
    import cv2
    import numpy as np

    from deepprivacy_rt.build import build_anonymizer
    from deepprivacy_rt.build_generator import portraying
    from deepprivacy_rt.cli.files import write_side_file
    from deepprivacy_rt.config import FaceConfig
    from deepprivacy_rt.errors import SinkError

    blocks = []
    anonymizer = build_anonymizer(FaceConfig(identity="0"), weights)
    generator = typing.cast("GanGenerator", anonymizer.generator)
    with resources.as_file(resources.files("deepprivacy_rt.bench") / "face.jpg") as nobody:
        for one in identities:
            as_one = dataclasses.replace(
                anonymizer,
                generator=generator.as_identity(one.latent),
                finish=portraying(_wardrobes(bank, one.number)),
            )
            tiles = [_tile(anonymized(as_one, path)) for path in (pictures or [nobody])]
            block = np.hstack(tiles)
            cv2.putText(block, one.name, (6, _TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
            blocks.append(block)
    columns = max(1, _COLUMNS // len(pictures or [nobody]))
    blocks += [np.zeros_like(blocks[0])] * (-len(blocks) % columns)
    grid = np.vstack([np.hstack(blocks[start : start + columns]) for start in range(0, len(blocks), columns)])
    done, data = cv2.imencode(sheet.suffix or ".png", cv2.cvtColor(grid, cv2.COLOR_RGB2BGR))
    if not done:
        raise SinkError(f"{sheet}: cannot be encoded as {sheet.suffix}")
    write_side_file(sheet, data.tobytes())


def _wardrobes(bank: PortraitBank, number: int) -> Callable[[float], Wardrobe]:
    """Return what gives every face the same portrait."""
    from deepprivacy_rt.generators.wardrobe import Wardrobe

    return lambda _: Wardrobe(bank, b"", number, still=True)


def anonymized(anonymizer: Anonymizer, path: Path) -> Image:
    """Return a picture with its faces replaced. Raises SourceError."""
    from deepprivacy_rt.build import make_source
    from deepprivacy_rt.evaluation.copies import PictureSink

    with make_source(path) as source, PictureSink() as sink:
        anonymizer.run(source, sink, 1.0, on_frame=lambda report: None, stop=threading.Event())
    if not sink.images:
        raise UsageError(f"{path}: has no picture")
    return sink.images[0]


def _tile(image: Image) -> Image:
    """Fit a picture into a square, on black."""
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    scale = _TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, size, interpolation=kind)
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    top, left = (_TILE - size[1]) // 2, (_TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile
