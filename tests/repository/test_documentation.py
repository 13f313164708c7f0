"""The pages for people: the README's first screen, links that lead somewhere, decisions that are listed, the ledger."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from satchel.cli.verbs import VERBS
from scripts import promises

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")]
    if ".satchel" not in path.parts
)
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """The relative link targets of a page, outside code."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    return [target for target in LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The heading anchors of a page, as the usual renderers make them."""
    headings = re.findall(r"^#+\s+(.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_the_readme_fits_150_lines_and_its_first_screen_says_how_to_try_and_test() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first_screen = "\n".join(lines[:24])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{page.name} links to {link}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name} links to {link}"


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z-]*[a-z])", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, f"{page.relative_to(ROOT)} names {named - targets}"


def test_every_verb_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)satchel ([a-z]+)", text, re.MULTILINE)) <= set(VERBS)


def test_every_action_that_a_server_writes_into_an_audit_is_on_its_page() -> None:
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/guide/audit.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = set()
    for names in table:
        before = ""
        for name in re.findall(r"`([a-z_.…]+)`", names):
            before = name.partition(".")[0] if not name.startswith(".") else before
            told.add(before + name if name.startswith(".") else name)
    written = {
        each.value
        for page in (ROOT / "src/satchel/server").rglob("*.py")
        for call in ast.walk(ast.parse(page.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")).endswith("record")
        for each in call.args
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value
    }
    assert len(written) > 20
    assert {name for name in written if name not in told and not name.startswith("tenant.")} == set()


def test_every_decision_is_listed_in_the_index() -> None:
    listed = {target for target in links(ROOT / "docs" / "adr" / "README.md") if re.match(r"\d", target)}
    assert listed == {page.name for page in DECISIONS}
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == sorted(set(numbers)), "two decisions have one number"


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_follows_the_template_and_stays_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}. ")
    assert re.search(r"^Status: (proposed|accepted|superseded by \[\d{4}\]\(.+\))$", text, re.MULTILINE)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]
    assert len(text.splitlines()) <= 60


def test_a_changelog_fragment_begins_with_one_sentence_for_users() -> None:
    for fragment in (ROOT / "changelog.d").glob("*.md"):
        if fragment.name == "README.md":
            continue
        assert re.fullmatch(r"(added|changed|fixed|removed|security)-[a-z0-9-]+\.md", fragment.name)
        first = fragment.read_text(encoding="utf-8").splitlines()[0]
        assert first.endswith((".", ":")), f"{fragment.name} begins with a sentence"
        assert len(first) <= 140, f"{fragment.name} begins with a short sentence"
        assert not first.startswith("#")


@cache
def _citations() -> list[promises.Citation]:
    return list(promises.citations())


def test_every_marker_names_a_promise_or_journey_that_exists() -> None:
    assert promises.unknown(_citations()) == []


def test_the_ledger_is_up_to_date() -> None:
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(_citations()), (
        "run: .venv/bin/python scripts/promises.py"
    )


def test_the_ledger_reads_markers_of_functions_classes_and_modules(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        "pytestmark = [pytest.mark.system, pytest.mark.promise('P4')]\n"
        "@pytest.mark.promise('P3', 'P6')\ndef test_bytes_survive(): ...\n"
        "@pytest.mark.journey(2)\nclass TestX: ...\n"
        "@pytest.mark.promise('P12')\nasync def test_nothing(): ...\n"
    )
    found = list(promises.citations(tmp_path / "tests"))
    assert {(cited.marker, cited.id, cited.test) for cited in found} == {
        ("promise", "P4", ""),
        ("promise", "P3", "test_bytes_survive"),
        ("promise", "P6", "test_bytes_survive"),
        ("journey", "2", "TestX"),
        ("promise", "P12", "test_nothing"),
    }
    assert [cited.id for cited in promises.unknown(found)] == ["P12"]
    assert "- bytes survive ([tests/test_x.py](../tests/test_x.py))" in promises.page(found)
