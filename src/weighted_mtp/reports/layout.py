"""What the report pages share: one self-contained HTML file, its sections, pictures, tables, facts, and a server."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from weighted_mtp.reports.svg import inline_svg
from weighted_mtp.reports.token_view import TokenView, check_token_view, token_view

LOOPBACK = "127.0.0.1"


def asset(name: str) -> str:
    """A file of this folder, as text."""
    return files("weighted_mtp.reports").joinpath(name).read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every page has: its words are text, and escaped."""

    title: str
    lead: str  # one paragraph
    examples: Sequence[TokenView] = ()  # completions with what is known of each token
    facts: Sequence[tuple[str, str]] = ()  # provenance, as (name, value): date, versions, hardware, time

    def __post_init__(self) -> None:
        for view in self.examples:
            check_token_view(view)


def document(page: Page, sections: Sequence[str]) -> str:
    """The page as text; empty sections are left out."""
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(asset("page.html")).substitute(
        title=escape(page.title),
        lead=escape(page.lead),
        style=asset("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        body="\n".join(part for part in sections if part),
        footer=_footer(page.facts),
    )


def section(name: str, heading: str, body: str) -> str:
    """A part of the page under its own heading; `body` is HTML."""
    title = f'<h2 id="{name}-h">{heading}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-h">{title}\n{body}\n</section>'


def picture(name: str, draw: Callable[[bool], Figure], description: str, caption: str) -> str:
    """A figure in its wide and its narrow layout (`draw` is told which); the page shows the one that fits. A screen
    reader says `description`, text; `caption` is HTML."""
    layouts = "".join(
        f'<div class="{layout}" role="img" aria-label="{escape(description)}">'
        f"{inline_svg(draw(layout == 'wide'), f'{name}-{layout}')}</div>"
        for layout in ("wide", "narrow")
    )
    return f"<figure>{layouts}<figcaption>{caption}</figcaption></figure>"


def tokens_section(views: Sequence[TokenView], noun: str = "arm", more: str = "") -> str:
    """The token view of completions, at least one; `noun` is what their `arm` is to the reader, `more` a sentence."""
    lead = f"<p>Hover or focus a token, or tap it, for its numbers. {escape(more)}</p>"
    return section("tokens", "Token by token", lead + token_view(views, noun))


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of text; the first cell of a row is its heading, on a phone above the others."""
    return table(headings, [("", rows)], caption, f' class="text" style="--columns: {len(headings) - 1}"')


def table(
    headings: Sequence[str], groups: Sequence[tuple[str, Sequence[Sequence[str]]]], caption: str, look: str = ""
) -> str:
    """Rows of text below the heading of their group, if it has one, escaped; `look` are attributes. What follows a line
    break in a cell is said quietly beside it."""
    head = "".join(f'<th role="columnheader" scope="col">{escape(text)}</th>' for text in headings)
    bodies = ""
    for group, rows in groups:
        body = ""
        if group:
            named = f'<th role="rowheader" scope="rowgroup" colspan="{len(headings)}">{escape(group)}</th>'
            body = f'<tr role="row" class="group">{named}</tr>'
        for first, *others in rows:
            cells = "".join(f'<td role="cell">{_quiet_lines(text)}</td>' for text in others)
            body += f'<tr role="row"><th role="rowheader" scope="row">{_quiet_lines(first)}</th>{cells}</tr>'
        bodies += f'<tbody role="rowgroup">{body}</tbody>'
    return (
        f'<table role="table"{look}><caption>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>{bodies}</table>'
    )


def _quiet_lines(text: str) -> str:
    first, *others = escape(text).split("\n")
    return " ".join([first, *(f"<small>{other}</small>" for other in others)])


def _footer(facts: Sequence[tuple[str, str]]) -> str:
    if not facts:
        return ""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<footer><h2>How this was made</h2><dl class="facts">{entries}</dl></footer>'


def page_server(page: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that answers GET of `/` and of the page's name with the page, and nothing else; port 0
    takes a free one (`server_port`). The file is read for each request. A request that names another host is refused: a
    foreign page could else read this one under its own name (DNS rebinding). ValueError: the port cannot be had."""
    paths = {"/", f"/{page.name}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").partition(":")[0] not in (LOOPBACK, "localhost"):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            elif self.path not in paths:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                content = page.read_bytes()
                self.send_response(HTTPStatus.OK)
                headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise ValueError(f"port {port} cannot be had ({error.strerror}): leave --port out for a free one") from None
