"""Configuration files: read, refused, printed and read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepprivacy_rt.config import Config, FaceConfig, OutputConfig, from_table, load, override, to_toml
from deepprivacy_rt.errors import ConfigError

REPOSITORY = Path(__file__).parent.parent


def parse(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "some.toml"
    path.write_text(text)
    return load(Config, path)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert parse(tmp_path, "") == Config()


def test_values_are_read(tmp_path: Path) -> None:
    config = parse(tmp_path, '[faces]\nfilter = "solid"\nseed = 7\ndevice = "cuda:1"\n[output]\naudio = false')
    assert config.faces == FaceConfig(filter="solid", seed=7, device="cuda:1")
    assert config.output == OutputConfig(audio=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[faces]\nefort = "fast"', "unknown key 'faces.efort'; did you mean 'effort'?"),
        ("[ouput]", "unknown key 'ouput'; did you mean 'output'?"),
        ("[output]\nzzzzz = 1", "known keys: codec, quality, preset"),
        ('[faces]\neffort = "thorogh"', "did you mean 'thorough'?"),
        ('[faces]\nfilter = "blur"', "'faces.filter' must be one of gan, pixelate, solid, not 'blur'"),
        ("[faces]\nseed = true", "'faces.seed' must be a whole number"),
        ("[faces]\nseed = -1", "[faces] seed must not be negative"),
        ('[faces]\ndevice = "cuda:x"', "device must be auto, cpu, cuda, cuda:N or mps"),
        ("[output]\nquality = 64", "quality must lie in 0 to 63"),
        ("[output]\nquality = 20.5", "'output.quality' must be a whole number"),
        ('[output]\naudio = "no"', "'output.audio' must be true or false"),
        ("faces = 3", "'faces' must be a table"),
        ("[faces", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, text)
    message = str(caught.value)
    assert said in message
    assert "some.toml" in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(Config, tmp_path / "none.toml")


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(
            FaceConfig(
                "pixelate", "head", "yunet", "thorough", "cuda:3", "face256", "auto", "strict", "women", "random", 12
            ),
            OutputConfig("hevc", 31, "veryfast", False, True, True),
        ),
    ],
)
def test_printed_configuration_reads_back_equal(tmp_path: Path, config: Config) -> None:
    assert parse(tmp_path, to_toml(config)) == config


def test_every_key_is_printed() -> None:
    printed = to_toml(Config())
    for section in (FaceConfig, OutputConfig):
        for name in section.__dataclass_fields__:
            assert f"\n{name} = " in printed or f"\n# {name}: not set" in printed


def test_override_replaces_one_key_and_checks_it() -> None:
    config = override(Config(), {"faces.effort": "fast", "output.quality": 20})
    assert config.faces == FaceConfig(effort="fast")
    assert config.output == OutputConfig(quality=20)
    with pytest.raises(ConfigError):
        override(Config(), {"output.quality": -1})


def test_a_chosen_face_and_a_choice_of_faces_exclude_each_other() -> None:
    wren = Config(faces=FaceConfig(identity="wren"))
    with pytest.raises(ConfigError, match="choose one of the two"):
        override(wren, {"faces.portraits": "women"})
    # In the order of the command line, the first of both does not go with what the file says.
    changed = override(wren, {"faces.portraits": "women", "faces.identity": "random"})
    assert changed.faces == FaceConfig(portraits="women")


def test_shipped_file_is_complete_and_holds_the_defaults() -> None:
    path = REPOSITORY / "configs" / "file.toml"
    assert load(Config, path) == Config()
    for section in (FaceConfig, OutputConfig):
        for name in section.__dataclass_fields__:
            assert f"\n{name} = " in path.read_text() or f"\n# {name} = " in path.read_text()


def test_from_table_names_a_missing_key() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Needy:
        number: int

    with pytest.raises(ConfigError, match="number"):
        from_table(Needy, {})


def test_print_config_merges_file_and_options_and_reads_back(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[faces]\neffort = "fast"\nfilter = "solid"\n')
    command = [sys.executable, "-m", "deepprivacy_rt", "anonymize", "--config", str(tmp_path / "my.toml")]
    shown = subprocess.run([*command, "--filter", "pixelate", "--no-audio", "--print-config"], capture_output=True)
    assert shown.returncode == 0, shown.stderr
    assert parse(tmp_path, shown.stdout.decode()) == Config(
        FaceConfig(filter="pixelate", effort="fast"), OutputConfig(audio=False)
    )
