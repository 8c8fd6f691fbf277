"""The report as one HTML file, contact sheets included. Private: it shows original faces."""

from __future__ import annotations

from html import escape

import numpy as np

from deepprivacy_rt import __version__
from deepprivacy_rt.audit.examples import SIDE
from deepprivacy_rt.audit.html import STYLE, gallery, picture_data, table
from deepprivacy_rt.audit.records import Example
from deepprivacy_rt.audit.sheet import caption, worst
from deepprivacy_rt.evaluation.copies import FLOORS, GENERATED, TREATMENTS
from deepprivacy_rt.evaluation.diversity import Variants
from deepprivacy_rt.evaluation.evaluate import Evaluation
from deepprivacy_rt.evaluation.report import (
    GROUP_HEAD,
    HEAD,
    SPREAD_HEAD,
    STRANGER_HEAD,
    group_rows,
    input_rows,
    main_rows,
    spread_rows,
    stranger_rows,
)
from deepprivacy_rt.types import Image

_MOST = 24
_INPUT_HEAD = ("measure", "generated", "95 % interval", *FLOORS, "over")


def html_page(evaluation: Evaluation, title: str) -> str:
    """Return the page. It loads nothing from anywhere. :param title: what was evaluated."""
    results = evaluation.results
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>",
        f"<style>{STYLE}figcaption {{ max-width: 640px }}</style><h1>Evaluation: {escape(title)}</h1>",
        "<p class=private>This report shows original faces. Keep it as private as the originals.</p>",
        *(f"<p class=doubt>{escape(line)}</p>" for line in results.doubts),
        f"<p>{results.files} files, {results.frames} frames looked at, {results.faces} faces of 48 px or more on "
        f"{results.tracks} tracks; deepprivacy-rt {__version__}. Same person: similarity above "
        f"{results.threshold.value:.3f} ({escape(results.threshold.origin)}).</p>",
        table(HEAD, main_rows(results)),
        "<p>Intervals draw tracks again. The distances to held-out faces are on a recogniser's embeddings: they are "
        "not FID and KID. What each number means: docs/evaluate.md.</p>",
    ]
    for name, values in results.by_input.items():
        parts += [f"<h2>{escape(name)}</h2>", table(_INPUT_HEAD, input_rows(values))]
    for column, groups in results.by_group.items():
        parts += [f"<h2>Generated faces by {escape(column)}</h2>", table(GROUP_HEAD, group_rows(groups))]
    if results.spreads:
        parts += ["<h2>Worst against best group</h2>", table(SPREAD_HEAD, spread_rows(results))]
    if results.strangers:
        parts += ["<h2>Real other people of the same group</h2>", table(STRANGER_HEAD, stranger_rows(results))]
    parts += _side_by_side(evaluation)
    audits = [run.audit for run in evaluation.runs[GENERATED]]
    for why in ("exposed", "most similar", "no face found"):
        parts += gallery(f"{why} (original, generated)", worst(audits, why, _MOST))
    variants = evaluation.variants.get(GENERATED)
    if variants is not None:
        parts += _identities(variants)
    return "\n".join(parts) + "\n</html>\n"


def _side_by_side(evaluation: Evaluation) -> list[str]:
    """Return ordinary faces under all treatments: the books of examples choose the same places in every copy."""
    first = {treatment: [run for run in runs if run.draw == 0] for treatment, runs in evaluation.runs.items()}
    pictures = {
        treatment: {_place(run.audit.name, one): one.picture for run in runs for one in _ordinary(run.audit.examples)}
        for treatment, runs in first.items()
    }
    chosen = worst([run.audit for run in first[GENERATED]], "ordinary", _MOST)
    parts = [f"<h2>Ordinary faces: original, {', '.join(TREATMENTS)} (original: encoded again)</h2>"]
    for name, example in chosen:
        place = _place(name, example)
        row = [example.picture[:, :SIDE]]
        row += [pictures[treatment][place][:, SIDE:] for treatment in TREATMENTS if place in pictures[treatment]]
        parts.append(_figure(np.concatenate(row, axis=1), f"{name} {caption(example.record)}"))
    return parts


def _ordinary(examples: list[Example]) -> list[Example]:
    return [example for example in examples if example.why == "ordinary"]


def _place(name: str, example: Example) -> tuple[str, int, int]:
    return name, example.record.frame, example.record.track


def _identities(variants: Variants) -> list[str]:
    parts = ["<h2>Other latents in the same context (original at the left)</h2>"]
    for name, pictures in zip(variants.names, variants.pictures, strict=True):
        row = [pictures[0][:, :SIDE], *(picture[:, SIDE:] for picture in pictures)]
        parts.append(_figure(np.concatenate(row, axis=1), name))
    return parts


def _figure(picture: Image, text: str) -> str:
    image = f'<img alt="original face and its copies" src="{picture_data(picture)}">'
    return f"<figure>{image}<figcaption>{escape(text)}</figcaption></figure>"
