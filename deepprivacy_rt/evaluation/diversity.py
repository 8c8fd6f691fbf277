"""Whether different latents give different people, and what a latent makes of different people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepprivacy_rt.audit.bootstrap import Estimate, mean
from deepprivacy_rt.audit.examples import pair_picture
from deepprivacy_rt.audit.exposure import EXPOSED_SHARE, exposed_share
from deepprivacy_rt.audit.faces import FaceFinder, best_match
from deepprivacy_rt.audit.recogniser import Embedding, Recogniser
from deepprivacy_rt.audit.records import KEPT_IOU
from deepprivacy_rt.evaluation.copies import CopyMaker
from deepprivacy_rt.evaluation.observer import Context
from deepprivacy_rt.evaluation.similarity import mean_similarity, similarity_to_others
from deepprivacy_rt.types import Image

LATENTS = 4
MOST_CONTEXTS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Variants:
    """The faces of several identities in the same contexts.

    :ivar names: of the contexts that were covered.
    :ivar embeddings: (contexts, latents, d) float32.
    :ivar originals: (contexts, d) float32.
    :ivar pictures: for each context original and anonymized surroundings, side by side, by latent. Private.
    """

    names: list[str]
    embeddings: NDArray[np.float32]
    originals: NDArray[np.float32]
    pictures: list[list[Image]]


def make_variants(
    makers: Sequence[CopyMaker], treatment: str, contexts: Sequence[Context], finder: FaceFinder, recogniser: Recogniser
) -> Variants | None:
    """Cover each context with several identities of each maker. Contexts whose face the pipeline missed are left out.

    Returns None where fewer than two contexts are left.
    """
    names, rows, originals, pictures = [], [], [], []
    for context in contexts:
        images = [one for maker in makers for one in maker.variants(treatment, context.image, range(LATENTS))]
        box = context.face.box
        if any(exposed_share(context.image, image, box, [box]) > EXPOSED_SHARE for image in images):
            continue
        names.append(context.name)
        rows.append(np.stack([_embedding(image, context, finder, recogniser) for image in images]))
        originals.append(recogniser.embed(context.image, context.face.points))
        pictures.append([pair_picture(context.image, image, box) for image in images])
    if len(names) < 2:
        return None
    return Variants(names, np.stack(rows), np.stack(originals), pictures)


def _embedding(image: Image, context: Context, finder: FaceFinder, recogniser: Recogniser) -> Embedding:
    match, overlap = best_match(context.face.box, finder.find(image))
    place = match if match is not None and overlap >= KEPT_IOU else context.face
    return recogniser.embed(image, place.points)


def similarity_over_latents(variants: Variants) -> Estimate:
    """Return the mean similarity of two latents in the same context, drawn over contexts."""
    return mean([mean_similarity(list(rows)) for rows in variants.embeddings], variants.names)


def similarity_over_people(variants: Variants, same_person: float, *, of_originals: bool = False) -> Estimate:
    """Return the mean similarity of two people covered with the same latent, drawn over people.

    Contexts that the recogniser takes for one person are not compared with each other.

    :param same_person: the threshold.
    :param of_originals: compare the people themselves in place of their covers.
    """
    different = variants.originals @ variants.originals.T <= same_person
    np.fill_diagonal(different, False)
    sets = [variants.originals] if of_originals else list(variants.embeddings.transpose(1, 0, 2))
    values = np.mean([similarity_to_others(rows, different) for rows in sets], axis=0)
    known = np.isfinite(values)
    names = [name for name, keep in zip(variants.names, known, strict=True) if keep]
    return mean(values[known].tolist(), names)
