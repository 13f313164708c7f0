"""Hooks of MkDocs (``mkdocs.yml`` names this file): what the site has beside the pages of ``docs/``.

The pages are written for the plain view of the repository too. So a link that leaves ``docs/`` is turned here into the
page that the site has of that file, or else into the file's path as code. Pages that would repeat what is elsewhere are
made when the site is built, and are no files: the changelog, how to contribute, how to report, and the whole HTTP API.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # MkDocs loads hooks by their path

from scripts import apidoc, changelog  # noqa: E402 (the path above comes first)

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

API = "reference/api"
FROM_ROOT = {"CONTRIBUTING.md": "project/contributing.md", "SECURITY.md": "project/security.md"}
CHANGELOG = "project/changelog.md"
WIDE = ("reference/settings.md", "reference/rest.md", "reference/metrics.md")
"""Pages whose tables get the room of the table of contents."""
PIECE = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$"  # a block of code,
    r"|`[^`\n]+`"  # some words of code,
    r"|(?<!!)\[(?P<text>(?:`[^`\n]*`|[^\[\]`\n]|\[[^\]\n]*\])*)\]\((?P<target>[^)\s]+)\)",  # or a link
    re.MULTILINE | re.DOTALL,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API where the navigation names them."""
    described = json.loads((Path(config.docs_dir) / "reference" / "openapi.json").read_text(encoding="utf-8"))
    _fill(config.nav, described)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    from mkdocs.structure.files import File

    described = json.loads((Path(config.docs_dir) / "reference" / "openapi.json").read_text(encoding="utf-8"))
    made = {f"{API}/{name}.md": text for name, text in apidoc.pages(described).items()}
    for source, page in FROM_ROOT.items():
        made[page] = turned((ROOT / source).read_text(encoding="utf-8"), source, page)
    made[CHANGELOG] = turned(_changelog(), "CHANGELOG.md", CHANGELOG)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page of ``docs/`` that lead out of it."""
    if page.file.generated_by is not None:
        return markdown
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    return turned(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def turned(markdown: str, source: str, page: str) -> str:
    """The text of the file ``source`` (from the root of the repository) as the site's ``page``, its links turned."""

    def link(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        if target is None or re.match(r"[a-z]+:|#", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        file = normpath(f"{dirname(source)}/{path}".lstrip("/"))
        place = FROM_ROOT.get(file) or (CHANGELOG if file in ("CHANGELOG.md", "changelog.d/README.md") else None)
        if place is None and file.startswith("docs/") and (ROOT / file).is_file():
            place = file.removeprefix("docs/")
        if place is None:
            return f"`{file}`" if file.endswith(text.strip("`")) else f"{text} (`{file}`)"
        return f"[{text}]({relpath(place, dirname(page) or '.')}{hash_}{anchor})"

    return PIECE.sub(link, markdown)


def _changelog() -> str:
    page = ROOT / "CHANGELOG.md"
    released = page.read_text(encoding="utf-8").removeprefix(changelog.HEAD) if page.exists() else ""
    waiting = changelog.section(ROOT, "Unreleased") if any(changelog.fragments(ROOT).values()) else ""
    return f"{changelog.HEAD}\n{waiting}{released}"


def _fill(items: list[Any] | None, described: dict[str, Any]) -> None:
    for item in items or ():
        for title, below in item.items() if isinstance(item, dict) else ():
            if isinstance(below, list):
                _fill(below, described)
            elif below == API:
                item[title] = [f"{API}/{name}.md" for name in apidoc.pages(described)]
