from __future__ import annotations

import pytest

from satchel.documents.kinds import KINDS
from satchel.errors import IndexCorrupt
from satchel.objects.ids import object_id
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.search import matching
from satchel.search.index import Index
from satchel.search.matching import ENOUGH, Ranked
from satchel.search.query import parse_query
from satchel.search.schema import KIND_MASK
from satchel.search.words import names, parted
from tests.search.trees import bring, index_of


def paths(index: Index, text: str, limit: int = 20, offset: int = 0) -> list[str]:
    return [hit.path for hit in index.search(parse_query(text), limit, offset).sections]


def ranked(index: Index, text: str, *, every: bool, only: list[str] | None = None) -> Ranked:
    asked = index.asked(parse_query(text))
    return index.rank(asked, index.statistics(asked, every=every), every=every, wanted=50, only=only)


def test_sections_with_every_word_come_alone_where_there_are_enough() -> None:
    files = {f"{number}.md": "blue whale" for number in range(ENOUGH)} | {"x.md": "blue sky", "y.md": "grey whale"}
    with index_of(files) as index:
        found = index.search(parse_query("blue whale"), 20)
        assert (found.match, found.total) == ("all", ENOUGH)


def test_one_word_is_enough_where_few_sections_have_every_word() -> None:
    files = {"a.md": "blue whale", "x.md": "blue sky", "y.md": "grey whale", "z.md": "green"}
    with index_of(files) as index:
        found = index.search(parse_query("blue whale"), 20)
        assert (found.match, found.total) == ("any", 3)
        assert found.sections[0].path == "a.md"


@pytest.mark.parametrize(
    "text",
    [
        "KEP-1287",
        "kep 1287",
        "max_unavailable",
        "pkg.mod.fn",
        "PodDisruptionBudget",
        "cafe",
        "Café",
        "running",
        "don't",
    ],
)
def test_identifiers_accents_and_inflections_are_found(text: str) -> None:
    body = "KEP-1287 sets max_unavailable in pkg.mod.fn of PodDisruptionBudget. The café runs. We don't."
    with index_of({"a.md": body, "b.md": "nothing to see"}) as index:
        assert paths(index, text) == ["a.md"]


@pytest.mark.parametrize(
    "text",
    ["camelCase", "camelcase", "camel", "case", "camel case", '"camel case"', "CAMEL_CASE", "cases", "camel*"],
)
def test_a_name_in_camel_case_is_found_whole_and_by_its_words(text: str) -> None:
    with index_of({"a.md": "Calls camelCase() here.", "b.md": "A dromedary."}) as index:
        assert paths(index, text) == ["a.md"]


def test_a_name_in_camel_case_finds_its_words_however_they_are_joined() -> None:
    files = {
        "a.md": "a podSecurityPolicy",
        "b.md": "a pod_security_policy",
        "c.md": "Pod security policy",
        "d.md": "pod",
    }
    with index_of(files) as index:
        assert sorted(paths(index, "PodSecurityPolicy")) == ["a.md", "b.md", "c.md"]
        assert paths(index, "podsecuritypolicy") == ["a.md"]
        assert sorted(paths(index, "pod -podSecurityPolicy")) == ["b.md", "c.md", "d.md"]


def test_a_phrase_is_not_made_of_the_words_of_two_names() -> None:
    with index_of({"a.md": "gracefulNode, shutdownManager", "b.md": "the end is gracefulNode"}) as index:
        assert paths(index, '"node shutdown"') == []
        assert paths(index, '"end is graceful"') == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("camelCase", "camel Case"),
        ("HTTPServer", "HTTP Server"),
        ("sha256Sum", "sha256 Sum"),
        ("APIs", "APIs"),
        ("IPv4", "IPv4"),
        ("snake_case", "snake_case"),
        ("KEP-1287", "KEP-1287"),
    ],
)
def test_names_are_parted_where_a_word_begins(name: str, words: str) -> None:
    assert parted(name) == words


def test_a_run_of_letters_longer_than_a_name_is_one_word() -> None:
    assert list(names("aB" * 40 + " plainName")) == [(81, "plainName")]


def test_the_beginning_of_a_word_finds_what_begins_so() -> None:
    files = {"a.md": "The connections of KEP-1287.", "b.md": "We connect KEP-1300.", "c.md": "A conn of pkg.mod.fnord."}
    with index_of(files) as index:
        assert sorted(paths(index, "conn*")) == ["a.md", "b.md", "c.md"]
        assert "a.md" in paths(index, "connecti*")  # the index holds its stem alone
        assert paths(index, "KEP-12*") == ["a.md"]
        assert paths(index, "pkg.mod.fn*") == ["c.md"]
        assert paths(index, "conn* -connec*") == ["c.md"]
        [hit] = index.search(parse_query("KEP-12*"), 5).sections
        assert [hit.snippet[start:end] for start, end in hit.highlights] == ["KEP-1287"]
        [hit] = index.search(parse_query("pkg* of"), 5).sections[:1]
        assert "pkg" in [hit.snippet[start:end] for start, end in hit.highlights]


def test_a_run_of_characters_that_stands_nowhere_is_taken_apart() -> None:
    files = {"a.md": "数据库的迁移计划", "b.md": "数据中心", "c.md": "港口"}
    with index_of(files) as index:
        assert paths(index, "数据库迁移计划") == ["a.md", "b.md"]
        assert paths(index, "数据库") == ["a.md"]
        assert paths(index, '"数据库迁移"') == []


def test_files_named_by_the_caller_alone_are_asked_and_listed_in_that_order() -> None:
    files = {f"{name}.md": "whale" for name in "abcd"}
    with index_of(files) as index:
        found = ranked(index, "whale", every=True, only=["d.md", "b.md"])
        assert ([row.path for row in found.rows], found.total) == (["b.md", "d.md"], 2)
        found = ranked(index, "", every=True, only=["d.md", "b.md", "none.md"])
        assert [row.path for row in found.rows] == ["d.md", "b.md"]


def test_near_words_are_those_of_live_sections_as_they_are_written() -> None:
    files = {"a.md": "Approvals by the officer", "b.md": "An approver", "c.md": "The aproval of zebras"}
    with index_of(files) as index:
        assert [near.word for near in index.near(parse_query("approvla offiser"), 5)] == ["officer", "approvals"]
        bring(index, {"a.md": "Nothing"})
        assert index.near(parse_query("approvla offiser"), 5) == []


def test_a_word_with_separators_wants_its_parts_in_order() -> None:
    with index_of({"a.md": "dead_line here", "b.md": "the line is dead"}) as index:
        assert paths(index, "dead_line") == ["a.md"]


@pytest.mark.parametrize("text", ["数据", "数据库", "データ", "ข้อมูล"])
def test_scripts_without_spaces_are_found_by_any_run_of_them(text: str) -> None:
    with index_of({"a.md": "迁移数据库的计划。データを移す。ย้ายข้อมูลแล้ว", "b.md": "据数 タデー"}) as index:
        assert paths(index, text) == ["a.md"]


def test_title_path_and_headings_count_as_words_of_a_section() -> None:
    files = {
        "runbooks/payments.md": "# Turbine\n\nintro\n\n## Restart\n\npress the button\n",
        "b.md": "# Other\n\ntext\n",
    }
    with index_of(files) as index:
        assert paths(index, "turbine button")[0] == "runbooks/payments.md"
        assert paths(index, "payments button")[0] == "runbooks/payments.md"
        hit = index.search(parse_query("restart"), 1).sections[0]
        assert (hit.trail, hit.first, hit.last) == (("Turbine", "Restart"), 5, 7)


def test_filters_narrow_by_kind_and_path() -> None:
    files = {
        "docs/a.md": "disk",
        "Docs/old/b.md": "disk",
        "decisions/0001-c.md": "disk",
        "journal/2025-01-01.md": "disk",
    }
    with index_of(files) as index:
        assert paths(index, "disk kind:decision") == ["decisions/0001-c.md"]
        assert "decisions/0001-c.md" not in paths(index, "disk -kind:decision")
        assert sorted(paths(index, "disk path:docs/")) == ["Docs/old/b.md", "docs/a.md"]
        assert paths(index, "disk path:docs/ -path:old/") == ["docs/a.md"]
        assert paths(index, "disk path:old") == ["Docs/old/b.md"]
        assert paths(index, "disk path:cs/") == []
        assert len(paths(index, "disk kind:nonsense")) == len(files)  # no kind: words like any others


def test_a_path_is_the_same_however_its_accents_are_typed() -> None:
    with index_of({"plans/caf\u00e9/a.md": "disk", "b.md": "disk"}) as index:
        assert paths(index, "disk path:cafe\u0301/") == ["plans/caf\u00e9/a.md"]
        assert paths(index, "disk path:./plans/") == ["plans/caf\u00e9/a.md"]
        assert paths(index, "disk -path:cafe\u0301/") == ["b.md"]


def test_filters_alone_list_documents_by_path() -> None:
    with index_of({"docs/b.md": "one", "docs/a.md": "two", "x.md": "three"}) as index:
        found = index.search(parse_query("path:docs/"), 10)
        assert [(hit.path, hit.score) for hit in found.sections] == [("docs/a.md", 0.0), ("docs/b.md", 0.0)]
        assert found.total == 2
        assert paths(index, "path:docs/ -two") == ["docs/b.md"]
        assert paths(index, "-two") == ["docs/b.md", "x.md"]


def test_what_is_to_be_avoided_is_avoided() -> None:
    with index_of({"a.md": "disk full", "b.md": "disk empty", "c.md": "hard disk drive"}) as index:
        assert sorted(paths(index, "disk -full")) == ["b.md", "c.md"]
        assert paths(index, 'disk -"hard disk" -empty') == ["a.md"]


@pytest.mark.promise("P2")
@pytest.mark.parametrize("asked", ['"one two" run gone', "oneTwo run"])
def test_what_is_avoided_and_stands_nowhere_changes_no_hit_and_no_score(asked: str) -> None:
    named = {f"d{number}.md": "oneTwo run" for number in range(ENOUGH)}
    files = {"a.md": "two one", "b.md": "two one run", "c.md": "run", **named}
    with index_of(files) as index:
        plain, avoiding = (index.search(parse_query(asked + avoided), 20) for avoided in ("", " -never"))
        assert avoiding == plain
        assert len(plain.sections) == plain.total


def test_equal_scores_come_by_path_and_position_on_every_page() -> None:
    """Copied boilerplate scores the same by the hundred; no page may repeat or miss one."""
    boilerplate = "# Same\n\n## Alternatives\n\nnone considered yet\n\n## More\n\nnone considered yet\n"
    files = {f"{number:03}.md": boilerplate for number in range(150)}
    with index_of(files) as index:
        everything = index.search(parse_query("considered"), 300).sections
        assert everything == sorted(everything, key=lambda hit: (-hit.score, hit.path, hit.position))
        assert len({hit.score for hit in everything}) < 5
        paged = [
            hit for offset in range(0, 300, 7) for hit in index.search(parse_query("considered"), 7, offset).sections
        ]
        assert paged == everything


@pytest.mark.promise("P2")
def test_ties_come_by_path_even_where_files_were_added_in_another_order() -> None:
    """A hundred and fifty equal scores, more than are read at first, in an index that grew backwards."""
    boilerplate = "# Same\n\nnone considered yet\n"
    files = {f"{number:03}.md": boilerplate for number in range(150)}
    with index_of(files) as fresh, Index.open(None) as grown:
        for start in range(140, -1, -10):
            bring(grown, {path: text for path, text in files.items() if int(path[:3]) >= start})
        for offset in (0, 5, 100):
            query = parse_query("considered")
            assert grown.search(query, 7, offset) == fresh.search(query, 7, offset)
            assert [hit.path for hit in grown.search(query, 2, offset).sections] == sorted(files)[offset : offset + 2]


def test_facets_count_all_matches_and_not_only_the_page() -> None:
    files = {f"decisions/{number:04}-x.md": "quorum" for number in range(7)} | {"notes.md": "quorum"}
    with index_of(files) as index:
        found = index.search(parse_query("quorum"), 2)
        assert found.total == 8
        assert found.kinds["decision"] == 7
        assert sum(found.kinds.values()) == 8


def test_only_sections_with_a_rarer_word_are_scored_and_all_words_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"c{number:02}.md": "common" if number < 10 else "filler" for number in range(30)}
    files |= {"r1.md": "rare thing", "r2.md": "rare common"}
    with index_of(files) as index:
        assert ranked(index, "rare common", every=False).total == 12
        monkeypatch.setattr(matching, "RARE_ROWS", 5)
        found = ranked(index, "rare common", every=False)
        assert [row.path for row in found.rows] == ["r2.md", "r1.md"]
        assert found.total == 2


@pytest.mark.parametrize(
    "text", ["*", "a*b", "NEAR(a b)", "text:words", "{text}", "a AND", "OR", "some ^words", 'so"me', "-", "words😀"]
)
def test_the_language_of_the_engine_is_not_the_language_of_queries(text: str) -> None:
    with index_of({"a.md": "some words and a near text"}) as index:
        index.search(parse_query(text), 5)


def test_reviews_narrow_a_search_by_themselves_or_with_words() -> None:
    files: dict[str, bytes | str] = {"a.md": "blue whale", "b.md": "blue sky", "c.md": "green", "d.bin": b"\0"}
    files[REVIEWED_PATH] = write_reviews(
        b"", [Review(path, object_id(str(files[path]).encode())) for path in ("a.md", "c.md")]
    )
    with index_of(files) as index:
        assert paths(index, "reviewed:yes") == ["a.md", "c.md"] == paths(index, "-reviewed:NO")
        assert paths(index, "reviewed:no") == ["b.md"] == paths(index, "blue -reviewed:yes")
        assert paths(index, "blue reviewed:yes") == ["a.md"]
        assert paths(index, "reviewed:yes reviewed:no") == ["a.md", "b.md", "c.md"]


def test_sections_of_each_kind_are_counted_with_and_without_filters() -> None:
    files = {
        f"{folder}/{at}.md": "# Tide\n\none\n\n## Crane\n\ntide"
        for at in range(3)
        for folder in ("specs", "plans", "x")
    }
    with index_of(files) as index:
        every = index.search(parse_query("tide"), 1).kinds
        assert every == {"note": 6, "plan": 6, "spec": 6}
        assert list(every) == sorted(every)
        for kind in every:
            assert index.search(parse_query(f"tide kind:{kind}"), 1).kinds == {kind: 6}
        bring(index, {path: body for path, body in files.items() if not path.startswith("plans")})
        assert index.search(parse_query("tide"), 1).kinds == {"note": 6, "spec": 6}


@pytest.mark.parametrize("least", range(1, ENOUGH + 1))
@pytest.mark.parametrize("holding", range(ENOUGH + 2))
def test_sections_with_every_word_are_all_found_where_there_are_as_many_as_matter(least: int, holding: int) -> None:
    files = {f"{at}.md": f"tide crane berth {'pilot gate' if at < holding else 'pilot'}" for at in range(8)}
    with index_of({**files, "x.md": "gate", "y.md": "gate"}) as index:
        asked = index.asked(parse_query("pilot tide gate crane berth"))
        found = index.rank(asked, index.statistics(asked, every=True), every=True, wanted=50, least=least)
        assert len(found.rows) == found.total == (holding if holding >= least else 0)


def test_every_kind_has_a_number_that_a_row_can_say() -> None:
    assert len(KINDS) <= KIND_MASK + 1


@pytest.mark.parametrize("text", ["tide", "tide crane", "tide crane absent"])
def test_a_question_takes_a_few_statements_however_many_words_it_has_and_hits_it_finds(text: str) -> None:
    with index_of({f"{at:02}.md": f"tide crane {at}" for at in range(40)}) as index:
        statements: list[str] = []

        def note(_cursor: object, statement: str, _values: object) -> bool:
            statements.append(statement)
            return True

        index._database.exec_trace = note
        assert len(index.search(parse_query(text), 20).sections) == 20
        assert len(statements) <= 12, statements


def test_a_section_whose_block_is_missing_is_damage() -> None:
    with index_of({"a.md": "tide"}) as index:
        index._database.execute("DELETE FROM block")
        with pytest.raises(IndexCorrupt):
            index.search(parse_query("tide"), 1)
        assert index.damaged
