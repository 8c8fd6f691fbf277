"""Pictures of portraits, prepared: harsh light is taken out, the dark of features stays, fine detail is raised."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepprivacy_rt.build_generator import make_wardrobes
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.portraits import texture
from deepprivacy_rt.portraits.bank import read_portraits
from deepprivacy_rt.portraits.texture import FINER, Texture, harshness
from deepprivacy_rt.weights import Weights

SIZE = 192
COVER = np.ones((SIZE, SIZE, 2), np.float32)
ALL = np.ones((SIZE, SIZE), np.bool_)


def face(level: int = 140) -> np.ndarray:
    """Return a grey picture with a dark spot, a light one as strong and as large, and fine grain in one corner."""
    picture = np.full((SIZE, SIZE, 3), level, np.float32)
    cv2.circle(picture, (60, 60), 12, (level - 60,) * 3, cv2.FILLED)
    cv2.circle(picture, (132, 60), 12, (level + 60,) * 3, cv2.FILLED)
    grain = np.where(np.indices((32, 32)).sum(axis=0) % 2, 4.0, -4.0)
    picture[140:172, 140:172] += grain[..., None]
    return np.rint(picture).astype(np.uint8)


def test_the_light_is_taken_back_and_the_dark_less_so() -> None:
    made = Texture.of(face(), COVER)
    plain = float(made.soft[120, 20, 0])
    dark, light = plain - float(made.soft[60, 60, 0]), float(made.soft[60, 132, 0]) - plain
    assert 10 < light < 0.8 * dark < 60


def coarse(image: np.ndarray) -> np.ndarray:
    """Return a drawn texture at the size of what it was made of."""
    assert image.shape == (FINER * SIZE, FINER * SIZE, 3)
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def test_fine_detail_is_raised_against_the_rest() -> None:
    picture, made = face(), coarse(Texture.of(face(), COVER).image)

    def parts(image: np.ndarray) -> tuple[float, float]:
        return float(image[144:168, 144:168].std()), float(image[60, 132, 0]) - float(image[120, 20, 0])

    (grain, spot), (made_grain, made_spot) = parts(picture), parts(made)
    assert made_grain / grain > 1.5 * made_spot / spot
    assert abs(float(made[144:168, 144:168].mean()) - float(made[120, 20, 0])) < 6  # no brighter for it


def test_a_picture_without_anything_in_it_stays() -> None:
    flat = np.full((SIZE, SIZE, 3), (200, 150, 120), np.uint8)
    made = Texture.of(flat, COVER)
    assert np.abs(coarse(made.image).astype(int) - flat).max() <= 1 and np.abs(made.soft.astype(int) - flat).max() <= 1


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_pictures_do_no_harm(level: int) -> None:
    flat = np.full((SIZE, SIZE, 3), level, np.uint8)
    assert np.abs(coarse(Texture.of(flat, COVER).image).astype(int) - flat).max() <= 1


def test_no_portrait_is_harsher_than_faces_before_cameras_and_each_keeps_its_skin() -> None:
    bank = read_portraits(Weights().path("portraits"))
    inside, skin = bank.cover[..., 0] > 0.5, bank.cover[..., 1:]
    for portrait in bank.portraits:
        made = Texture.of(portrait.texture, bank.cover)
        before, after = harshness(portrait.texture, inside), harshness(made.soft, inside)
        assert 0.011 < after < min(0.65 * before, 0.032)
        mean = (made.soft * skin).sum(axis=(0, 1)) / skin.sum()
        assert np.abs(mean - portrait.color).max() < 10


def test_a_picture_that_does_not_move_has_more_contrast() -> None:
    bank = read_portraits(Weights().path("portraits"))
    inside = bank.cover[..., 0] > 0.5
    one = bank.portraits[3].texture
    calm, vivid = (harshness(Texture.of(one, bank.cover, still=still).soft, inside) for still in (False, True))
    assert 1.2 < vivid / calm < 1.5


def grain_of(made: Texture) -> float:
    """Return the mean of the Laplacian's amount over the mean luma, inside the shipped cover."""
    luma = cv2.cvtColor(coarse(made.image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = read_portraits(Weights().path("portraits")).cover[..., 0] > 0.5
    return float(np.abs(cv2.Laplacian(luma, cv2.CV_32F))[inside].mean() / luma[inside].mean())


def test_pictures_of_much_and_of_little_detail_end_with_about_as_much() -> None:
    bank = read_portraits(Weights().path("portraits"))
    picture = bank.portraits[3].texture
    soft = cv2.GaussianBlur(picture, (0, 0), 0.5)
    sharp = cv2.addWeighted(picture, 2.0, cv2.GaussianBlur(picture, (0, 0), 0.7), -1.0, 0.0)

    def plain(image: np.ndarray) -> float:
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return float(np.abs(cv2.Laplacian(luma, cv2.CV_32F))[bank.cover[..., 0] > 0.5].mean())

    assert plain(sharp) > 1.9 * plain(soft)
    made = [grain_of(Texture.of(one, bank.cover)) for one in (soft, sharp)]
    assert made[1] < 1.5 * made[0]


def test_a_coloured_light_is_half_as_coloured_on_skin_and_as_before_beside_it() -> None:
    skin = np.array([190, 150, 125], np.uint8)
    picture = np.full((SIZE, SIZE, 3), skin, np.uint8)
    picture[50:70, 50:70] = picture[120:140, 50:70] = (220, 175, 95)
    cover = COVER.copy()
    cover[100:, :, 1] = 0.0  # lips, say
    made = Texture.of(picture, cover).soft.astype(float)

    def yellow(image: np.ndarray, top: int) -> float:
        place, plain = image[top : top + 20, 50:70].mean(axis=(0, 1)), image[20:40, 100:180].mean(axis=(0, 1))
        return float((place[2] / place[0]) / (plain[2] / plain[0]))

    on_skin, beside = (1 - yellow(made, top) for top in (50, 120))
    assert 0 < on_skin < 0.65 * beside


def test_faces_of_256_pixels_get_more_detail() -> None:
    made = []
    for model in ("face128", "face256"):
        wardrobe = make_wardrobes(FaceConfig(model=model), Weights(), b"salt")(30.0)
        faces = (wardrobe._made(one, one.place, one.head) for one in wardrobe.bank.portraits[:8])
        made.append(np.mean([grain_of(face.texture) for face in faces]))
    assert 1.04 < made[1] / made[0] < 1.16


@pytest.mark.parametrize(("skin", "warmer"), [((200, 150, 110), 1), ((190, 150, 130), 0), ((170, 150, 145), -1)])
def test_eyes_and_lips_are_prepared_for_usual_skin(
    skin: tuple[int, int, int], warmer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a warm picture are cooled with its skin when it is drawn, and so are warmed before."""
    cover = COVER.copy()
    cover[100:140, 60:130, 1] = 0.0
    picture = np.full((SIZE, SIZE, 3), skin, np.uint8)
    picture[100:140, 60:130] = (170, 90, 90)

    def warmth() -> float:
        made = Texture.of(picture, cover).soft.astype(float)
        assert np.abs(made[20:80, 20:170] - skin).max() <= 1
        lips = made[112:128, 80:110].mean(axis=(0, 1))
        return float(np.log(lips[0] / lips[2]))

    found = warmth()
    monkeypatch.setattr(texture, "_OWN_COLOR", 0.0)
    change = found - warmth()
    assert abs(change) < 0.02 if warmer == 0 else warmer * change > 0.04
