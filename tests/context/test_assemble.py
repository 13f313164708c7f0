from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.context.answers import ArtifactInfo, ArtifactText
from satchel.context.artifacts import artifact_answer, artifact_list
from satchel.context.assemble import chosen, related, search_answer, understood
from satchel.context.describe import context_answer, task_list
from satchel.context.part import History, Moved, Part, Past, rfc3339
from satchel.errors import InvalidInput
from satchel.objects.ids import Digest, object_id
from tests.search.trees import Files, bring, digest_of, index_of

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


def read(data: bytes, first: int = 1, last: int | None = None, budget: int = 40_000) -> ArtifactText:
    return artifact_answer("p", Digest("d"), INFO, data, first=first, last=last, budget=budget)


def shown(answer: ArtifactText) -> tuple[str | None, list[int] | None, int | None, bool]:
    return answer["text"], answer["lines"], answer["totalLines"], answer["truncated"]


def part(project: str, files: Files) -> Part:
    return Part(project, index_of(files), digest_of(files), None)


@pytest.mark.parametrize(
    ("data", "first", "last", "budget", "expected"),
    [
        (b"a\nb\nc\n", 1, None, 99, ("a\nb\nc\n", [1, 3], 3, False)),
        (b"a\nb\nc", 2, None, 99, ("b\nc", [2, 3], 3, False)),
        (b"a\nb\nc\n", 2, 2, 99, ("b\n", [2, 2], 3, False)),
        (b"a\nb\nc\n", 1, 9, 99, ("a\nb\nc\n", [1, 3], 3, False)),
        (b"a\nb\nc\n", 1, None, 4, ("a\nb\n", [1, 2], 3, True)),
        (b"abcdef\nb\n", 1, None, 4, ("abcd", [1, 1], 2, True)),
        (b"abcdef\n", 1, 1, 4, ("abcd", [1, 1], 1, True)),
        (b"", 1, None, 99, ("", [1, 1], 1, False)),
        (b"\n", 1, None, 99, ("\n", [1, 1], 1, False)),
        (b"a\r\nb\r\n", 1, 1, 99, ("a\r\n", [1, 1], 2, False)),
        (b"a\0b", 1, None, 99, (None, None, None, False)),
        (b"\xff", 1, None, 99, (None, None, None, False)),
    ],
)
def test_lines_are_given_whole_as_far_as_the_budget_goes(
    data: bytes, first: int, last: int | None, budget: int, expected: object
) -> None:
    assert shown(read(data, first, last, budget)) == expected


@given(st.text(alphabet="ab\n\r", max_size=60), st.integers(1, 20))
def test_reading_on_from_the_line_after_the_last_gives_every_line(text: str, budget: int) -> None:
    lines: list[str] = []
    first, total = 1, 1
    while first <= total:
        answer = read(text.encode(), first, budget=budget)
        assert answer["text"] is not None
        assert answer["lines"] is not None
        assert answer["totalLines"] is not None
        assert len(answer["text"]) <= budget
        lines.append(answer["text"])
        first, total = answer["lines"][1] + 1, answer["totalLines"]
    if all(len(line) < budget for line in text.split("\n")):
        assert "".join(lines) == text


@pytest.mark.parametrize(
    ("first", "last", "budget"), [(0, None, 10), (4, None, 10), (3, 2, 10), (1, None, 0), (1, None, 1_000_001)]
)
def test_lines_and_budgets_out_of_range_are_refused(first: int, last: int | None, budget: int) -> None:
    with pytest.raises(InvalidInput):
        read(b"a\nb\nc\n", first, last, budget)


@pytest.mark.promise("P2")
@pytest.mark.parametrize("name", ["J\u00fcrg", "Ju\u0308rg", "J\u00dcRG"])
def test_an_author_is_the_same_however_the_name_is_typed(name: str) -> None:
    past = {"a.md": Past(object_id(b"whale"), 1, "J\u00fcrg", 0)}
    known = part("x", {"a.md": "whale", "b.md": "whale song"})
    known = replace(known, history=History(lambda _paths: past, lambda: past))
    assert [hit["path"] for hit in search_answer(understood(f"author:{name}"), [known], limit=9)["hits"]] == ["a.md"]


@pytest.mark.parametrize(
    "asked", ["author:ana", "author:ana kind:note", "since:1969 path:docs/", "author:ana -z", "a", "-z"]
)
def test_every_page_of_files_that_history_narrows_belongs_to_one_list(asked: str) -> None:
    files = {f"docs/{name}.md": f"a {name}" for name in "bcdefg"}
    past = {path: Past(object_id(text.encode()), 1, "ana", -at) for at, (path, text) in enumerate(files.items())}
    past |= {path: past[path]._replace(time_ms=at) for at, path in enumerate(files) if at % 2}
    known = replace(part("x", files), history=History(lambda _paths: past, lambda: past))
    whole = search_answer(understood(asked), [known], limit=9)["hits"]
    pages = [search_answer(understood(asked), [known], limit=1, offset=at)["hits"] for at in range(len(files))]
    assert [hit["path"] for page in pages for hit in page] == [hit["path"] for hit in whole]
    assert len(whole) == len(files)


def test_hits_of_several_projects_come_in_one_order_whatever_order_they_are_asked_in() -> None:
    parts = [part(slug, {"a.md": "whale", "b.md": "whale song " * number}) for number, slug in enumerate("xyz", 1)]
    query = understood("whale")
    answer = search_answer(query, parts, limit=50)
    assert answer["total"] == 6
    turned = search_answer(query, parts[::-1], limit=50)
    assert answer["hits"] == turned["hits"]
    paged = [hit for offset in range(6) for hit in search_answer(query, parts, limit=1, offset=offset)["hits"]]
    assert paged == answer["hits"]
    assert answer["facets"]["project"] == {"x": 2, "y": 2, "z": 2}


def test_whether_every_word_is_needed_is_decided_over_all_projects_together() -> None:
    both = {f"{number}.md": "blue whale" for number in range(3)}
    parts = [part("x", both), part("y", {**both, "one.md": "blue"})]
    answer = search_answer(understood("blue whale"), parts, limit=50)
    assert (answer["query"]["match"], answer["total"]) == ("all", 6)
    alone = search_answer(understood("blue whale"), parts[1:], limit=50)
    assert (alone["query"]["match"], alone["total"]) == ("any", 4)


def test_filters_choose_among_the_projects_one_may_read() -> None:
    available = [("b", "prj_b"), ("a", "prj_a")]
    assert chosen(understood("x"), available) == (["a", "b"], [])
    assert chosen(understood("x project:prj_b"), available) == (["b"], [])
    assert chosen(understood("x -project:b"), available) == (["a"], [])
    assert chosen(understood("x project:a project:c"), available) == (
        ["a"],
        [{"project": "c", "reason": "project.not_found"}],
    )


def test_an_index_that_was_brought_elsewhere_meanwhile_answers_nothing() -> None:
    one = part("x", {"a.md": "whale\n\n- [ ] sing"})
    bring(one.index, {"a.md": "squid"})
    for ask in (
        lambda: search_answer(understood("whale"), [one], limit=5),
        lambda: task_list(one),
        lambda: artifact_list(one),
        lambda: context_answer(one, "prj_x", None, None),
    ):
        with pytest.raises(Moved):
            ask()


def test_related_projects_are_those_named_and_those_that_name() -> None:
    relations = {"a": [("part-of", "prj_b"), ("depends-on", "nowhere")], "b": [], "c": [("depends-on", "a")]}
    names = {"a": "a", "b": "b", "prj_b": "b", "c": "c"}
    assert related(["a"], relations, names) == {"b": "part-of", "c": "needed-by"}
    assert related(["b"], relations, names) == {"a": "has-part"}
    assert related(["a", "b", "c"], relations, names) == {}
    assert related(["a"], {"a": relations["a"]}, {"a": "a"}) == {}  # what one may not read is no neighbour


@pytest.mark.promise("P8")
def test_many_projects_with_many_relations_are_told_apart_at_once() -> None:
    slugs = [f"a-project-with-a-long-name-{number}" for number in range(700)]
    relations = {slug: [("depends-on", other) for other in slugs] for slug in slugs}
    names = {slug: slug for slug in slugs}
    began = time.process_time()
    assert related(slugs[200:], relations, names) == dict.fromkeys(slugs[:200], "depends-on")
    assert time.process_time() - began < 1  # 0.1 s; 4 s and more where each relation looks through those named


@pytest.mark.parametrize("prefix", ["plans/caf\u00e9/", "./plans/", "plans/cafe\u0301"])
def test_a_list_takes_a_prefix_as_it_is_typed_on_every_page(prefix: str) -> None:
    files = {f"plans/caf\u00e9/{name}.md": "- [ ] mend it" for name in "ab"}
    one = part("x", {**files, "z.md": "- [ ] no"})
    listed, task = artifact_list(one, prefix=prefix, limit=1), task_list(one, prefix=prefix, limit=1)
    rest = artifact_list(one, prefix=prefix, cursor=listed["next"]), task_list(one, prefix=prefix, cursor=task["next"])
    assert [item["path"] for item in [*listed["items"], *rest[0]["items"]]] == sorted(files)
    assert [item["path"] for item in [*task["items"], *rest[1]["items"]]] == sorted(files)
    assert task["total"] == 2


def test_tasks_come_in_pages_and_a_wrong_cursor_is_refused() -> None:
    one = part("x", {f"{name}.md": "- [ ] first\n- [ ] second\n" for name in "ab"})
    first = task_list(one, limit=3)
    assert first["total"] == 4
    rest = task_list(one, limit=3, cursor=first["next"])
    assert [(task["path"], task["line"]) for task in first["items"] + rest["items"]] == [
        ("a.md", 1),
        ("a.md", 2),
        ("b.md", 1),
        ("b.md", 2),
    ]
    assert rest["next"] is None
    for cursor in ("", "x", "1", ":a", "x:a", "²:a", "9" * 20 + ":a"):
        with pytest.raises(InvalidInput):
            task_list(one, cursor=cursor)


def test_a_manifest_with_problems_is_shown_with_them() -> None:
    one = part("x", {"context.json": '{"relations": [{"type": "owns", "project": "y"}]}'})
    answer = context_answer(one, "prj_x", None, b'{"relations": [{"type": "owns", "project": "y"}]}')
    assert answer["manifest"] is not None
    assert answer["problems"]


@pytest.mark.parametrize(
    ("time_ms", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_767_323_045_678, "2026-01-02T03:04:05.678Z")]
)
def test_times_are_rfc_3339_in_utc(time_ms: int, text: str) -> None:
    assert rfc3339(time_ms) == text
