"""Configuration: TOML files into frozen, checked dataclasses, and back.

A configuration class is a frozen dataclass whose fields are ``bool``, ``int``, ``float``, ``str``, a ``Literal`` of
strings, any of these ``| None``, or another such class (a TOML table). ``from_table`` fills one from a parsed table,
``to_toml`` prints one so that ``from_table`` reads it back unchanged. ``None`` has no spelling in TOML: such a key is
printed as a comment, and left out when read.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from deepprivacy_rt.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Filter = Literal["gan", "pixelate", "solid"]
Region = Literal["face", "head"]
Effort = Literal["fast", "balanced", "thorough"]
DetectorName = Literal["blazeface", "yunet"]
Precision = Literal["auto", "f32"]
Privacy = Literal["standard", "strict"]
ModelName = Literal["auto", "face128", "face256"]
Portraits = Literal["any", "women", "men"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True, slots=True)
class FaceConfig:
    """What covers a face, and how faces are found.

    :ivar device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :ivar model: the generator: ``face128`` draws faces of 128 pixels; ``face256`` refines them to 256, for more time;
        ``auto``: ``face256`` for files, unless effort is ``fast`` or the CPU is slow at it.
    :ivar precision: of the generator; ``auto``: int8 on CPUs with AVX2 (a few grey levels from float32), bfloat16 on
        other hardware that has it, else float32; ``f32``: float32 everywhere.
    :ivar privacy: ``standard``: mouth, eyelids and smile of a generated face follow the original's, by four numbers;
        ``strict``: nothing of a face but box and keypoints is read, and generated faces stay at rest.
    :ivar portraits: whose faces are drawn: ``women``, ``men``, or ``any``, by what surrounds a face.
    :ivar identity: ``random``, or name or number of the bank (``deepprivacy-rt identities``) for all faces.
    :ivar seed: makes synthetic identities reproducible; None draws a fresh secret for every run.
    """

    filter: Filter = "gan"
    region: Region = "face"
    detector: DetectorName = "blazeface"
    effort: Effort = "balanced"
    device: str = "auto"
    model: ModelName = "auto"
    precision: Precision = "auto"
    privacy: Privacy = "standard"
    portraits: Portraits = "any"
    identity: str = "random"
    seed: int | None = None

    def __post_init__(self) -> None:
        kind, _, number = self.device.partition(":")
        plain = self.device in ("auto", "cpu", "cuda", "mps")
        if not plain and not (kind == "cuda" and number.isascii() and number.isdecimal()):
            raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, not {self.device!r}")
        if self.portraits != "any" and self.identity != "random":
            raise ConfigError(f"portraits = {self.portraits!r} and identity = {self.identity!r}: choose one of the two")
        if self.seed is not None and self.seed < 0:
            raise ConfigError(f"seed must not be negative, not {self.seed}")


@dataclasses.dataclass(frozen=True, slots=True)
class OutputConfig:
    """How an anonymized file is written.

    :ivar codec: ``h264``, ``hevc``, ``vp9``, ``av1`` or an encoder's name in FFmpeg; None: what suits the container.
    :ivar quality: constant quality, lower is better, up to 51 or 63 by codec; None: the codec's default. For pictures
        it has no effect.
    :ivar preset: speed of the encoder; slower makes smaller files.
    :ivar audio: whether audio tracks are kept. Voices identify people: they are not changed.
    :ivar keep_metadata: whether location, device, date and comments are kept. Embedded pictures never are.
    :ivar overwrite: whether an existing output may be replaced. An input never is.
    """

    codec: str | None = None
    quality: int | None = None
    preset: Preset = "veryfast"
    audio: bool = True
    keep_metadata: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 0 <= self.quality <= 63:
            raise ConfigError(f"quality must lie in 0 to 63, not {self.quality}")
        if self.codec is not None and not self.codec.replace("_", "").replace("-", "").isalnum():
            raise ConfigError(f"codec must be a name such as h264, not {self.codec!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class LiveConfig:
    """Where a live picture comes from, and where it goes.

    :ivar source: a camera (``0``, ``/dev/video0``, ``name:PART``), ``screen:`` or a part of it, an
        address (``rtsp://…``), or a file.
    :ivar sinks: ``virtualcam``, ``twitch``, ``rtmp://…``, ``rtsp://…``, ``hls:FOLDER``, a file (.mkv, .mp4),
        ``window``, ``null``.
    :ivar size: asked of a camera, such as ``1280x720``.
    :ivar rate: frames per second, asked of a camera; trackers count time in it.
    :ivar lookahead: frames of delay in which a face is covered before it is first detected.
    :ivar audio: whether sound is passed on. Voices identify people: they are not changed.
    :ivar audio_device: a microphone in place of the source's own sound; None: the source's.
    :ivar loop: a file begins again when it ends.
    :ivar max_retries: tries in a row to get a lost source back; None: for ever.
    :ivar control: port of the HTTP control on this machine; 0: any free one; None: no control.
    """

    source: str = "0"
    sinks: tuple[str, ...] = ()
    size: str = "1280x720"
    rate: float = 30.0
    lookahead: int = 0
    audio: bool = False
    audio_device: str | None = None
    loop: bool = False
    max_retries: int | None = None
    control: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}", self.size):
            raise ConfigError(f"size must be WIDTHxHEIGHT such as 1280x720, not {self.size!r}")
        if not 1.0 <= self.rate <= 240.0:
            raise ConfigError(f"rate must lie in 1 to 240, not {self.rate}")
        if not 0 <= self.lookahead <= 60:
            raise ConfigError(f"lookahead must lie in 0 to 60 frames, not {self.lookahead}")
        if self.audio_device is not None and not self.audio:
            raise ConfigError("audio_device needs audio: sound is passed on only where that is asked for")
        if self.max_retries is not None and self.max_retries < 0:
            raise ConfigError(f"max_retries must not be negative, not {self.max_retries}")
        if self.control is not None and not 0 <= self.control <= 65535:
            raise ConfigError(f"control must be a port, 0 to 65535, not {self.control}")

    @property
    def width_height(self) -> tuple[int, int]:
        """Size in pixels."""
        width, _, height = self.size.partition("x")
        return int(width), int(height)


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that ``deepprivacy-rt run`` can be told by a file."""

    faces: FaceConfig = dataclasses.field(default_factory=FaceConfig)
    live: LiveConfig = dataclasses.field(default_factory=LiveConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """Everything that ``deepprivacy-rt anonymize`` can be told by a file."""

    faces: FaceConfig = dataclasses.field(default_factory=FaceConfig)
    output: OutputConfig = dataclasses.field(default_factory=OutputConfig)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the parsed TOML file. Raises ConfigError that names the file and the cause."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def load(cls: type[ConfigT], path: Path) -> ConfigT:
    """Return a configuration of class ``cls`` from a TOML file. Raises ConfigError that names file, key and cure."""
    table = read_toml(path)
    try:
        return from_table(cls, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def from_table(cls: type[ConfigT], table: Mapping[str, object], where: str = "") -> ConfigT:
    """Return a ``cls`` from a parsed TOML table.

    :param where: dotted name of the table, for messages; empty for the whole file.
    Raises ConfigError for an unknown key (with the nearest known one), a wrong type or a value out of range.
    """
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in known:
            raise ConfigError(_unknown(name, key, known))
        values[key] = _convert(hints[key], value, name)
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"[{where}] {error}" if where else str(error)) from error
    except TypeError as error:  # a field without a default is missing
        raise ConfigError(f"[{where}] {str(error).partition(') ')[2] or error}") from error


def _unknown(name: str, key: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
    return f"unknown key {name!r}; {hint}"


def _convert(hint: Any, value: object, name: str) -> object:
    if isinstance(hint, types.UnionType):  # X | None, and TOML has no null
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name!r} must be a table, [{name}], not {value!r}")
        return from_table(hint, value, name)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ConfigError(f"{name!r} must be a list of strings, not {value!r}")
        return tuple(value)
    if typing.get_origin(hint) is Literal:
        return _choice(typing.get_args(hint), value, name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{name!r} must be {_TYPE_NAMES[hint]}, not {value!r}")
    return value


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def _choice(choices: tuple[str, ...], value: object, name: str) -> object:
    if value in choices:
        return value
    nearest = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(f"{name!r} must be one of {', '.join(choices)}, not {value!r}{hint}")


def override(config: ConfigT, changes: Mapping[str, object]) -> ConfigT:
    """Return ``config`` with dotted keys replaced, as in ``{"faces.effort": "fast"}``. Raises ConfigError.

    All at once, since keys that go together may not go with the old ones.
    """
    tables: dict[str, dict[str, object]] = {}
    for dotted, value in changes.items():
        table, _, key = dotted.partition(".")
        tables.setdefault(table, {})[key] = value
    sections = {table: dataclasses.replace(getattr(config, table), **values) for table, values in tables.items()}
    return dataclasses.replace(config, **sections)  # type: ignore[type-var]


def to_toml(config: object) -> str:
    """Return the complete TOML text of a configuration: every key, comments in place of keys that are None."""
    return "\n".join(_lines(config, "")).strip() + "\n"


def _lines(config: Any, table: str) -> list[str]:
    plain: list[str] = []
    tables: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            tables += ["", *_lines(value, f"{table}.{field.name}" if table else field.name)]
        elif value is None:
            plain.append(f"# {field.name}: not set")
        else:
            # JSON's spelling of strings, numbers and booleans is TOML's too, but for DEL.
            plain.append(f"{field.name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
    header = [f"[{table}]"] if table and plain else []
    return [*header, *plain, *tables]
