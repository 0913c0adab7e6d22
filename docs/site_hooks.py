"""What the site shows beside docs/, so that every page stands once and every link works on GitHub and on the site.

The home page opens as the README does; the quick start is two of its sections; research/docs and README.ko.md are pages
as they are. Files that a page links to become pages too, source code among them.
"""

import ast
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks.site")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK_START = ("Install", "First ten minutes", "Your data, a real model")
"""Sections of the README."""
QUICK_START_ANCHORS = {"#" + re.sub(r"[^\w ]", "", name).lower().replace(" ", "-") for name in QUICK_START}
LINK = re.compile(r"\[([^\[\]]*(?:\[[^\]]*\])?[^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json"}


def on_config(config: MkDocsConfig) -> None:
    """Formulas as MathML, which browsers draw without a script."""
    fence = {"name": "math", "class": "math", "format": _as_mathml}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds what lies outside docs/."""
    files.append(File.generated(config, "quick-start.md", content=_quick_start()))
    research = [path for path in (ROOT / "research/docs").rglob("*") if path.suffix in (".md", ".svg", ".png")]
    for path in (*research, ROOT / "README.ko.md"):
        place = path.relative_to(ROOT).as_posix()
        if place not in files.src_uris:
            files.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
    for page in list(files.documentation_pages()):
        for target in (_repository_path(page.src_uri, link[2]) for link in LINK.finditer(page.content_string)):
            place = _site_path(target)
            if (ROOT / target).is_file() and place not in files.src_uris:
                files.append(File.generated(config, place, content=_source_page(target)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links lead to pages of the site; a link to a folder of the repository is its text alone."""
    here = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        text, target, anchor = match[1], _repository_path(here, match[2]), match[3] or ""
        if re.match(r"\w+:", match[2]) or not (ROOT / target).exists():
            return match[0]
        if (ROOT / target).is_dir():
            return text
        quick = target == "README.md" and anchor in QUICK_START_ANCHORS
        place = "quick-start.md" if quick else _site_path(target)
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    markdown = LINK.sub(led, markdown)
    if here == "README.md":
        opening = README.split("\n## ")[0]
        opening = re.sub(r"^\[한국어\].*\n", "", opening, flags=re.MULTILINE)
        markdown = markdown.replace("# Documentation", opening.replace("](docs/", "](") + "\n## Pages", 1)
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warns of what a face of the package exports and its page of the reference does not show."""
    if page.file.src_uri.startswith("reference/"):
        face = Path(page.file.src_uri).stem
        for name in _exported(ROOT / "src/weighted_mtp" / face):
            if f'id="weighted_mtp.{face}.{name}"' not in html:
                logger.warning("%s does not show %s", page.file.src_uri, name)


def _exported(face: Path) -> list[str]:
    file = next(file for file in (face / "__init__.pyi", face / "__init__.py") if file.exists())
    lists = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)]
    return [
        name for node in lists if ast.unparse(node.targets[0]) == "__all__" for name in ast.literal_eval(node.value)
    ]


def _quick_start() -> str:
    sections = dict(section.split("\n", 1) for section in README.split("\n## ")[1:])
    return "# Quick start\n" + "".join(f"\n## {name}\n{sections[name]}" for name in QUICK_START)


def _repository_path(page: str, target: str) -> str:
    """What a link of a page of the site means in the repository."""
    outside = page == "quick-start.md" or page.startswith(("research/", "source/", "README.ko"))
    folder = posixpath.dirname(page) if outside else posixpath.join("docs", posixpath.dirname(page))
    return posixpath.normpath(posixpath.join(folder, target))


def _site_path(target: str) -> str:
    """Where a file of the repository stands on the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    pages = target.startswith("research/docs/") or target in ("README.md", "README.ko.md")
    return target if pages else f"source/{target}.md"


def _source_page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch: {{exclude: true}}\n---\n# `{path}`\n\n````{language}\n{text}\n````\n"


def _as_mathml(source: str, *_: Any, **__: Any) -> str:
    return f"<p>{convert(source, display='block')}</p>"
