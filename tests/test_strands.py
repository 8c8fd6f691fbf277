"""Hair on the rim of a portrait's forehead is found; brows, eyes, beards and shadows are not taken for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits
from deepprivacy_rt.portraits.strands import strands
from deepprivacy_rt.portraits.texture import Texture
from deepprivacy_rt.types import Image
from deepprivacy_rt.weights import Weights


@pytest.fixture(scope="module")
def bank() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


def skin(bank: PortraitBank) -> Image:
    return np.full((*bank.cover.shape[:2], 3), (190, 150, 130), np.uint8)


def found(image: Image, bank: PortraitBank) -> np.ndarray:
    return strands(image, skin(bank).astype(np.float32), bank.cover)


def test_a_strand_over_a_temple_is_found_with_what_is_near_it(bank: PortraitBank) -> None:
    image = skin(bank)
    cv2.line(image, (52, 40), (76, 24), (60, 40, 30), 5)
    share = found(image, bank)
    assert share[32, 64] > 0.95 and share[36, 67] > 0.3
    assert share[:, 100:].max() < 0.01 and share[90:].max() < 0.01


@pytest.mark.parametrize("place", [(70, 54), (96, 60), (96, 150), (50, 120)], ids=["brow", "nose", "chin", "cheek"])
def test_what_is_dark_elsewhere_stays(place: tuple[int, int], bank: PortraitBank) -> None:
    image = skin(bank)
    cv2.circle(image, place, 8, (60, 40, 30), cv2.FILLED)
    assert found(image, bank)[place[1], place[0]] < 0.05


def test_dark_skin_is_no_hair(bank: PortraitBank) -> None:
    image = (skin(bank) * 0.3).astype(np.uint8)
    assert strands(image, image.astype(np.float32), bank.cover).max() == 0


def test_a_portrait_is_not_shown_where_it_has_hair(bank: PortraitBank) -> None:
    image = skin(bank)
    cv2.line(image, (52, 40), (76, 24), (60, 40, 30), 5)
    made = Texture.of(image, bank.cover)
    assert (made.cover[32, 64] < 0.05 * bank.cover[32, 64]).all() and bank.cover[32, 64].min() > 0.5
    assert (made.cover[100:] == bank.cover[100:]).all()


def test_faces_keep_what_makes_them(bank: PortraitBank) -> None:
    for portrait in bank.portraits:
        made = Texture.of(portrait.texture, bank.cover).cover
        kept, whole = made[..., 0].sum(), bank.cover[..., 0].sum()
        assert kept > 0.85 * whole
        features = bank.cover[..., 0] - bank.cover[..., 1] > 0.5
        assert np.quantile(made[..., 0][features], 0.2) > 0.8
