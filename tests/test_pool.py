"""The pool: latents that were looked at, and how streams draw from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from deepprivacy_rt.build import build_anonymizer
from deepprivacy_rt.config import FaceConfig
from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.evaluation.pool import Judge, Judged, draw, good, mean_similarity_of, thinned
from deepprivacy_rt.generators.gan import NEARBY, GanGenerator
from deepprivacy_rt.networks.pool import LatentSource, read_pool, write_pool
from deepprivacy_rt.networks.prior import Prior, read_prior
from deepprivacy_rt.weights import Weights

PRIOR = Prior(128, np.zeros(4, np.float32), np.eye(4, dtype=np.float32))
POOL = np.arange(24, dtype=np.float32).reshape(6, 4) * 10


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_pool(path, POOL)
    assert np.array_equal(read_pool(path, 4), POOL) and read_pool(path, 4).dtype == np.float32
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def broken_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.safetensors" for name in ("missing", "text", "foreign", "short", "nan", "empty")}
    files["text"].write_text("no")
    save_file({"latents": POOL}, files["foreign"], metadata={"format": "else"})
    write_pool(files["short"], POOL[:, :3])
    write_pool(files["nan"], POOL * np.float32("nan"))
    write_pool(files["empty"], POOL[:0])
    return files


@pytest.mark.parametrize("name", ["missing", "text", "foreign", "short", "nan", "empty"])
def test_a_file_that_is_no_pool_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(WeightsError, match=path.name):
        read_pool(path, 4)


def nearest(latent: np.ndarray) -> int:
    return int(np.argmin(np.abs(POOL - latent).sum(axis=1)))


def test_every_latent_is_dealt_once_before_any_comes_again() -> None:
    source = LatentSource(PRIOR, b"salt", 0.3, POOL)
    dealt = [nearest(source.latent(number)) for number in range(12)]
    assert sorted(dealt[:6]) == list(range(6)) and dealt[6:] == dealt[:6]
    assert not np.array_equal(source.latent(0), source.latent(6))  # near the same one, but not the same face
    orders = {tuple(nearest(LatentSource(PRIOR, bytes([s]), 0.3, POOL).latent(n)) for n in range(6)) for s in range(9)}
    assert len(orders) > 6


def test_salt_and_identity_decide() -> None:
    one = LatentSource(PRIOR, b"salt", 0.3, POOL)
    assert np.array_equal(one.latent(5), LatentSource(PRIOR, b"salt", 0.3, POOL).latent(5))
    assert not np.array_equal(one.latent(5), LatentSource(PRIOR, b"other", 0.3, POOL).latent(5))
    assert np.abs(one.latent(5) - POOL[nearest(one.latent(5))]).max() < 2
    drawn = np.stack([LatentSource(PRIOR, b"salt", 1.5).latent(number) for number in range(400)])
    assert drawn.std() == pytest.approx(1.5, rel=0.1) and abs(drawn.mean()) < 0.15


def test_streams_draw_from_the_shipped_pool() -> None:
    weights = Weights()
    prior = read_prior(weights.path("face128"))
    pool = read_pool(weights.path("face128-latents"), prior.latent)
    assert len(pool) >= 50
    generator = build_anonymizer(FaceConfig(seed=4), weights).generator
    assert isinstance(generator, GanGenerator)
    reach = NEARBY * np.linalg.norm(prior.factor)
    for number in range(20):
        assert np.linalg.norm(pool - generator.latent(number), axis=1).min() < 2 * reach
    tried = build_anonymizer(FaceConfig(seed=4), weights, generator_file=weights.path("face128")).generator
    assert isinstance(tried, GanGenerator)  # of weights that are tried, nobody has looked at latents
    assert min(np.linalg.norm(pool - tried.latent(number), axis=1).min() for number in range(20)) > reach


def judged(vectors: np.ndarray, tone: float = 0.0, **changes: float) -> Judged:
    values = {"score": 0.9, "light": 0.8, "detail": 1.0, "misfit": 0.1} | changes
    return Judged(np.zeros(4, np.float32), vectors=vectors, tone=np.full(1, tone, np.float32), **values)


def test_what_is_no_face_or_does_not_fit_goes() -> None:
    vectors = np.ones((1, 1), np.float32)
    fine = [judged(vectors, detail=1 + i / 100, misfit=0.1 - i / 1000, tone=(i - 10) / 100) for i in range(20)]
    bad = [
        judged(vectors, score=0.5),
        judged(vectors, light=0.5),
        judged(vectors, detail=-3),
        judged(vectors, misfit=1),
        judged(vectors, tone=0.9),
    ]
    kept = good([*fine, *bad])
    assert not {id(one) for one in bad} & {id(one) for one in kept}
    assert len(kept) >= 8


def test_those_most_like_all_others_go_first() -> None:
    angles = np.radians([0, 1, 2, 3, 90, 180, 270])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None].astype(np.float32)
    left = thinned(vectors, 4)
    assert {4, 5, 6} < set(left) and len(left) == 4
    assert mean_similarity_of(vectors[left]) < mean_similarity_of(vectors)


def test_a_latent_is_judged_on_people_who_do_not_exist(packed: Path, shared: Path) -> None:
    from deepprivacy_rt.audit.faces import FaceFinder
    from deepprivacy_rt.audit.recogniser import Recogniser
    from deepprivacy_rt.cropping import GEOMETRY, Region
    from deepprivacy_rt.networks.serialization import load_generator
    from deepprivacy_rt.training.dataset import load

    torch.set_num_threads(1)
    models = shared / "models"
    finder, recogniser = (
        FaceFinder(models / "yunet_n_dynamic.onnx", score=0.1),
        Recogniser(models / "mobileface_v3_112.onnx"),
    )
    generator = load_generator(Weights().path("face128"))
    judge = Judge(
        generator, load(packed, torch.device("cpu"), lambda _: True, GEOMETRY[Region.FACE].side), finder, recogniser
    )
    mean = judge.judge(generator.prior_mean)
    far = judge.judge(generator.prior_mean + 8 * draw(generator, 1)[0])
    assert mean.score > 0.85 > far.score  # nobody sees a face in noise
    assert 0.6 < mean.light < 1.1 and mean.misfit < far.misfit
    assert mean.vectors.shape[0] == 8 and np.allclose(np.linalg.norm(mean.vectors, axis=1), 1, atol=1e-4)
    assert np.array_equal(draw(generator, 7), draw(generator, 7)) and draw(generator, 7).shape == (7, 64)
