"""The bank of identities: latents with names, chosen because they give good faces that differ."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.errors import UsageError, WeightsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A face of nobody. :ivar number: place in the bank, and of its portrait. :ivar latent: (latent,) float32."""

    name: str
    number: int
    latent: NDArray[np.float32]


def read_bank(path: Path, latent: int) -> list[Identity]:
    """Read the identities in their order.

    :param latent: length that their latents must have.
    Raises WeightsError for a file that is missing, unreadable, or made for another network.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["identity"]
        bank = [
            Identity(str(row["name"]), number, np.asarray(row["latent"], np.float32)) for number, row in enumerate(rows)
        ]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as a bank of identities: {error}") from error
    if not bank or any(one.latent.shape != (latent,) or not np.isfinite(one.latent).all() for one in bank):
        raise WeightsError(f"{path}: its latents do not fit a network that takes {latent} numbers")
    return bank


def pick(bank: Sequence[Identity], wanted: str) -> Identity:
    """Return the identity of a name or of a number from 0. Raises UsageError that names the nearest."""
    if wanted.isascii() and wanted.isdecimal() and int(wanted) < len(bank):
        return bank[int(wanted)]
    for one in bank:
        if one.name == wanted:
            return one
    names = [one.name for one in bank]
    nearest = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose 0 to {len(bank) - 1}, or a name"
    raise UsageError(f"no identity {wanted!r}; {hint} (deepprivacy-rt identities lists them)")
