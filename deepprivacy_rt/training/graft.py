"""Putting a newly trained body under the detail head of a finer generator.

    python -m deepprivacy_rt.training.graft painted.safetensors weights/face256.safetensors grafted.safetensors

The head enlarges whatever face it is given, so a body that was trained on need not be followed by a new head.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from deepprivacy_rt.errors import TrainingError
from deepprivacy_rt.networks.generator import Generator
from deepprivacy_rt.networks.serialization import load_generator, save_generator


def graft(body: Generator, finer: Generator) -> Generator:
    """Return the body with the other's detail head. Raises TrainingError where they do not fit.

    :param body: without a detail head. :param finer: with one, for faces of the body's size.
    """
    shape = dataclasses.replace(body.config, size=finer.config.size, detail=finer.config.detail)
    if body.detail is not None or finer.detail is None or finer.config.drawn_size != body.config.size:
        raise TrainingError("needs a body without a detail head, and a generator with one for faces of its size")
    made = Generator(shape)
    head = {name: value for name, value in finer.state_dict().items() if name.startswith("detail.")}
    made.load_state_dict(body.state_dict() | head)
    return made


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.training.graft", description=__doc__)
    parser.add_argument("body", type=Path, help="a generator without a detail head")
    parser.add_argument("finer", type=Path, help="a generator with one")
    parser.add_argument("output", type=Path, help="where the new generator goes")
    args = parser.parse_args()
    save_generator(graft(load_generator(args.body), load_generator(args.finer)), args.output)


if __name__ == "__main__":
    main()
