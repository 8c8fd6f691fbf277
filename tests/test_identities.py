"""The bank of identities, from its file to a face."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.build_generator import make_generator, read_identities
from deepprivacy_rt.build_live import with_new_identities
from deepprivacy_rt.cli.main import main
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.errors import UsageError, WeightsError
from deepprivacy_rt.evaluation.identities import farthest_points
from deepprivacy_rt.generators.gan import GanGenerator
from deepprivacy_rt.networks.bank import pick, read_bank
from deepprivacy_rt.networks.prior import read_prior
from deepprivacy_rt.portraits.bank import read_portraits
from deepprivacy_rt.stages import Generator
from deepprivacy_rt.weights import Weights

BANK = 'weights = "x"\n[[identity]]\nname = "wren"\nlatent = [1, 2.5]\n[[identity]]\nname = "lark"\nlatent = [0, 1]\n'


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    path = tmp_path / "bank.toml"
    path.write_text(BANK)
    return path


def test_identities_go_by_name_and_by_number(bank: Path) -> None:
    wren, lark = read_bank(bank, 2)
    assert wren.latent.tolist() == [1, 2.5] and wren.latent.dtype == np.float32
    assert pick([wren, lark], "lark") is lark
    assert pick([wren, lark], "1") is lark


@pytest.mark.parametrize(("wanted", "said"), [("wern", "did you mean 'wren'"), ("2", "0 to 1"), ("²", "0 to 1")])
def test_an_unknown_identity_is_named_with_a_cure(bank: Path, wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pick(read_bank(bank, 2), wanted)


@pytest.mark.parametrize(
    "text", ["", "identity = 3", BANK.replace("2.5", "nan"), BANK.replace("[0, 1]", "[0]"), "[[identity]]\nname = 'x'"]
)
def test_a_broken_bank_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bank.toml"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"bank\.toml"):
        read_bank(path, 2)


def test_the_shipped_bank_belongs_to_the_shipped_generator() -> None:
    weights = Weights()
    source = weights.path("face128")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert f'weights = "{digest}"' in weights.path("face128-identities").read_text()
    identities, prior = read_identities(weights), read_prior(source)
    assert len({one.name for one in identities}) == len(identities) >= 12
    spread = np.sqrt(np.diag(prior.factor @ prior.factor.T)) + 1e-3
    for one in identities:
        assert (np.abs(one.latent - prior.mean) / spread).max() < 5


def test_all_faces_get_the_chosen_identity_whatever_the_salt() -> None:
    weights = Weights()
    wanted = read_identities(weights)[2]

    def made(config: FaceConfig, salt: bytes) -> Generator:
        return make_generator(replace(config, model="face128"), weights, "cpu", None, salt, in_torch=False)

    for seed in (0, 1):
        generator = made(FaceConfig(identity=wanted.name), bytes([seed]))
        assert isinstance(generator, GanGenerator)
        assert all(np.array_equal(generator.latent(number), wanted.latent) for number in (0, 5))
    drawn = made(FaceConfig(), b"0")
    assert isinstance(drawn, GanGenerator) and not np.array_equal(drawn.latent(0), wanted.latent)


def test_a_new_face_is_not_the_chosen_one() -> None:
    assert with_new_identities(FaceConfig(identity="wren", seed=3)) == FaceConfig(seed=4)
    assert with_new_identities(FaceConfig(identity="wren")) == FaceConfig()
    assert with_new_identities(FaceConfig(portraits="women")) == FaceConfig(portraits="women")


def test_other_weights_have_no_bank() -> None:
    weights = Weights()
    with pytest.raises(UsageError, match="shipped generator"):
        build_anonymizer(FaceConfig(identity="0"), weights, generator_file=weights.path("face128"))


def test_farthest_points_are_far_apart() -> None:
    angles = np.radians([0, 1, 2, 90, 180, 181])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert farthest_points(vectors, 3) == [3, 5, 0]  # the first is the one nearest the mean
    assert sorted(farthest_points(vectors, 99)) == list(range(6))


def test_the_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identities"]) == 0
    names = [one.name for one in read_identities(Weights())]
    groups = [one.group for one in read_portraits(Weights().path("portraits")).portraits]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [[str(i), name, groups[i]] for i, name in enumerate(names)]


def test_the_command_lists_those_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    names = [one.name for one in read_identities(Weights())]
    groups = [one.group for one in read_portraits(Weights().path("portraits")).portraits]
    women = [number for number in range(len(names)) if groups[number] == "women"]
    assert main(["identities", "--portraits", "women"]) == 0
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == women
    assert main(["identities", "3", names[1]]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["3", names[3]], ["1", names[1]]]
    man = names[groups.index("men")]
    assert main(["identities", man, "--portraits", "women"]) == 2 and "women" in capsys.readouterr().err
    assert main(["identities", "nobody-of-this-name"]) == 2


def test_a_sheet_shows_each_with_another_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, numbers = tmp_path / "all.png", [str(number) for number in range(9)]
    assert main(["identities", *numbers, "--sheet", str(sheet)]) == 0
    rows = np.split(cv2.imread(str(sheet)), 2)
    tiles = [tile for row in rows for tile in np.split(row, 8, axis=1)]
    faces = np.stack([tile[40:180, 40:180] for tile in tiles[: len(numbers)]]).astype(int)
    apart = [np.abs(one - other).mean() for i, one in enumerate(faces) for other in faces[:i]]
    assert min(apart) > 1 and np.mean(apart) > 4  # shapes are mixed anew in every run, so that some come near
    assert not any(tile.any() for tile in tiles[len(numbers) :])
    capsys.readouterr()
    assert main(["identities", "--sheet", str(sheet)]) == 2 and "exists" in capsys.readouterr().err


def test_a_sheet_shows_no_original_of_a_users_picture(tmp_path: Path, shared: Path) -> None:
    original = shared / "data/faces" / "faker"
    picture = sorted(original.iterdir())[0]
    sheet = tmp_path / "mine.png"
    assert main(["identities", *"012", "--sheet", str(sheet), "--on", str(picture)]) == 0
    made, before = cv2.imread(str(sheet)), cv2.resize(cv2.imread(str(picture)), (224, 224))
    centre = slice(90, 150)
    tiles = np.split(made, 8, axis=1)
    assert len(made) == 224
    for tile in tiles[:3]:
        assert np.abs(tile[centre, centre].astype(int) - before[centre, centre]).mean() > 8
