"""Queries and documents that nobody should write: an answer within bounds, whatever comes."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.search.index import Index
from satchel.search.moments import period
from satchel.search.query import MAX_QUERY_CHARACTERS, MAX_QUERY_TERMS, parse_query
from satchel.search.schema import INDEX_FORMAT
from tests.search.trees import bring, index_of

FILES = {
    "a.md": "# Café 港口\n\nRollback of the berth_schedule needs approval. 港口管理系统\n\n## More\n\n- [ ] task\n",
    "b/c.md": "The connection is approved; don't roll back. ข้อมูล\n",
    "d.json": '{"name": "Berths", "depth": 12}',
}
PIECES = st.sampled_from(
    ["roll*", "港口", "港口管理系统", '"', "-", "kind:note", "-kind:", "author:x", "since:2025", "until:", "*",
     "path:b/", "project:", "connecti*", "berth_schedule", "\0", "café", "😀", "(", "NOT", "NEAR", "^", "ข้อมูล",
     "-roll*", "a" * 300]
)  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with index_of(FILES) as index:
        yield index


@settings(max_examples=30)
@given(st.lists(PIECES | st.text(max_size=12), max_size=12), st.sampled_from(["", " ", '"', "-", "*"]))
def test_any_query_is_answered_in_bounds_and_every_page_belongs_to_one_list(
    index: Index, pieces: list[str], glue: str
) -> None:
    query = parse_query(glue.join(pieces))
    assert len(query.sought) + len(query.without) <= MAX_QUERY_TERMS
    assert len(query.loose) <= 2 * MAX_QUERY_TERMS
    whole = index.search(query, 50)
    assert whole.total == sum(whole.kinds.values()) >= len(whole.sections)
    pages = [index.search(query, 1, at).sections for at in range(3)]
    assert pages == [whole.sections[at : at + 1] for at in range(3)]
    for hit in whole.sections:
        assert all(0 <= start < end <= len(hit.snippet) for start, end in hit.highlights)
    assert len(index.near(query, 5)) <= 5


@pytest.mark.promise("P8")
@pytest.mark.parametrize("piece", ["x", "港", '"', "-", "a*", "-a ", "kind:a ", "\U0010ffff", "(a", "a-b_c."])
def test_a_query_of_a_megabyte_is_cut_and_answered(index: Index, piece: str) -> None:
    query = parse_query(piece * (2**20 // len(piece)))
    assert query.cut
    assert len(query.text) == MAX_QUERY_CHARACTERS
    index.search(query, 10)
    index.near(query, 5)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("letters", "many"), [(3_900, 10), (40, 20_000)])
def test_words_made_to_be_near_to_a_long_one_take_no_time_squared(letters: int, many: int) -> None:
    word = ("abcdefghijklmnopqrst" * letters)[:letters]
    edits = itertools.product(itertools.combinations(range(1, letters), 2), "uvwxyz", "uvwxyz")
    near = [f"{word[:a]}{x}{word[a + 1 : b]}{y}{word[b + 1 :]}" for (a, b), x, y in itertools.islice(edits, many)]
    with index_of({"a.txt": "\n\n".join(near)}) as index:
        began = time.process_time()
        index.near(parse_query(word), 5)
        assert time.process_time() - began < 5  # 30 s of the long, 6 s of the many where all were measured


def test_every_plane_of_unicode_can_be_asked_for(index: Index) -> None:
    for plane in range(17):
        text = " ".join(chr(code) for code in range(plane << 16, (plane + 1) << 16, 997))
        index.search(parse_query(text), 1)


def test_large_odd_documents_are_indexed_and_found() -> None:
    deep = "\n".join(f"{'#' * (1 + n % 6)} heading {n}" for n in range(22_000))
    files: dict[str, bytes | str] = {
        "headings.md": deep + "\n\nfindme\n",
        "minified.json": json.dumps({f"k{n}": n for n in range(5_000)}),
        "tasks.md": "".join(f"- [ ] task {n}\n" for n in range(22_000)),
        "deep.md": ">" * 5_000 + " quoted\n" + "    " * 2_000 + "code\n",
        "line.txt": "word " * 50_000,
        "mixed.md": "latin1 \xe9 and ".encode() + b"\xff\xfe bad",
        "nul.md": b"a\0b",
    }
    with index_of(files) as index:
        assert index.count_tasks() == 20_000  # the marks of one file are bounded
        assert [hit.path for hit in index.search(parse_query("findme"), 5).sections] == ["headings.md"]
        assert {hit.path for hit in index.search(parse_query("quoted"), 5).sections} == {"deep.md"}
        assert index.search(parse_query("latin1"), 5).total == 0
        assert index.document("mixed.md") is not None


@pytest.mark.promise("P9")
@pytest.mark.promise("P8")
def test_short_sections_under_long_headings_do_not_make_an_index_a_hundred_times_their_text(tmp_path: Path) -> None:
    above = "".join(f"{'*' * level} {'long words ' * 17}{level}\n" for level in range(1, 16))
    text = above + "".join(f"{'*' * 16} a{number}\n- [ ] b\n" for number in range(4_000))
    path = f"{'folder/' * 140}a.org"
    with index_of({path: text}, tmp_path / "index.db") as index:
        assert [hit.path for hit in index.search(parse_query("a3999"), 5).sections] == [path]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20 * len(text)  # 160 times without a bound


@pytest.mark.parametrize("version", [INDEX_FORMAT + 1, 2**31 - 1, -1])
def test_an_index_of_another_format_is_built_anew(tmp_path: Path, version: int) -> None:
    place = tmp_path / "index.db"
    index_of(FILES, place).close()
    database = apsw.Connection(str(place))
    database.pragma("user_version", version)
    database.close()
    index, rebuilt = Index.open_or_rebuild(place)
    with index:
        assert rebuilt
        bring(index, FILES)
        assert index.search(parse_query("rollback"), 5).total == 1


@pytest.mark.parametrize(
    ("written", "first", "after"),
    [
        ("1970", 0, 31_536_000_000),
        ("1970-01", 0, 2_678_400_000),
        ("2024-02-29", 1_709_164_800_000, 1_709_251_200_000),
        ("9999", 253_370_764_800_000, 253_402_300_800_000),
        ("9999-12-31", 253_402_214_400_000, 253_402_300_800_000),
        ("2025-12", 1_764_547_200_000, 1_767_225_600_000),
        ("2025-01-31T10:00:00Z", 1_738_317_600_000, 1_738_317_600_001),
        ("2025-01-31t11:00:00.000+01:00", 1_738_317_600_000, 1_738_317_600_001),
        ("2025-01-31T10:00", 1_738_317_600_000, 1_738_317_600_001),
    ],
)
def test_dates_are_stretches_of_time(written: str, first: int, after: int) -> None:
    assert period(written) == (first, after)


@settings(max_examples=50)
@given(st.text("0123456789-T:Z+. ", max_size=24) | st.text(max_size=20))
def test_what_is_no_date_is_none(written: str) -> None:
    found = period(written)
    assert found is None or found[0] < found[1]
    assert parse_query(f"since:{written}") is not None
