"""What a command line means in files: which inputs there are, and where each output goes.

Nothing is written here, and no file is opened. An input is never the target of any output, whatever the options.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepprivacy_rt.cli.files import file_id, place, same_file
from deepprivacy_rt.errors import SinkError, UsageError
from deepprivacy_rt.sources import READ_ONLY_SUFFIXES, is_image, is_video

MARK = "_anonymized"
"""What the default name of an output adds to the name of its input."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to anonymize, and where the result goes."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Refusal:
    """An input that cannot be worked on, known before any work; ``cause`` is one line."""

    source: str
    cause: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    :ivar skipped: outputs of an earlier run, found in a folder that is anonymized in place.
    :ivar ignored: files in folders that are neither video nor image by name.
    """

    jobs: tuple[Job, ...]
    refusals: tuple[Refusal, ...]
    skipped: tuple[Path, ...]
    ignored: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """An input file and its path under the output folder."""

    path: Path
    mirrored: Path


@dataclass(slots=True)
class _Search:
    """Collects the input files of one command line."""

    output: Path | None
    found: dict[str, _Found] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)

    def add(self, path: Path, mirrored: Path) -> None:
        """Add a file once, however often and under whatever names it is given."""
        self.found.setdefault(os.path.realpath(path), _Found(path, mirrored))

    def refuse(self, source: object, cause: str) -> None:
        self.refusals.append(Refusal(str(source), cause))

    def walk(self, folder: Path, mirror: Path) -> bool:
        """Add the media files under a folder, which keep their place under ``mirror``; return whether it had any."""
        known = len(self.refusals)
        media = [path for path in self._files(folder) if self.add_found(path, mirror / path.relative_to(folder))]
        return bool(media) or len(self.refusals) > known

    def add_found(self, path: Path, mirrored: Path) -> bool:
        """Add what was found, not named: outputs of an earlier run and other files are left out. Return if media."""
        if path.is_dir() or not (is_image(path) or is_video(path)):
            self.ignored.append(path)
            return False
        if self.output is None and path.stem.endswith(MARK):
            self.skipped.append(path)
        else:
            self.add(path, mirrored)
        return True

    def _files(self, folder: Path) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            self.refuse(error.filename, f"folder cannot be read: {error.strerror}")

        for root, folders, names in os.walk(folder, onerror=unreadable):
            here = Path(root)
            folders[:] = sorted(name for name in folders if not self._left_out(here / name))
            links = [name for name in folders if (here / name).is_symlink()]  # never followed: they may go in circles
            yield from (here / name for name in (*sorted(names), *links) if not name.startswith("."))

    def _left_out(self, folder: Path) -> bool:
        """Hidden folders, and the output folder where it lies in the input: its files are results."""
        return folder.name.startswith(".") or (self.output is not None and same_file(folder, self.output))


def make_plan(inputs: Sequence[str], output: str | None, *, overwrite: bool) -> Plan:
    """Return what to do for ``deepprivacy-rt anonymize INPUT... [-o OUT]``.

    :param inputs: files, folders (searched through, structure mirrored in ``output``) and glob patterns.
    :param output: None: ``<name>_anonymized.<ext>`` beside each input. A folder if it exists as one, ends with a
        slash, has no suffix, or if there is more than one input; else a file.
    Raises UsageError where ``output`` cannot be what it would have to be.
    """
    to_folder = output is not None and _is_folder(output, inputs)
    search = _Search(Path(output) if output is not None and to_folder else None)
    for text in inputs:
        _expand(text, search, alone=len(inputs) == 1)
    wanted = [Job(found.path, _target(found, output, to_folder)) for found in search.found.values()]
    jobs = list(_without_conflicts(wanted, search, overwrite))
    return Plan(tuple(jobs), tuple(search.refusals), tuple(search.skipped), tuple(search.ignored))


def _is_folder(output: str, inputs: Sequence[str]) -> bool:
    path = Path(output)
    many = len(inputs) > 1 or Path(inputs[0]).is_dir() or not os.path.lexists(inputs[0])
    if many and os.path.lexists(path) and not path.is_dir():
        raise UsageError(f"{output}: is a file, but several outputs need a folder")
    return many or path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix


def _expand(text: str, search: _Search, *, alone: bool) -> None:
    path = Path(text)
    if path.is_dir():
        if not search.walk(path, Path() if alone else Path(path.resolve().name)):
            search.refuse(text, "no video or image in this folder")
    elif os.path.lexists(path):
        search.add(path, Path(path.name))
    elif glob.has_magic(text):
        _expand_pattern(path, search)
    else:
        search.refuse(text, "no such file or folder")


def _expand_pattern(pattern: Path, search: _Search) -> None:
    """Add what a pattern matches; below the first wildcard the structure is mirrored."""
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    root = Path(*fixed)
    rest = str(Path(*pattern.parts[len(fixed) :]))
    matches = sorted(glob.glob(rest, root_dir=root, recursive=True))  # noqa: PTH207 (Path.glob matches hidden files)
    if not matches:
        search.refuse(str(pattern), "no file matches this pattern")
    for match in matches:
        if (root / match).is_dir():
            search.walk(root / match, Path(match))
        else:
            search.add_found(root / match, Path(match))


def _target(found: _Found, output: str | None, to_folder: bool) -> Path:
    suffix = _suffix(found.path)
    if output is None:
        return found.path.with_name(f"{found.path.stem}{MARK}{suffix}")
    return (Path(output) / found.mirrored).with_suffix(suffix) if to_folder else Path(output)


def _suffix(path: Path) -> str:
    """Return the ending of the output: that of the input, or JPEG's or Matroska's, which hold everything."""
    from deepprivacy_rt.sinks.formats import output_format  # imports PyAV, which --help need not wait for

    if is_image(path):
        return ".jpg" if path.suffix.strip().lower() in READ_ONLY_SUFFIXES else path.suffix
    try:
        output_format(path)
    except SinkError:
        return ".mkv"
    return path.suffix


def _without_conflicts(wanted: Sequence[Job], search: _Search, overwrite: bool) -> Iterator[Job]:
    inputs = {file_id(job.source) for job in wanted} - {None}
    taken: dict[str, Path] = {}
    for job in wanted:
        cause = _conflict(job, inputs, taken, overwrite)
        if cause:
            search.refuse(job.source, cause)
        else:
            taken[place(job.target)] = job.source
            yield job


def _conflict(job: Job, inputs: Iterable[object], taken: dict[str, Path], overwrite: bool) -> str | None:
    if not job.source.is_file():
        return "not a regular file"
    if file_id(job.target) in inputs:
        return f"the output {job.target} is an input, and inputs are never overwritten; choose another -o"
    if place(job.target) in taken:
        return f"the output {job.target} is already that of {taken[place(job.target)]}; choose another -o for one"
    if job.target.is_dir():
        return f"the output {job.target} is a folder"
    if os.path.lexists(job.target) and not overwrite:
        return f"the output {job.target} exists; --overwrite replaces it"
    return None
