"""``deepprivacy-rt weights fetch | list | verify``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from deepprivacy_rt.weights import State, Weights


def add_parser(subparsers: Any) -> None:
    """Add this command's parser."""
    parser = subparsers.add_parser("weights", help="fetch, list and verify model files", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="fetch what is missing or has a wrong checksum")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="default: every model that is not optional")
    fetch.add_argument("--all", action="store_true", help="the optional ones too")
    actions.add_parser("list", help="say what there is, what for, and under which licence")
    verify = actions.add_parser("verify", help="compare checksums; exit code 1 unless all needed files are good")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: every model")


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit code. Raises WeightsError."""
    weights = Weights(report=lambda line: print(line, file=sys.stderr))
    action = {"fetch": _fetch, "list": _list, "verify": _verify}[args.action]
    return action(weights, args)


def _fetch(weights: Weights, args: argparse.Namespace) -> int:
    names = [model.name for model in weights.list_models()] if args.all else args.names or None
    for path in weights.fetch(names):
        print(path)
    return 0


def _list(weights: Weights, args: argparse.Namespace) -> int:
    states = weights.verify()
    for model in weights.list_models():
        print(f"{model.name} ({states[model.name].value}{', optional' if model.optional else ''})")
        print(f"  {model.file}, {model.size / 1e6:.1f} MB, {model.licence}: {model.source}")
        print(f"  {model.purpose}")
    print(f"Fetched files are kept in {weights.folder}")
    return 0


def _verify(weights: Weights, args: argparse.Namespace) -> int:
    optional = {model.name for model in weights.list_models() if model.optional} - set(args.names)
    failed = False
    for name, state in weights.verify(args.names or None).items():
        print(f"{name}: {state.value}")
        failed |= state is State.WRONG or (state is State.MISSING and name not in optional)
    return int(failed)
