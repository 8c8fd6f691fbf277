"""Model files: known by name, fetched when missing, never used with a wrong checksum.

The manifest (``weights/manifest.toml``) names each file, its SHA-256 and its mirrors. Our own networks are shipped
beside it; all others are kept in the user's cache folder, or in the folder that the environment variable
``DEEPPRIVACY_WEIGHTS`` names.
"""

from __future__ import annotations

import enum
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.weights.fetching import Fetcher, sha256_of
from deepprivacy_rt.weights.manifest import Model, read_manifest, shipped_folder

VARIABLE = "DEEPPRIVACY_WEIGHTS"


class State(enum.Enum):
    """What is on the disk for one model."""

    GOOD = "good"
    MISSING = "missing"
    WRONG = "wrong checksum"


def default_folder() -> Path:
    """Return the folder for fetched files: ``$DEEPPRIVACY_WEIGHTS``, else the platform's cache folder."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("deepprivacy-rt")) / "weights"


class Weights:
    """The model files of one manifest.

    :param manifest: by default the one that is shipped; shipped files lie beside it.
    :param folder: where fetched files are kept, see :func:`default_folder`.
    :param offline: never use the network.
    :param report: is told in one line what is being fetched, and which mirror failed why.

    Raises WeightsError when the manifest is missing or wrong.
    """

    def __init__(
        self,
        *,
        manifest: Path | None = None,
        folder: Path | None = None,
        offline: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        path = manifest if manifest is not None else shipped_folder() / "manifest.toml"
        self.folder = folder if folder is not None else default_folder()
        self._shipped = path.parent
        self._models = {model.name: model for model in read_manifest(path)}
        self._manifest = path
        self._offline = offline
        self._report = report

    def list_models(self) -> tuple[Model, ...]:
        """Return all models in the manifest's order."""
        return tuple(self._models.values())

    def path(self, name: str) -> Path:
        """Return the file of a model, its checksum verified now; fetches it when it is missing.

        Raises WeightsError for an unknown name, a wrong checksum, or a file that is missing and cannot be fetched.
        """
        model = self._model(name)
        state = self._state(model)
        if state is State.MISSING and not model.shipped and not self._offline:
            return self.fetch([name])[0]
        if state is State.MISSING:
            cause = "missing, and fetching is switched off" if self._offline and not model.shipped else "missing"
            raise WeightsError(f"{self._file(model)}: {cause}; cure: {self._cure(model)}")
        if state is State.WRONG:
            raise WeightsError(f"{self._file(model)}: wrong checksum, not used; cure: {self._cure(model)}")
        return self._file(model)

    def fetch(self, names: Sequence[str] | None = None) -> list[Path]:
        """Fetch what is missing or wrong, from the first mirror that delivers the right content.

        :param names: by default all models that are not optional.
        :return: the files, verified, in the order of ``names``.

        Raises WeightsError when all mirrors of a model fail; the message lists each cause.
        """
        wanted = [self._model(name) for name in names] if names is not None else self._needed()
        with tempfile.TemporaryDirectory(prefix="deepprivacy-rt-") as scratch:
            fetcher = Fetcher(Path(scratch), self._report)
            for model in wanted:
                if self._state(model) is State.GOOD:
                    continue
                if model.shipped:
                    raise WeightsError(f"{self._file(model)}: missing or wrong; cure: {self._cure(model)}")
                fetcher.fetch(model, self._file(model))
        return [self._file(model) for model in wanted]

    def verify(self, names: Sequence[str] | None = None) -> dict[str, State]:
        """Read the files and compare checksums, by default of all models."""
        models = [self._model(name) for name in names] if names is not None else self.list_models()
        return {model.name: self._state(model) for model in models}

    def _needed(self) -> list[Model]:
        return [model for model in self._models.values() if not model.optional]

    def _model(self, name: str) -> Model:
        if name not in self._models:
            raise WeightsError(f"{self._manifest}: no model {name!r}; cure: one of {', '.join(self._models)}")
        return self._models[name]

    def _file(self, model: Model) -> Path:
        return (self._shipped if model.shipped else self.folder) / model.file

    def _state(self, model: Model) -> State:
        path = self._file(model)
        try:
            return State.GOOD if sha256_of(path) == model.sha256 else State.WRONG
        except FileNotFoundError:
            return State.MISSING
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {error.strerror}; cure: check its permissions") from error

    def _cure(self, model: Model) -> str:
        return "install the package again" if model.shipped else f"deepprivacy-rt weights fetch {model.name}"
