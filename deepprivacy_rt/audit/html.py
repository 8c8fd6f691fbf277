"""The report as one HTML file, pictures included. Private: it shows original faces."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

import cv2
import numpy as np

from deepprivacy_rt import __version__
from deepprivacy_rt.audit.records import Example, FileAudit
from deepprivacy_rt.audit.sheet import REASONS, caption, worst
from deepprivacy_rt.audit.summary import BINS, LARGE, Summary
from deepprivacy_rt.audit.text import rows
from deepprivacy_rt.types import Image

_MOST = 24
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: left }
.private { background: #b00; color: #fff; padding: .5em 1em } .doubt { background: #fe9; padding: .5em 1em }
figure { display: inline-block; margin: 4px; font-size: 11px } figcaption { max-width: 256px; overflow-wrap: anywhere }
"""


def html_report(summary: Summary, audits: Sequence[FileAudit]) -> str:
    """Return the page. It loads nothing from anywhere."""
    verdict = "no exposed face of 48 px or more" if summary.passed else "NOT PASSED: see below"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Anonymization audit</title>",
        f"<style>{STYLE}</style><h1>Anonymization audit: {verdict}</h1>",
        "<p class=private>This report shows original faces. Keep it as private as the originals.</p>",
        *(f"<p class=doubt>{escape(line)}</p>" for line in summary.doubts),
        f"<p>{summary.files} files, {summary.frames} frames looked at; deepprivacy-rt {__version__}.</p>",
        table(("measured", "value", "95 % interval and counts"), rows(summary)),
        "<p>Pixels outside of the faces (hair, clothes, places, voices) still identify people; nothing here measures "
        "that. A recogniser that fails does not prove that no other one succeeds.</p>",
        "<h2>Files</h2>",
        table(
            ("file", "frames", *(f"exposed / faces {name}" for name, _, _ in BINS), "no face found"), _file_rows(audits)
        ),
    ]
    for why in REASONS:
        parts += gallery(why, worst(audits, why, _MOST))
    return "\n".join(parts) + "\n</html>\n"


def _file_rows(audits: Sequence[FileAudit]) -> Iterator[tuple[str, ...]]:
    for audit in audits:
        cells = [audit.name, str(audit.frames)]
        for _, low, high in BINS:
            part = [record for record in audit.faces if low <= record.face.size < high]
            cells.append(f"{sum(record.exposed for record in part)} / {len(part)}")
        lost = sum(not record.kept for record in audit.faces if record.face.size >= LARGE)
        yield (*cells, str(lost))


def gallery(why: str, chosen: Sequence[tuple[str, Example]]) -> list[str]:
    """Return a headline and the pairs of pictures under it. :param chosen: see ``sheet.worst``."""
    figures = [
        f'<figure><img alt="original and anonymized face" src="{picture_data(example.picture)}">'
        f"<figcaption>{escape(name)}<br>{escape(caption(example.record))}</figcaption></figure>"
        for name, example in chosen
    ]
    return [f"<h2>{escape(why.capitalize())}</h2>", *(figures or ["<p>none</p>"])]


def table(head: Sequence[str], body: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> str:
    """Return a table; all cells are escaped."""
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{first}</tr>{rest}</table>"


def picture_data(picture: Image) -> str:
    """Return an RGB picture as the address of an <img>: the page loads nothing from anywhere."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
