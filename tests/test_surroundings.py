"""What surrounds a portrait: the hint that a network gets of it, learning from it, and which portrait goes where."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from portrait_patches import patch_of
from torch.nn import functional as F

from deepprivacy_rt.build_generator import make_wardrobes
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.cropping import Region
from deepprivacy_rt.errors import TrainingError, WeightsError
from deepprivacy_rt.generators.portraying import PortraitGenerator
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.networks.discriminator import Discriminator
from deepprivacy_rt.networks.encoder import Encoder
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.portraits.bank import PortraitBank, add_matcher, read_portraits
from deepprivacy_rt.portraits.hint import CHANNELS, hint
from deepprivacy_rt.portraits.matching import SIDE, Matcher, seen
from deepprivacy_rt.portraits.relief import Relief, draw
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.testing import ToyGenerator
from deepprivacy_rt.training.graft import graft
from deepprivacy_rt.training.judging import Judge
from deepprivacy_rt.training.matching import network, teach
from deepprivacy_rt.training.portrait_hints import HintPainter
from deepprivacy_rt.training.surroundings import Painter, favour_rare_tones, hinted, read_pictures
from deepprivacy_rt.training.views import Views
from deepprivacy_rt.types import REST, FacePatch, Replacement
from deepprivacy_rt.weights import Weights

SMALL = GeneratorConfig(size=32, width=8, latent=8, style=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@lru_cache(maxsize=1)
def bank() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


def sketch(size: int = 64, zoom: int = 1, gain: float = 1.0) -> np.ndarray:
    one = bank().portraits[0]
    pose = np.array([[27.0, 0, 0, 32], [0, 27.0, 0, 32]]) * (size / 64)
    picture = np.clip(one.texture * gain, 0, 255).astype(np.uint8)
    drawn = draw(Texture.of(picture, bank().cover), Relief.of(one.place), pose, REST, bank().gestures, size, zoom)
    return hint(drawn, size)


def inputs(config: GeneratorConfig, count: int = 2) -> list[torch.Tensor]:
    s = config.size
    mask = torch.zeros(count, 1, s, s)
    mask[..., s // 4 : -s // 4, s // 4 : -s // 4] = 1
    return [
        torch.rand(count, 3, s, s) * (1 - mask),
        mask,
        torch.rand(count, 6, 2),
        torch.randn(count, config.latent),
        torch.full((count, 3), 0.5),
    ]


def test_a_hint_tells_light_and_place_and_no_tone() -> None:
    made = sketch()
    assert made.shape == (CHANNELS, 64, 64) and made.dtype == np.float32
    light, share = made
    assert share.max() > 0.9 and not share[0].any() and not light[share == 0].any()
    assert abs(light.sum() / share.sum()) < 0.2  # brows and lips are darker than skin
    assert light.min() < -0.15
    assert np.abs(sketch(gain=0.6) - made).mean() < 0.02  # a darker portrait says the same


def test_a_finer_portrait_gives_the_same_hint() -> None:
    assert np.abs(sketch(zoom=2) - sketch()).mean() < 0.02


def test_a_network_that_is_to_see_portraits_draws_as_before_at_first() -> None:
    before = Generator(SMALL).eval()
    after = hinted(before).eval()
    told = inputs(SMALL)
    with torch.no_grad():
        wanted = before(*told)
        for portrait in (None, torch.zeros(2, 2, 32, 32), torch.rand(2, 2, 32, 32)):
            assert torch.equal(after(*told, portrait), wanted)
        assert after.hint is not None
        torch.nn.init.normal_(after.hint.weight)
        assert torch.equal(after(*told, torch.zeros(2, 2, 32, 32)), wanted)
        assert not torch.equal(after(*told, torch.rand(2, 2, 32, 32)), wanted)


def make_painter(packed: Path, judge: Judge | None = None) -> Painter:
    random = torch.Generator().manual_seed(0)
    photographs = read_pictures(packed, bank(), SMALL.size, random, real=True)
    teacher = Generator(SMALL).eval()
    return Painter(teacher, hinted(teacher), photographs, None, random, judge)


def test_a_painter_learns_and_its_teacher_does_not(packed: Path) -> None:
    painter = make_painter(packed)
    before = [part.clone() for part in painter.teacher.parameters()]
    logs = [painter.step() for _ in range(150)]
    for name in ("fine", "tone"):
        early, late = (np.mean([log[name] for log in part]) for part in (logs[:15], logs[-15:]))
        assert late < 0.95 * early, name
    assert all(torch.equal(a, b) for a, b in zip(before, painter.teacher.parameters(), strict=True))
    assert painter.average.hint is not None and painter.average.hint.weight.any()
    names = set(painter.average.state_dict()) - {"prior_mean", "prior_factor"}
    state = painter.teacher.state_dict()
    assert all(not torch.equal(painter.average.state_dict()[name], state[name]) for name in names & set(state))


def test_latents_are_read_off_photographs_and_never_off_renders(packed: Path) -> None:
    random = torch.Generator().manual_seed(0)
    photographs = read_pictures(packed, bank(), SMALL.size, random, real=True)
    renders = replace(photographs, real=False)
    encoder = Encoder(SMALL.latent)
    torch.nn.init.zeros_(encoder.head.weight)
    torch.nn.init.constant_(encoder.head.bias[: SMALL.latent], 7.0)
    torch.nn.init.constant_(encoder.head.bias[SMALL.latent :], -8.0)
    teacher = Generator(SMALL).eval()
    painter = Painter(teacher, hinted(teacher), photographs, renders, random, None, encoder)
    sampler = photographs.samplers[Region.HEAD]
    shares = {}
    for name, source in (("photographs", photographs), ("renders", renders)):
        told = []
        for _ in range(12):
            index = sampler.choose(8)
            latent, is_read = painter._latents(source, Region.HEAD, index, sampler.geometry(index))
            assert torch.equal(((latent - 7).abs() < 0.2).all(dim=1), is_read)
            told.append(is_read)
        shares[name] = float(torch.cat(told).float().mean())
    assert 0.6 < shares["photographs"] < 0.9 and shares["renders"] == 0
    assert all(np.isfinite(list(painter.step().values())).all() for _ in range(6))


def test_a_judge_learns_beside_the_painter(packed: Path) -> None:
    judge = Discriminator(SMALL.size, 8)
    before = {name: part.clone() for name, part in judge.named_parameters()}
    painter = make_painter(packed, Judge(judge, torch.Generator().manual_seed(1), 0.01))
    logs = [painter.step() for _ in range(3)]
    assert all(np.isfinite([log["deceit"], log["feature"]]).all() for log in logs)
    assert ["judge" in log for log in logs] == [True, False, True] and np.isfinite(logs[0]["judge"])
    # What is added to every verdict falls out of their differences.
    moved = {name for name, part in judge.named_parameters() if not torch.equal(part, before[name])}
    assert moved == set(before) - {"head.bias"}


def test_a_judge_is_found_as_it_was_left(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    judge = Judge(Discriminator(SMALL.size), random, 0.01)
    judge.write(tmp_path)
    again = Judge.read(tmp_path, SMALL.size, random, 0.01).discriminator
    for (name, kept), found in zip(judge.discriminator.named_parameters(), again.parameters(), strict=True):
        assert torch.allclose(kept, found, atol=2e-3), name  # it is kept in half precision


def test_under_a_portrait_only_coarse_colours_count(packed: Path) -> None:
    painter = make_painter(packed)
    sampler = painter.photographs.samplers[next(iter(painter.photographs.samplers))]
    index = sampler.choose(2)
    views = sampler.views(index, sampler.geometry(index), sampler.look(2))
    there = torch.zeros(2, 2, 32, 32)
    there[:, 1, 8:24, 8:24] = 1
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 0.4 - 0.2
    under = views.target + checks * there[:, 1:]
    around = views.target + checks * (1 - there[:, 1:]) * views.cover
    tinted = views.target + 0.2 * there[:, 1:]

    def errors(made: torch.Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in painter._painted(made, views, there).items()}

    assert errors(views.target) == pytest.approx({"fine": 0, "tone": 0, "ring": 0})
    assert errors(under)["fine"] < 0.15 * errors(around)["fine"]
    assert errors(under)["tone"] < 0.2 * errors(tinted)["tone"]


def test_rare_tones_are_drawn_more_often(packed: Path) -> None:
    sampler = next(iter(make_painter(packed).photographs.samplers.values()))
    data = replace(sampler.data, weights=torch.ones(len(sampler.data.units)))
    dark = replace(data, images=data.images.clone())
    dark.images[1:] = 180
    dark.images[0] = 20
    weights = favour_rare_tones(dark).weights
    assert weights[0] == 4 and (weights[1:] == 1).all()


def test_hints_of_views_lie_on_their_faces_and_mirror_with_them(packed: Path) -> None:
    pictures = make_painter(packed).photographs
    sampler = next(iter(pictures.samplers.values()))
    index = sampler.choose(6)
    geometry = sampler.geometry(index, jitter=0.0)
    views: Views = sampler.views(index, geometry, sampler.look(6), jitter=0.0)
    made = HintPainter(bank(), [], 32).hints(index, views, geometry.mirror)
    assert made.shape == (6, 2, 32, 32)
    for share, points in zip(made[:, 1], views.keypoints, strict=True):
        rows, columns = np.nonzero(share.numpy() > 0.5)
        middle = (np.array([columns.mean(), rows.mean()]) + 0.5) / 16 - 1
        assert np.abs(middle - points[:4].mean(dim=0).numpy()).max() < 0.2


def test_a_body_goes_under_a_detail_head() -> None:
    body = hinted(Generator(SMALL)).eval()
    finer = Generator(replace(SMALL, size=64, detail=8)).eval()
    made = graft(body, finer).eval()
    assert made.config == replace(SMALL, size=64, detail=8, portrait=CHANNELS)
    told = inputs(made.config)
    small = F.avg_pool2d(told[0], 2), F.max_pool2d(told[1], 2)
    with torch.no_grad():
        image, mask = small[0] * (1 - small[1]), small[1]
        assert torch.equal(made.draw(image, mask, *told[2:]), body.draw(image, mask, *told[2:]))
        assert made(*told, torch.rand(2, 2, 64, 64)).shape == (2, 3, 64, 64)
    for wrong in ((finer, finer), (body, body), (body, Generator(replace(SMALL, size=128, detail=8)))):
        with pytest.raises(TrainingError, match="detail head"):
            graft(*wrong)


def matcher_of(made: torch.nn.Sequential, looks: np.ndarray) -> Matcher:
    parts = [parameter.detach().numpy() for parameter in made.parameters()]
    layers = list(zip(parts[::2], parts[1::2], strict=True))
    return Matcher(tuple(layers[:3]), tuple(layers[3:]), looks.astype(np.float32))


def test_the_matcher_is_the_network_that_was_taught() -> None:
    made, patch = network(30).eval(), patch_of()
    looks = np.random.default_rng(0).normal(size=(5, 30))
    with torch.no_grad():
        wanted = made(torch.from_numpy(seen(patch))[None]).numpy()[0] @ looks.T
    assert seen(patch).shape == (4, SIDE, SIDE)
    np.testing.assert_allclose(matcher_of(made, looks).scores(patch), wanted, rtol=1e-3, atol=1e-4)


def test_a_matcher_is_kept_with_its_portraits(tmp_path: Path) -> None:
    file = tmp_path / "portraits.safetensors"
    shutil.copy(Weights().path("portraits"), file)
    looks = np.random.default_rng(0).normal(size=(len(bank().portraits), 30))
    matcher = matcher_of(network(30), looks)
    add_matcher(file, matcher)
    kept = read_portraits(file)
    assert kept.matcher is not None and [one["file"] for one in kept.sources] == [one["file"] for one in bank().sources]
    np.testing.assert_allclose(kept.matcher.scores(patch_of()), matcher.scores(patch_of()), rtol=0.05, atol=0.02)
    add_matcher(file, replace(matcher, looks=matcher.looks[:3]))
    with pytest.raises(WeightsError, match="other portraits"):
        read_portraits(file)


def test_a_matcher_is_taught_from_faces_with_a_portrait_of_their_own(packed: Path) -> None:
    said: list[str] = []
    names = [str(name) for name in np.load(packed)["names"]]
    count = len(names)
    own = replace(bank(), portraits=bank().portraits[:count], sources=[{"file": name} for name in names], matcher=None)
    matcher = teach(packed, own, bank(), said.append)
    assert matcher.looks.shape[0] == len(bank().portraits) and np.isfinite(matcher.looks).all()
    assert "held out" in said[0]
    with pytest.raises(TrainingError, match="portrait of their own"):
        teach(packed, replace(own, sources=[{"file": "another"}] * count), bank(), said.append)


class Noting(ToyGenerator):
    """Notes which patches it was given."""

    def __init__(self) -> None:
        super().__init__(128)
        self.given: list[FacePatch] = []

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        self.given += patches
        return super().generate(patches)


def test_the_network_is_told_of_the_portrait_from_the_first_frame_on() -> None:
    calmed, first = Noting(), Noting()
    generator = PortraitGenerator(calmed, Wardrobe(bank(), b"salt"), 30.0, first=first)
    for _ in range(2):
        patch = patch_of()
        [answer] = generator.generate([patch])
        assert answer.patch is patch
    trials, hints = ([patch.hint for patch in network.given] for network in (first, calmed))
    assert [len(trials), len(hints)] == [1, 2]
    assert all(one is not None and one[1].max() > 0.9 for one in (*trials, *hints))
    same, other = (np.abs(one - hints[0]).mean() for one in (hints[1], trials[0]))
    assert same < 0.1 * other


def test_all_try_on_the_same_face() -> None:
    """What it shows tells nothing of a session, and no identity."""
    first = Noting()
    for salt, identity in ((b"salt", 3), (b"pepper", 4)):
        patch = patch_of()
        patch = replace(patch, track=replace(patch.track, identity=identity))
        PortraitGenerator(Noting(), Wardrobe(bank(), salt), 30.0, first=first).generate([patch])
    assert np.array_equal(first.given[0].hint, first.given[1].hint)


def test_portraits_that_go_with_the_surroundings_are_chosen() -> None:
    """Of all that go with the skin, whichever the session draws."""

    class Plain(ToyGenerator):
        def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
            return [Replacement(patch, np.full_like(patch.image, 130)) for patch in patches]

    patch = patch_of()
    plain = replace(bank(), matcher=None)

    def worn(bank: PortraitBank, salt: int) -> int:
        generator = PortraitGenerator(Plain(128), Wardrobe(bank, bytes([salt])), 30.0)
        generator.generate([patch])
        return generator._wardrobe._wearing[patch.track.identity]

    assert bank().matcher is not None
    scores = bank().matcher.scores(patch)
    similar = {worn(plain, salt) for salt in range(60)}
    chosen = {worn(bank(), salt) for salt in range(60)}
    assert len(chosen) > 3
    assert np.mean(scores[list(chosen)]) > np.mean(scores[list(similar)])
    assert chosen != similar


@pytest.mark.parametrize("group", ["women", "men"])
def test_only_portraits_that_were_asked_for_are_worn(group: Literal["women", "men"]) -> None:
    """In any light, and by more people than there are such portraits."""
    wardrobe = make_wardrobes(FaceConfig(portraits=group), Weights(), b"salt")(30.0)
    theirs = {number for number, one in enumerate(bank().portraits) if one.group == group}
    assert len(theirs) >= 40
    for identity in range(len(theirs) + 20):
        patch = patch_of(identity)
        light = (20, 90, 160, 240)[identity % 4]
        chosen, other, _ = wardrobe._choice(identity, Replacement(patch, np.full_like(patch.image, light)))
        assert {chosen, other} <= theirs
    assert set(wardrobe._wearing.values()) <= theirs


def test_a_hint_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="hint"):
        replace(patch_of(), hint=np.zeros((2, 64, 64), np.float32))
