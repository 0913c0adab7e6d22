"""What the report pages share: one self-contained HTML file, its sections, pictures, tables and facts."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from weighted_mtp.files import write_text
from weighted_mtp.reports.assets import asset
from weighted_mtp.reports.svg import inline_svg


def document(*, title: str, lead: str, sections: Sequence[str], facts: Sequence[tuple[str, str]]) -> str:
    """The page as text; `title`, `lead` and `facts` are escaped, empty sections are left out."""
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(asset("page.html")).substitute(
        title=escape(title),
        lead=escape(lead),
        style=asset("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        body="\n".join(part for part in sections if part),
        footer=_footer(facts),
    )


def save(path: str | Path, page: str) -> Path:
    """Write `page` to `path`, making missing folders; returns the path."""
    path = Path(path)
    write_text(path, page)
    return path


def section(name: str, heading: str, body: str) -> str:
    """A part of the page under its own heading; `body` is HTML."""
    title = f'<h2 id="{name}-h">{heading}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-h">{title}\n{body}\n</section>'


def headline_section(claim: str, numbers: Sequence[tuple[str, str, str]], more: Sequence[str]) -> str:
    """The page's first sentences.

    Args:
        claim: one sentence.
        numbers: CSS class, name and percentage of what stands below it in large type.
        more: sentences that say how sure the claim is.
    """
    entries = "".join(
        f'<div class="{role}"><dt>{escape(name)}</dt><dd>{value}<small> %</small></dd></div>'
        for role, name, value in numbers
    )
    return (
        f'<section class="headline" aria-label="Result"><p class="claim">{escape(claim)}</p>\n'
        f'<dl class="numbers">{entries}</dl>\n'
        f'<p class="more">{" ".join(escape(sentence) for sentence in more)}</p></section>'
    )


def notes_section(notes: Sequence[str]) -> str:
    """Sentences that a reader should know before believing the numbers."""
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section("notes", "Worth knowing", f'<ul class="notes">{items}</ul>')


def picture(name: str, draw: Callable[[bool], Figure], description: str, caption: str) -> str:
    """A figure in its wide and its narrow layout; the page shows the one that fits.

    Args:
        name: put before its ids; a different one for each picture of the page.
        draw: the figure, from whether it is to be wide.
        description: what a screen reader says; escaped.
        caption: HTML.
    """
    layouts = "".join(
        f'<div class="{layout}" role="img" aria-label="{escape(description)}">'
        f"{inline_svg(draw(layout == 'wide'), f'{name}-{layout}')}</div>"
        for layout in ("wide", "narrow")
    )
    return f"<figure>{layouts}<figcaption>{caption}</figcaption></figure>"


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of text, escaped; the first cell of a row is its heading, on a phone above the others.

    What follows a line break in a cell is said quietly below it.
    """
    head = "".join(f'<th role="columnheader" scope="col">{escape(text)}</th>' for text in headings)
    body = ""
    for first, *others in rows:
        cells = "".join(f'<td role="cell">{_quiet_second_line(text)}</td>' for text in others)
        body += f'<tr role="row"><th role="rowheader" scope="row">{_quiet_second_line(first)}</th>{cells}</tr>'
    return (
        f'<table role="table" class="text" style="--columns: {len(headings) - 1}"><caption>{escape(caption)}'
        f'</caption><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _quiet_second_line(text: str) -> str:
    first, _, second = escape(text).partition("\n")
    return f"{first} <small>{second}</small>" if second else first


def folded(summary: str, body: str) -> str:
    """HTML that is shown on demand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _footer(facts: Sequence[tuple[str, str]]) -> str:
    if not facts:
        return ""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<footer><h2>How this was made</h2><dl class="facts">{entries}</dl></footer>'
