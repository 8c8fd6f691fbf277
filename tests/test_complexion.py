"""The colour of a face's skin stays its own, on the host and on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
import torch
from portrait_patches import patch_of

from deepprivacy_rt.generators.complexion import Complexion, memory, steadied
from deepprivacy_rt.generators.portraying import PortraitGenerator
from deepprivacy_rt.generators.retouching import RetouchingGenerator
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.on_device.complexion import Complexions
from deepprivacy_rt.on_device.cutting import Patches
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.portraits.canonical import Floats
from deepprivacy_rt.portraits.hint import hint
from deepprivacy_rt.portraits.relief import Drawn, Relief, draw
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.types import REST, FacePatch, Image, Replacement
from deepprivacy_rt.weights import Weights

SIZE, RATE = 128, 30.0
PALE, BROWN, HAIR, GREY = (206, 168, 148), (138, 96, 76), (40, 32, 30), (128, 130, 131)


@lru_cache(maxsize=1)
def bank() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


@lru_cache(maxsize=1)
def drawn() -> Drawn:
    pose = np.array([[40.0, 0, 0, SIZE / 2], [0, 40.0, 0, SIZE / 2]])
    one = bank().portraits[0]
    return draw(Texture.of(one.texture, bank().cover), Relief.of(one.place), pose, REST, bank().gestures, SIZE)


def shown() -> Floats:
    return hint(drawn(), SIZE)[1]


def patch(neck: Sequence[int] | None, light: float = 1.0) -> FacePatch:
    """A face before a grey wall, whose neck is to be seen or not."""
    one = patch_of()
    image = np.full((SIZE, SIZE, 3), GREY, np.float32)
    if neck is not None:
        image[-16:, 40:88] = neck
    image = np.rint(image * light).astype(np.uint8)
    image[one.mask] = 0
    return dataclasses.replace(one, image=image)


def face(skin: Sequence[int], light: float = 1.0) -> Image:
    """What a network draws: skin in the middle, hair around it."""
    image = np.full((SIZE, SIZE, 3), HAIR, np.float32)
    image[20:110, 30:98] = skin
    return np.rint(image * light).astype(np.uint8)


Frames = Sequence[tuple[FacePatch, Image]]


def on_host(frames: Frames) -> list[Image]:
    made, known = [], None
    for one, image in frames:
        image, known = steadied(image, one, shown(), known, memory(RATE))
        made.append(image)
    return made


def on_device(frames: Frames) -> list[Image]:
    complexions, made = Complexions(SIZE, torch.device("cpu"), RATE), []
    skin = torch.from_numpy(drawn().skin)[None, None]
    for number, (one, image) in enumerate(frames):
        seen, levels = (torch.from_numpy(part).permute(2, 0, 1)[None].float() for part in (one.image, image))
        patches = Patches(seen, torch.from_numpy(one.mask)[None, None])
        out = complexions.steadied(levels, torch.tensor([True]), patches, skin, [3], [number > 0])
        made.append(out[0].permute(1, 2, 0).numpy().astype(np.uint8))
    return made


@pytest.fixture(params=[on_host, on_device], ids=["host", "device"])
def run(request: pytest.FixtureRequest) -> object:
    return request.param


def skin_of(image: Image) -> np.ndarray:
    return image[50:80, 50:80].reshape(-1, 3).mean(axis=0)


def off(image: Image, color: Sequence[int]) -> float:
    return float(np.abs(skin_of(image) - color).max())


def test_a_guess_without_a_neck_does_not_change_the_skin(run: object) -> None:
    frames = [(patch(PALE), face(PALE))] * 15 + [(patch(None), face(BROWN))] * 30
    made = run(frames)  # type: ignore[operator]
    own = skin_of(made[0])
    assert off(made[14], own) < 2 and off(made[0], PALE) < 16
    assert max(off(one, own) for one in made[15:]) < 14 < off(face(BROWN), own)


def test_what_is_seen_later_counts_more_than_a_guess_before(run: object) -> None:
    made = run([(patch(None), face(PALE))] * 10 + [(patch(BROWN), face(BROWN))] * 20)  # type: ignore[operator]
    assert off(made[9], PALE) < 2
    own = skin_of(run([(patch(BROWN), face(BROWN))])[0])  # type: ignore[operator]
    assert off(made[12], own) < 14 and off(made[-1], own) < 4


def test_light_that_changes_is_followed_at_once(run: object) -> None:
    made = run([(patch(PALE), face(PALE))] * 20 + [(patch(PALE, 0.4), face(PALE, 0.4))] * 3)  # type: ignore[operator]
    assert off(made[20], 0.4 * skin_of(made[19])) < 3


def test_a_head_that_moves_before_a_window_is_no_change_of_light(run: object) -> None:
    frames = []
    for number in range(20):
        before_it = patch(PALE)
        image = before_it.image.copy()
        image[:, : 60 - 15 * (number % 5)] //= 4  # a dark thing comes and goes beside the face
        frames.append((dataclasses.replace(before_it, image=image), face(PALE)))
    made = run(frames)  # type: ignore[operator]
    assert max(off(one, skin_of(made[0])) for one in made) < 3


def test_skin_goes_over_into_the_neck_that_is_to_be_seen(run: object) -> None:
    """A network goes on with a neck: what it painted beside that stays, though the face is brought elsewhere."""
    one, image = patch(BROWN), face(PALE)
    lowest = int(np.flatnonzero(one.mask[:, 64])[-1])
    image[lowest - 12 : lowest + 1, 56:72] = BROWN
    image[lowest - 30 : lowest - 12, 56:72] = (PALE + np.array(BROWN)) / 2
    changed = np.abs(run([(one, image)])[0].astype(int) - image).max(axis=-1)  # type: ignore[operator]
    assert changed[50:80, 50:80].min() > 15
    assert changed[lowest - 1 : lowest + 1, 60:68].max() <= 2
    assert changed[lowest - 24 : lowest - 20, 60:68].max() > 10


def test_hair_and_surroundings_are_left_alone(run: object) -> None:
    frames = [(patch(PALE), face(PALE))] * 5 + [(patch(None), face(BROWN))]
    made = run(frames)[-1].astype(int)  # type: ignore[operator]
    changed = np.abs(made - face(BROWN)).max(axis=-1)
    mask = frames[-1][0].mask
    assert changed[~mask].max() == 0 and changed[50:80, 50:80].min() > 30
    assert changed[24:104, :28].max() <= 3


@pytest.mark.parametrize(("neck", "drawn_skin"), [(BROWN, PALE), (PALE, BROWN)])
def test_a_face_goes_with_its_neck(run: object, neck: Sequence[int], drawn_skin: Sequence[int]) -> None:
    """Network and neck disagree: the face is nearer to the neck after, in lightness, and goes all but the whole way."""
    (made,) = run([(patch(neck), face(drawn_skin))])  # type: ignore[operator]
    before, after = off(face(drawn_skin), neck), off(made, neck)
    assert 0.2 * before < after < 0.8 * before


@pytest.mark.parametrize("beside", [GREY, (60, 90, 160), (30, 120, 50), (12, 10, 9)])
def test_a_wall_or_clothes_or_hair_are_no_neck(run: object, beside: Sequence[int]) -> None:
    (made,) = run([(patch(beside), face(PALE))])  # type: ignore[operator]
    assert off(made, PALE) < 2


def test_device_and_host_agree() -> None:
    random = np.random.default_rng(0)
    frames = []
    for number in range(6):
        image = np.clip(face(PALE if number % 2 else BROWN) + random.normal(0, 6, (SIZE, SIZE, 3)), 0, 255)
        frames.append((patch(PALE if number < 3 else None, 1 - 0.1 * (number == 4)), image.astype(np.uint8)))
    for ours, theirs in zip(on_device(frames), on_host(frames), strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 0.8


def test_without_skin_to_be_seen_nothing_is_done_and_what_is_known_stays() -> None:
    nowhere = np.zeros_like(shown())
    image, known = steadied(face(PALE), patch(PALE), nowhere, None, memory(RATE))
    assert np.array_equal(image, face(PALE)) and known.weight == 0
    _, known = steadied(face(PALE), patch(PALE), shown(), known, memory(RATE))
    _, again = steadied(face(BROWN), patch(None), nowhere, known, memory(RATE))
    assert np.array_equal(again.color, known.color)
    assert isinstance(again, Complexion)


class Guesser:
    """Draws what it is told to."""

    patch_size = SIZE

    def __init__(self) -> None:
        self.image = face(PALE)

    def generate(self, patches: Sequence[FacePatch]) -> list[Replacement]:
        return [Replacement(one, self.image.copy()) for one in patches]


@pytest.mark.parametrize(("track_id", "steady"), [(0, True), (7, False)])
def test_portraits_keep_their_tone_along_a_track_and_no_farther(track_id: int, steady: bool) -> None:
    network = Guesser()
    generator = PortraitGenerator(RetouchingGenerator(network, RATE), Wardrobe(bank(), b"salt"), RATE)
    for _ in range(5):
        [before] = generator.generate([patch(PALE)])
    network.image = face(BROWN)
    later = patch(None)
    later = dataclasses.replace(later, track=dataclasses.replace(later.track, track_id=track_id))
    for _ in range(5):
        [after] = generator.generate([later])
    luma = [float(one.image[50:80, 50:80].mean()) for one in (before, after)]
    assert (abs(luma[1] / luma[0] - 1) < 0.1) == steady


def test_a_failed_answer_of_a_device_is_forgotten() -> None:
    complexions, skin = Complexions(SIZE, torch.device("cpu"), RATE), torch.from_numpy(drawn().skin)[None, None]
    made = []
    for number, (color, is_sound) in enumerate([(PALE, True), (GREY, False), (PALE, True)]):
        one = patch(PALE if is_sound else None)
        seen, levels = (torch.from_numpy(part).permute(2, 0, 1)[None].float() for part in (one.image, face(color)))
        patches = Patches(seen, torch.from_numpy(one.mask)[None, None])
        out = complexions.steadied(levels, torch.tensor([is_sound]), patches, skin, [3], [number > 0])
        made.append(out[0].permute(1, 2, 0).numpy().astype(np.uint8))
    assert off(made[2], skin_of(made[0])) < 2
