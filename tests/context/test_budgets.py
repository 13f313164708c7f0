"""Answers within the budget that the caller names, page by page."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.context.answers import ArtifactInfo, ArtifactText
from satchel.context.artifacts import artifact_answer, outline_answer
from satchel.context.budget import tokens_in, written
from satchel.context.describe import Base, context_answer
from satchel.context.limits import MIN_CONTEXT_BUDGET, MIN_CONTEXT_TOKENS
from satchel.context.part import History, Part, Past
from satchel.errors import InvalidInput, NoSuchSection
from satchel.objects.ids import Digest, object_id
from tests.search.trees import digest_of, index_of

INFO: ArtifactInfo = {
    "path": "a.md",
    "kind": "note",
    "title": "A",
    "object": "0" * 64,
    "size": 1,
    "mode": "100644",
    "version": None,
    "author": None,
    "authorKind": None,
    "modified": None,
    "reviewed": False,
}
MANIFEST = json.dumps({"description": "x" * 3_000, "relations": [{"type": "part-of", "project": "y"}]})
FILES = {"context.json": MANIFEST} | {f"{n:02}.md": f"# {n}\n\n- [ ] task {n} {'w' * 90}\n" for n in range(40)}


def read(text: str, cursor: str | None = None, budget: int = 40_000, tokens: int | None = None) -> ArtifactText:
    return artifact_answer("p", Digest("d"), INFO, text.encode(), cursor=cursor, budget=budget, tokens=tokens)


@settings(max_examples=60)
@given(st.text(alphabet="ab\n\ré港", max_size=80), st.integers(1, 20), st.integers(1, 9))
def test_every_character_comes_once_on_some_page(text: str, budget: int, tokens: int) -> None:
    cursor: str | None = None
    pages: list[str] = []
    while True:
        answer = read(text, cursor, budget, tokens)
        assert answer["text"] is not None
        assert len(answer["text"]) <= budget
        assert answer["tokens"] == tokens_in(answer["text"]) <= tokens
        assert answer["truncated"] == (answer["next"] is not None)
        pages.append(answer["text"])
        cursor = answer["next"]
        if cursor is None:
            break
        assert answer["text"]
    assert "".join(pages) == text


@pytest.mark.parametrize("other", [b"ab\nxy\n", b"ab\n", b"\0"])
def test_no_text_is_put_together_of_what_a_path_held_before_and_after_a_change(other: bytes) -> None:
    page = read("ab\ncd\n", budget=3)
    assert read("ab\ncd\n", page["next"])["text"] == "cd\n"
    with pytest.raises(InvalidInput, match="changed") as refused:
        artifact_answer("p", Digest("d"), {**INFO, "object": "1" * 64}, other, cursor=page["next"])
    assert "from the beginning" in refused.value.hint
    assert read("ab\ncd\n", "2:0")["text"] == "cd\n"  # as cursors were before


@pytest.mark.parametrize("cursor", ["", "x", "1", "0:0", "3:0", "1:9", "-1:0", "1:-1", "²:0", "9" * 30 + ":0", "1:0:0"])
def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        read("ab\ncd\n", cursor)
    if cursor != "1":
        with pytest.raises(InvalidInput):
            outline_answer("p", Digest("d"), INFO, b"# a\n# b\n", cursor=cursor)


def test_a_section_is_read_alone_and_one_that_is_none_is_named() -> None:
    data = b"# A\n\nx\n\n## B\n\ny\n\n# C\n"
    answer = artifact_answer("p", Digest("d"), INFO, data, section="b")
    assert (answer["text"], answer["lines"], answer["section"]) == ("## B\n\ny\n", [5, 7], ["A", "B"])
    with pytest.raises(NoSuchSection, match="no section 'D'") as caught:
        artifact_answer("p", Digest("d"), INFO, data, section="D")
    assert "'A', 'B', 'C'" in caught.value.hint
    with pytest.raises(InvalidInput):
        artifact_answer("p", Digest("d"), INFO, data, section="A", first=2)


def test_an_outline_comes_in_pages() -> None:
    data = "".join(f"# {number}\n" for number in range(5)).encode()
    first = outline_answer("p", Digest("d"), INFO, data, limit=3)
    rest = outline_answer("p", Digest("d"), INFO, data, limit=3, cursor=first["next"])
    assert [row["title"] for row in first["items"] + rest["items"]] == ["0", "1", "2", "3", "4"]
    assert (first["total"], rest["next"]) == (5, None)


def test_the_description_of_a_project_fits_the_budget_and_says_what_it_left_out() -> None:
    part = Part("x", index_of(FILES), digest_of(FILES), None)
    whole = context_answer(part, "prj_x", None, MANIFEST.encode(), conflicts=["a.md"])
    assert whole["truncated"] == []
    assert (len(whole["tasks"]), whole["openTasks"], whole["conflicts"]) == (10, 40, ["a.md"])
    assert whole["relations"] == [{"type": "part-of", "project": "y"}]
    for budget in range(MIN_CONTEXT_BUDGET, 9_000, 700):
        answer = context_answer(part, "prj_x", None, MANIFEST.encode(), conflicts=["a.md"], budget=budget)
        assert len(written(answer)) <= budget
        assert bool(answer["truncated"]) == (answer != whole)
    for tokens in (MIN_CONTEXT_TOKENS, 700, 1_500):
        answer = context_answer(part, "prj_x", None, MANIFEST.encode(), tokens=tokens)
        assert answer["tokens"] <= tokens
    for wrong in (0, -1, MIN_CONTEXT_BUDGET - 1, 1_000_001):
        with pytest.raises(InvalidInput):
            context_answer(part, "prj_x", None, None, budget=wrong)


def test_the_last_sync_says_what_differs_since() -> None:
    files = {"a.md": "one", "b.md": "new", "c.md": "same"}
    before = {"a.md": "old", "c.md": "same", "gone.md": "x"}
    pasts = {path: Past(object_id(text.encode()), 3, "sam", 1_000) for path, text in before.items()}
    history = History(lambda paths: {path: pasts[path] for path in paths if path in pasts}, lambda: pasts)
    part = Part("x", index_of(files), digest_of(files), None, history)
    answer = context_answer(part, "prj_x", None, None, base=Base(3, digest_of(before)))
    assert answer["lastSync"] == {
        "version": 3,
        "digest": digest_of(before),
        "modified": "1970-01-01T00:00:01.000Z",
        "changedSince": 3,
    }
    assert answer["history"] == "partial"
    assert [(item["path"], item["version"]) for item in answer["recent"]] == [
        ("a.md", None),
        ("b.md", None),
        ("c.md", 3),
    ]
