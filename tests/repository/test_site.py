"""The documentation site: built without a warning, whole, from this host alone, and looked at in a browser."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from satchel.cli.verbs import VERBS
from scripts import apidoc, docsite
from tests.browser import Chromium, chromium

__all__ = ["chromium"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)", re.IGNORECASE)
CONTRAST = """
const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const parse = s => s.match(/[0-9.]+/g).map(Number);
const over = (c, under) => c.length < 4 ? c : under.map((u, i) => c[i] * c[3] + u * (1 - c[3]));
const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] === 1) return c.slice(0, 3) } return [255, 255, 255] };
return arguments[0].map(selector => { const e = document.querySelector(selector), under = ground(e);
  const text = over(parse(getComputedStyle(e).color), under), [a, b] = [light(text), light(under)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) });
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return place


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: what a test prints is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_the_site_has_every_page_and_loads_nothing_from_another_host(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if ".satchel" not in path.parts}
    assert {page.replace("README.md", "index.md") for page in written} <= pages
    for path in site.rglob("*.html"):
        elsewhere = [at for at in LOADED.findall(path.read_text(encoding="utf-8")) if re.match(r"(?:https?:)?//", at)]
        assert elsewhere == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_links_that_leave_the_docs_lead_to_a_page_of_the_site_or_are_paths() -> None:
    text = (
        "[How](../../CONTRIBUTING.md#tests), [`tests/browser.py`](../../tests/browser.py), "
        "[a lock](../../requirements/base.txt), [news](../../changelog.d/README.md), "
        "[sync](../guide/sync.md#undo), [out](https://example.org), `[x](../../Makefile)`\n"
        "```md\n[x](../../Makefile)\n```\n"
    )
    assert docsite.turned(text, "docs/guide/a.md", "guide/a.md") == (
        "[How](../project/contributing.md#tests), `tests/browser.py`, a lock (`requirements/base.txt`), "
        "[news](../project/changelog.md), [sync](sync.md#undo), [out](https://example.org), `[x](../../Makefile)`\n"
        "```md\n[x](../../Makefile)\n```\n"
    )


def test_the_whole_http_api_is_on_the_site(site: Path) -> None:
    described = json.loads((DOCS / "reference" / "openapi.json").read_text(encoding="utf-8"))
    shown = "".join(
        unescape(re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8")))
        for path in (site / "reference" / "api").glob("*.html")
    )
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in shown
            assert operation["summary"].replace("`", "") in shown
    shapes = (site / "reference" / "api" / "shapes.html").read_text(encoding="utf-8")
    for name in described["components"]["schemas"]:
        assert f'id="{name.lower()}"' in shapes
    assert set(apidoc.pages(described)) == {path.stem for path in (site / "reference" / "api").glob("*.html")}


def test_the_drawing_of_the_rooms_shows_the_floors_that_the_contract_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [floors] = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    drawing = ET.parse(DOCS / "explanation" / "rooms.svg")
    named = [
        (float(text.attrib["y"]), text.text or "")
        for text in drawing.iter("{http://www.w3.org/2000/svg}text")
        if text.attrib.get("class") == "t c"
    ]
    drawn = [{name for at, name in named if at == y} for y in sorted({y for y, _ in named})]
    assert drawn == [{room.strip() for room in floor.split("|")} for floor in floors]


@pytest.mark.parametrize("drawing", sorted((DOCS / "explanation").glob("*.svg")), ids=lambda path: path.name)
def test_a_drawing_says_in_words_what_it_shows(drawing: Path) -> None:
    root = ET.parse(drawing).getroot()
    for name in ("title", "desc"):
        assert len(root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") or "") > 10


def test_every_verb_that_a_page_names_exists() -> None:
    for page in [*DOCS.glob("*.md"), *(DOCS / "guide").rglob("*.md"), *(DOCS / "explanation").glob("*.md")]:
        named = set(re.findall(r"(?:^|`|\$ )satchel ([a-z]+)\b", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= set(VERBS), f"{page.name} names {named - set(VERBS)}"


@pytest.mark.system("chromium", "chromedriver")
def test_pages_are_readable_light_and_dark_wide_and_narrow(chromium: Chromium, address: str) -> None:
    for name in ("explanation/architecture", "reference/api/reading"):
        for dark, width in ((False, 1280), (True, 1280), (False, 390), (True, 390)):
            chromium.look(dark=dark, width=width)
            chromium.go(f"{address}/{name}.html")
            where = f"{name}, {'dark' if dark else 'light'}, {width} wide"
            assert chromium.attribute("body", "data-md-color-scheme") == ("slate" if dark else "default"), where
            assert chromium.run("return document.documentElement.scrollWidth <= innerWidth"), where
            ratios = chromium.run(
                CONTRAST, ["article h1", "article p, article td", "article a:not(.headerlink)", ".md-header"]
            )
            assert min(ratios) >= 4.5, f"{where}: {ratios}"
            script = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)"
            assert set(chromium.run(script)) == {address}, where
            folder = os.environ.get("SCREENSHOTS")
            if folder:
                shade = "dark" if dark else "light"
                chromium.screenshot(Path(folder) / f"site-{name.replace('/', '-')}-{shade}-{width}.png")


@pytest.mark.system("chromium", "chromedriver")
def test_the_search_of_the_site_finds_a_page(chromium: Chromium, address: str) -> None:
    chromium.look(width=1280)
    chromium.go(f"{address}/index.html?q=lineage")
    chromium.wait(".md-search-result__meta", "matching")
    chromium.wait(".md-search-result__item a[href*='glossary'], .md-search-result__item a[href*='sync']")
