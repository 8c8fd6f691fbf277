"""Portraits: poses from keypoints, reliefs, mouths and lids, and the faces that get their features from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from portrait_patches import patch_of

from deepprivacy_rt.blending import PatchBlender
from deepprivacy_rt.cropping import AlignedCropper
from deepprivacy_rt.errors import TrainingError, WeightsError
from deepprivacy_rt.generators import portraying
from deepprivacy_rt.generators.portraying import TEETH, PortraitGenerator, blended
from deepprivacy_rt.generators.wardrobe import Wardrobe
from deepprivacy_rt.pipeline import FaceReplacer
from deepprivacy_rt.portraits.bank import PortraitBank, read_portraits, write_portraits
from deepprivacy_rt.portraits.canonical import map_points, to_map
from deepprivacy_rt.portraits.gestures import SMILE, gap_of
from deepprivacy_rt.portraits.pose import fit_pose, rotation
from deepprivacy_rt.portraits.relief import Drawn, Relief, draw
from deepprivacy_rt.portraits.texture import FINER, Texture
from deepprivacy_rt.testing import FailingGenerator, ToyGenerator, make_frame
from deepprivacy_rt.training.portraits import read_list
from deepprivacy_rt.types import REST, Coverage, Expression, FacePatch, Replacement
from deepprivacy_rt.weights import Weights

SIZE = 128


@lru_cache(maxsize=1)
def bank() -> PortraitBank:
    return read_portraits(Weights().path("portraits"))


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    return rotation(*np.array([[yaw], [pitch], [roll]]))[0]


@dataclass(frozen=True)
class Picture:
    """A drawn portrait on its whole patch: (s, s, …) arrays."""

    image: np.ndarray
    share: np.ndarray
    mouth: np.ndarray
    teeth: np.ndarray

    @classmethod
    def of(cls, drawn: Drawn) -> Picture:
        def whole(part: np.ndarray | None, depth: tuple[int, ...] = ()) -> np.ndarray:
            picture = np.zeros((drawn.side, drawn.side, *depth), np.float32)
            if part is not None:
                picture[drawn.window] = part
            return picture

        return cls(whole(drawn.image, (3,)), whole(drawn.share), whole(drawn.mouth), whole(drawn.teeth))


def sketch(yaw: float = 0.0, doing: Expression = REST, relief: Relief | None = None, zoom: int = 1) -> Drawn:
    portrait = bank().portraits[0]
    pose = np.hstack([55 * turned(yaw)[:2], [[SIZE / 2], [SIZE / 2]]])
    texture = Texture.of(portrait.texture, bank().cover)
    return draw(texture, relief or Relief.of(portrait.place), pose, doing, bank().gestures, SIZE, zoom)


def drawn(yaw: float = 0.0, doing: Expression = REST, relief: Relief | None = None) -> Picture:
    return Picture.of(sketch(yaw, doing, relief))


def test_every_portrait_says_where_it_comes_from_and_depicts_nobody(shared: Path) -> None:
    listed = read_list(Path(__file__).parents[1] / "configs" / "portraits.toml")
    records = {row["file"]: row for row in map(json.loads, (shared / "data/faces/manifest.jsonl").open())}
    assert {source["file"]: source["group"] for source in bank().sources} == listed
    assert [source["file"] for source in bank().sources] == list(listed)
    for source in bank().sources:
        assert all(source[key] == records[source["file"]][key] for key in ("licence", "made_by", "source", "sha256"))
        assert source["licence"].split()[0] in ("MIT", "CC0", "CC0-1.0")
    card = (Path(__file__).parents[1] / "weights" / "portraits.md").read_text()
    rows = [[cell.strip(" `…") for cell in line.split("|")[1:-1]] for line in card.splitlines() if ".jpg` |" in line]
    assert rows == [
        [str(number), one["file"], one["source"], one["licence"], one["made_by"], one["sha256"][:16]]
        for number, one in enumerate(bank().sources)
    ]


@pytest.mark.parametrize("yaw", [-0.6, -0.2, 0.0, 0.4])
@pytest.mark.parametrize("pitch", [-0.2, 0.2])
def test_a_pose_is_read_off_six_keypoints(yaw: float, pitch: float) -> None:
    head = bank().portraits[0].head
    places = (40 * head @ turned(yaw, pitch, 0.1)[:2].T + [60, 70]).astype(np.float32)
    found = fit_pose(places, head).matrix
    off = head @ found[:, :3].T + found[:, 3] - places
    assert np.hypot(*off.T).max() < 1.6  # of 40 pixels between the corners of the eyes
    matrix = found[:, :3] / np.linalg.norm(found[0, :3])
    assert np.arcsin(np.cross(*matrix)[0]) == pytest.approx(np.arcsin(turned(yaw, pitch, 0.1)[2, 0]), abs=0.12)


def test_keypoints_that_are_one_point_give_a_finite_pose() -> None:
    assert np.isfinite(fit_pose(np.full((6, 2), 7.0, np.float32), bank().portraits[0].head).matrix).all()


def test_a_pose_nearby_changes_nothing_but_the_time() -> None:
    head = bank().portraits[0].head
    places = (40 * head @ turned(0.4, 0.1, 0.1)[:2].T + [60, 70]).astype(np.float32)
    alone = fit_pose(places, head)
    for yaw in (-0.4, 0.3):
        near = fit_pose((50 * head @ turned(yaw)[:2].T + [60, 70]).astype(np.float32), head)
        assert np.abs(fit_pose(places, head, near).matrix - alone.matrix).max() < 0.02  # of 40 pixels


def test_seen_from_the_front_a_portrait_is_its_texture() -> None:
    front, places = drawn(), map_points(48)
    flat = Relief.of(np.concatenate([places, np.zeros_like(places[..., :1])], axis=-1))
    plain = drawn(relief=flat)
    both = (front.share > 0.9) & (plain.share > 0.9)
    assert both.mean() > 0.15
    # Its own relief is not the mean's, so features are moved by a few pixels: alike, but not the same.
    assert np.corrcoef(front.image[both].mean(axis=1), plain.image[both].mean(axis=1))[0, 1] > 0.6


@pytest.mark.parametrize("yaw", [0.35, -0.35])
def test_a_turned_head_shows_one_side(yaw: float) -> None:
    share = drawn(yaw).share
    nose = bank().portraits[0].head[2] @ turned(yaw)[:2].T * 55 + SIZE / 2
    left, right = share[:, : int(nose[0])].sum(), share[:, int(nose[0]) :].sum()
    far, near = (left, right) if yaw > 0 else (right, left)
    assert far < 0.65 * near
    assert (SIZE / 2 - float(nose[0])) * np.sign(yaw) > 5


@pytest.mark.parametrize("yaw", [0.6, 0.9, -0.6, -0.9, 1.1, -1.1])
def test_what_is_in_front_hides_what_is_behind(yaw: float) -> None:
    """A nose covers the cheek beyond it, and sticks out of a profile."""
    portrait = bank().portraits[0]
    texels = map_points(len(portrait.texture))
    is_nose = np.hypot(*(texels - portrait.head[2, :2]).transpose(2, 0, 1)) < 0.12
    image = np.where(is_nose[..., None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)
    fine = cv2.resize(image, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_NEAREST)
    pose = np.hstack([55 * turned(yaw)[:2], [[SIZE / 2], [SIZE / 2]]])
    texture = Texture(fine, image, np.ones_like(bank().cover))
    picture = Picture.of(draw(texture, Relief.of(portrait.place), pose, REST, bank().gestures, SIZE))
    tip = portrait.head[2] @ pose[:, :3].T + pose[:, 3]
    x, y = np.rint(tip - [np.sign(-yaw) * 2, 0]).astype(int)  # two pixels within the outline
    assert picture.share[y, x] > 0.8
    assert picture.image[y, x, 0] > 200 > 60 > picture.image[y, x, 2]


def test_a_mouth_opens_between_the_lips_only() -> None:
    shut, open_ = drawn(), drawn(doing=Expression(0.5, 0.7, 0.7))
    assert not shut.mouth.any() and open_.mouth.max() > 0.9
    rows, columns = np.nonzero(open_.mouth > 0.5)
    mouth = bank().portraits[0].head[3, :2] * 55 + SIZE / 2
    assert abs(columns.mean() - mouth[0]) < 4 and 0 < rows.mean() - mouth[1] < 14
    eyes = slice(0, int(bank().portraits[0].head[2, 1] * 55 + SIZE / 2) - 4)
    assert np.array_equal(shut.image[eyes], open_.image[eyes])
    assert ((open_.teeth > 0) <= (open_.mouth > 0)).all()


@pytest.mark.parametrize("smile", [0.0, 0.5, 1.0])
def test_edges_of_a_mouth_are_smooth(smile: float) -> None:
    """They were looked for on a coarse grid once, and came in steps."""
    one = drawn(doing=Expression(0.45, 0.7, 0.7, smile))
    for part in (one.mouth, one.teeth / np.maximum(one.teeth.max(axis=0), 1e-6)):
        heights = part.sum(axis=0)
        inner = heights[heights > 0.6 * heights.max()]
        assert len(inner) > 15 and np.abs(np.diff(inner)).max() < 1.0


def test_a_smile_draws_the_corners_of_the_mouth_out_and_up_and_nothing_else() -> None:
    gestures, size = bank().gestures, 256
    places = map_points(size)
    assert np.array_equal(gestures.texels(places, REST), places)
    assert not any(part.any() for part in gestures.insides(places, REST))
    glad = gestures.texels(places, Expression(*REST.openings, smile=1.0))
    for corner, side in ((gestures.lips[0], -1), (gestures.lips[-1], 1)):
        shows_it = np.unravel_index(np.hypot(*(glad - corner).transpose(2, 0, 1)).argmin(), glad.shape[:2])
        assert places[shows_it] - corner == pytest.approx((side * SMILE[0], SMILE[1]), abs=0.02)
    moved = np.hypot(*(glad - places).transpose(2, 0, 1))
    eyes = places[..., 1] < 0.0
    assert moved[eyes].max() < 0.02 and moved.max() < 0.17
    # Nothing is folded over: farther right in the picture is farther right on the face.
    assert (np.diff(glad[..., 0], axis=1) > 0).all() and (np.diff(glad[..., 1], axis=0) > 0).all()


def test_no_mouth_is_torn_by_any_opening() -> None:
    assert gap_of(Expression(1.0, 1, 1)) == gap_of(Expression(0.75, 1, 1)) > gap_of(Expression(0.5, 1, 1)) > 0
    assert gap_of(REST) == gap_of(Expression(0.0, 1, 1)) == 0


def test_lids_come_down_over_the_eyes_and_nowhere_else() -> None:
    open_, shut = drawn(), drawn(doing=Expression(REST.mouth, 0.0, REST.left_eye))
    moved = np.abs(open_.image.astype(int) - shut.image).max(axis=2) > 12
    rows, columns = np.nonzero(moved)
    right_eye = bank().portraits[0].head[0, :2] * 55 + SIZE / 2
    assert len(rows) > 20 and abs(columns.mean() - right_eye[0]) < 8 and abs(rows.mean() - right_eye[1]) < 12
    assert columns.max() < SIZE / 2 + 4  # the left eye stays open


@pytest.mark.parametrize("number", [0, 6, 38])
def test_a_shut_lid_is_skin_with_lashes_below(number: int) -> None:
    pose = np.array([[80.0, 0, 0, 128], [0, 80.0, 0, 128]])
    one = bank().portraits[number]
    texture, relief = Texture.of(one.texture, bank().cover), Relief.of(one.place)

    def eye(opening: float) -> np.ndarray:
        made = draw(texture, relief, pose, Expression(REST.mouth, opening, opening), bank().gestures, 256)
        whole = np.zeros((256, 256, 3), np.uint8)
        whole[made.window] = made.image
        x, y = (one.head[0, :2] * 80 + 128).astype(int)
        return cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY)[y - 16 : y + 17, x - 6 : x + 7].astype(int)

    open_, shut, half, calm = (eye(by * REST.right_eye) for by in (1.0, 0.5, 0.65, 0.85))
    assert np.array_equal(calm, open_)  # eyes that tremble do not blink
    ball = slice(12, 18)
    assert np.abs(np.diff(shut[ball], axis=0)).mean() < 0.8 * np.abs(np.diff(open_[ball], axis=0)).mean()
    lashes = int(shut.mean(axis=1).argmin())
    assert 16 < lashes < 27 and shut[lashes].mean() < 0.8 * shut[ball].mean()
    assert np.abs(half - open_)[:14].mean() > 3 > np.abs(half - open_)[24:].mean()


def test_a_finer_picture_shows_the_same() -> None:
    doing = Expression(0.5, 0.2, 0.7)
    plain, fine = sketch(0.2, doing), sketch(0.2, doing, zoom=2)
    assert (plain.side, fine.side) == (SIZE, 2 * SIZE)
    assert np.array_equal(plain.coarse, fine.coarse) and np.array_equal(plain.skin, fine.skin)
    once, twice = Picture.of(plain), Picture.of(fine)
    for name in ("image", "share", "mouth", "teeth"):
        small = cv2.resize(getattr(twice, name), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        off = np.abs(small - getattr(once, name))[once.share > 0.2]
        assert off.mean() < (4.0 if name == "image" else 0.01), name


def test_what_is_seen_lies_in_the_window() -> None:
    """Beyond it the network's face stays, so nothing may be cut off."""
    for yaw in (-0.7, 0.0, 0.5):
        found = sketch(yaw)
        inside = found.share.shape
        assert inside[0] < 0.95 * SIZE and inside[1] < 0.95 * SIZE
        edge = [found.share[0], found.share[-1], found.share[:, 0], found.share[:, -1]]
        assert max(float(part.max()) for part in edge) < 0.02


def test_a_head_that_is_nowhere_in_the_patch_changes_nothing() -> None:
    away = Relief.of(bank().portraits[0].place + np.array([50, 0, 0], np.float32))
    found = sketch(relief=away)
    assert not found.share.any() and not found.skin.any()


def test_a_large_face_gets_a_finer_portrait_and_a_small_one_none() -> None:
    for size, zoom in ((40, 1), (80, 1), (120, 2)):
        patch = patch_of(face=size)
        [answer] = PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0).generate([patch])
        assert answer.zoom == zoom, size


def test_maps_are_centred_on_their_pixels() -> None:
    size = 32
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    assert np.allclose(to_map(map_points(size), size), np.stack([x, y], axis=-1), atol=1e-4)


def generate(generator: PortraitGenerator, patch: FacePatch) -> np.ndarray:
    (answer,) = generator.generate([patch])
    assert answer.patch is patch
    return answer.image


def test_a_session_keeps_its_faces_and_another_has_others() -> None:
    patch = patch_of(identity=3)
    first = generate(PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0), patch)
    again = generate(PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0), patch)
    assert np.array_equal(first, again)
    others = [
        generate(PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), bytes([n])), 30.0), patch) for n in range(4)
    ]
    assert any(not np.array_equal(first, other) for other in others)


def test_two_faces_of_a_stream_wear_two_portraits() -> None:
    generator = PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0)
    patches = [patch_of(identity=number, track_id=number) for number in range(3)]
    faces = [answer.image for answer in generator.generate(patches)]
    assert all(not np.array_equal(faces[a], faces[b]) for a in range(3) for b in range(a))


def test_tone_is_the_networks() -> None:
    """A network that draws a dark face gets a dark portrait."""

    class Plain(ToyGenerator):
        level = 60

        def generate(self, patches: list[FacePatch]) -> list[Replacement]:  # type: ignore[override]
            return [Replacement(patch, np.full_like(patch.image, self.level)) for patch in patches]

    dark, light = Plain(SIZE), Plain(SIZE)
    light.level = 170
    middle = slice(SIZE * 2 // 5, SIZE * 3 // 5)
    for plain in (dark, light):
        face = generate(PortraitGenerator(plain, Wardrobe(bank(), b"salt"), 30.0), patch_of())
        assert face[middle, middle].mean() == pytest.approx(plain.level, rel=0.25)
        assert face[middle, middle].std() > 5
        assert (face[:4, :4] == plain.level).all()  # beyond the face, the network alone


def test_a_trembling_pose_is_calmed_and_a_jump_is_followed() -> None:
    def moved(by: float, calm: bool) -> float:
        generator = PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0)
        first, second = patch_of(), patch_of(shift=by)
        if calm:
            generate(generator, first)
        reference = generate(PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0), second)
        return float(np.abs(generate(generator, second).astype(int) - reference).mean())

    assert moved(0.8, calm=False) == 0
    assert moved(0.8, calm=True) > 0
    assert moved(10.0, calm=True) < moved(0.8, calm=True) + 2


def test_a_portrait_that_cannot_be_drawn_leaves_the_face_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = patch_of()
    generator = PortraitGenerator(ToyGenerator(SIZE), Wardrobe(bank(), b"salt"), 30.0)
    replacer = FaceReplacer(AlignedCropper(SIZE), generator, PatchBlender())
    frame = make_frame(0, 200, 150, 0)
    made, good = replacer.replace(frame, [patch.track])
    assert [face.coverage for face in good.faces] == [Coverage.GENERATED]
    monkeypatch.setattr(portraying, "draw", lambda *_: 1 / 0)
    filled, report = replacer.replace(frame, [patch.track])
    assert [face.coverage for face in report.faces] == [Coverage.FILLED] and report.problems
    assert np.array_equal(filled.image, AlignedCropper(SIZE).erase(frame, [patch.track]).image)
    assert not np.array_equal(made.image, filled.image)


def test_what_breaks_the_contract_is_passed_on() -> None:
    generator = PortraitGenerator(FailingGenerator(lambda _: ["no face"], SIZE), Wardrobe(bank(), b""), 30.0)  # type: ignore[list-item]
    assert generator.generate([patch_of()]) == ["no face"]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "portraits.safetensors"
    file.write_bytes(Weights().path("portraits").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="portraits"):
        read_portraits(file)
    one = bank().portraits[0]
    places, heads = np.stack([one.place]), np.stack([one.head]).astype(np.float32)
    write_portraits(file, [one.texture] * 2, places, heads, bank().mean, [{}])
    with pytest.raises(WeightsError, match="same number"):
        read_portraits(file)


@pytest.mark.parametrize(
    "text",
    [
        "portraits = []",
        "portraits = [{ file = 'a' }, { file = 'a' }]",
        "portraits = ['a', 'b']",
        "portraits = [{ file = 'a' }, { group = 'men' }]",
        "portraits = [{ file = 'a' }, { file = 'b', group = 'cats' }]",
        "other = 1",
        "portraits =",
    ],
)
def test_a_bad_list_of_portraits_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "list.toml"
    file.write_text(text)
    with pytest.raises(TrainingError, match="list.toml"):
        read_list(file)


def test_teeth_are_single_and_take_the_light_of_the_skin_but_not_its_colour() -> None:
    pose = np.array([[40.0, 0, 0, 64], [0, 40.0, 0, 64]])
    one, wide = bank().portraits[0], Expression(0.7, 0.7, 0.7)
    drawn = draw(Texture.of(one.texture, bank().cover), Relief.of(one.place), pose, wide, bank().gestures, 128, 2)
    assert drawn.teeth is not None
    row = drawn.teeth[int(drawn.teeth.sum(axis=1).argmax())]
    seen = np.flatnonzero(row > 0.3)
    inner = row[seen[0] : seen[-1] + 1]
    gaps = (inner[1:-1] < inner[:-2]) & (inner[1:-1] <= inner[2:])
    assert 3 <= gaps.sum() <= 7
    place = drawn.teeth > 0.85
    for tint in ((0.7, 0.7, 0.7), (0.4, 0.8, 1.2)):
        tone = np.broadcast_to(np.float32(tint), (28, 28, 3)).copy()
        made = blended(np.full((128, 128, 3), 90, np.uint8), drawn, tone)[drawn.window][place].mean(axis=0)
        assert made[0] / made[2] == pytest.approx(TEETH[0] / TEETH[2], rel=0.08), tint
        assert made.mean() > 0.6 * 0.75 * TEETH.mean()
