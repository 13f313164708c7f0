from __future__ import annotations

import gc
import sqlite3
import stat
import time
import weakref
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.documents.document import parse
from satchel.errors import IndexCorrupt, StoreUnavailable
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.search import building, schema
from satchel.search.index import Index, remove
from satchel.search.query import parse_query
from tests.search.trees import as_bytes, bring, digest_of, index_of, tree_of

FILES: dict[str, bytes | str] = {
    "README.md": "# Acme\n\nThe platform of Acme.\n\n## Rollback\n\nA rollback needs approval by the on-call lead.\n",
    "docs/plan.md": "# Plan\n\n- [x] Write the runbook @ana\n- [ ] Rollback drill @bo\n- [ ] Train people\n",
    "decisions/0001-train.md": "# Release train\n\nWe release on Tuesdays.\n\n# Consequences\n\nRollbacks are rare.\n",
    "logo.png": b"\x89PNG\r\n\0\0",
    "empty.md": "",
}


def found(index: Index, text: str, limit: int = 10) -> list[tuple[str, int]]:
    return [(hit.path, hit.first) for hit in index.search(parse_query(text), limit).sections]


def test_an_index_answers_from_the_tree_it_was_brought_to() -> None:
    with index_of(FILES) as index:
        assert index.digest == digest_of(FILES)
        assert ("README.md", 5) in found(index, "rollback approval")
        assert [item.path for item in index.inventory()] == sorted(FILES)


def test_an_index_that_another_command_just_makes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    Index.open(path).close()
    other = apsw.Connection(str(path))
    other.pragma("journal_mode", "delete")
    other.execute("BEGIN IMMEDIATE; CREATE TABLE other(x)")
    monkeypatch.setattr(time, "sleep", lambda _seconds: other.execute("COMMIT"))
    with Index.open(path) as index:
        assert index.digest is None
    other.close()


def test_a_closed_index_is_freed_at_once() -> None:
    # A server opens and closes thousands, and looks for circles among what is old but a few times a day.
    gc.collect()
    gc.disable()
    try:
        index = index_of(FILES)
        assert found(index, "rollback approval")
        assert index.near(parse_query("rolback"), 3)
        left = weakref.ref(index._matcher)
        index.close()
        del index
        assert left() is None
    finally:
        gc.enable()


def test_every_file_is_in_the_inventory_and_only_text_is_searched() -> None:
    with index_of(FILES) as index:
        logo = index.document("logo.png")
        assert logo is not None
        assert (logo.size, logo.title, logo.object) == (8, "logo.png", tree_of(FILES)["logo.png"].object)
        assert found(index, "PNG") == []
        assert index.document("nowhere.md") is None


def test_the_inventory_can_be_asked_by_kind_prefix_and_page() -> None:
    with index_of(FILES) as index:
        assert [item.path for item in index.inventory(prefix="d")] == ["decisions/0001-train.md", "docs/plan.md"]
        assert [item.path for item in index.inventory(kind="decision")] == ["decisions/0001-train.md"]
        assert [item.path for item in index.inventory(after="docs/plan.md", limit=1)] == ["empty.md"]
        assert sum(index.kinds().values()) == len(FILES)


def test_kind_and_title_are_those_the_document_has() -> None:
    with index_of(FILES) as index:
        for path, data in as_bytes(FILES).items():
            item, document = index.document(path), parse(path, data)
            assert item is not None
            assert (item.kind, item.title) == (document.kind, document.title)


def test_tasks_come_by_path_and_line() -> None:
    with index_of(FILES) as index:
        open_tasks = index.tasks()
        assert [(path, task.line, task.owner) for path, task in open_tasks] == [
            ("docs/plan.md", 4, "bo"),
            ("docs/plan.md", 5, None),
        ]
        assert [task.text for _, task in index.tasks(done=True)] == ["Write the runbook @ana"]
        assert index.tasks(after=("docs/plan.md", 4)) == open_tasks[1:]
        assert index.tasks(prefix="other/") == []
        assert (index.count_tasks(), index.count_tasks(done=True), index.count_tasks(prefix="x")) == (2, 1, 0)


def test_a_change_touches_only_what_changed(tmp_path: Path) -> None:
    files = dict(FILES)
    with index_of(files, tmp_path / "index.db") as index:
        asked: list[str] = []
        files["docs/plan.md"] = "# Plan\n\nNothing left.\n"
        del files["empty.md"]
        data = as_bytes(files)

        def read(path: str) -> bytes:
            asked.append(path)
            return data[path]

        tree = tree_of(files)
        assert index.bring(digest(tree), tree, read) == 2
        assert asked == ["docs/plan.md"]
        assert index.tasks() == []
        assert index.document("empty.md") is None
        assert index.bring(digest(tree), tree, read) == 0


def test_a_change_of_mode_alone_is_a_change() -> None:
    with index_of(FILES) as index:
        tree = tree_of(FILES) | {"README.md": Entry("100755", tree_of(FILES)["README.md"].object)}
        assert index.bring(digest(tree), tree, as_bytes(FILES).__getitem__) == 1
        item = index.document("README.md")
        assert item is not None
        assert item.mode == "100755"


def test_sizes_spare_reading_what_is_not_indexed() -> None:
    data = as_bytes(FILES)
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return data[path]

    with Index.open(None) as index:
        index.bring(digest_of(FILES), tree_of(FILES), read, {path: len(one) for path, one in data.items()})
    assert sorted(asked) == sorted(set(FILES) - {"logo.png"})


@pytest.mark.promise("P6")
def test_a_read_that_fails_leaves_the_index_as_it_was() -> None:
    with index_of(FILES) as index:
        tree = tree_of(FILES | {"new.md": "# New"})

        def read(path: str) -> bytes:
            raise OSError(path)

        with pytest.raises(OSError, match=r"new\.md"):
            index.bring(digest(tree), tree, read)
        assert index.digest == digest_of(FILES)
        assert index.document("new.md") is None


_PATHS = st.sampled_from(["a.md", "b.md", "docs/a.md", "docs/zeta.txt", "tasks.md"])
_WORDS = st.lists(
    st.sampled_from(["alpha", "beta", "gamma", "delta", "rollback", "文件", "naïve", "- [ ]", "#", "\n"]), max_size=30
)
_TREES = st.dictionaries(_PATHS, _WORDS.map(" ".join), max_size=5)


@pytest.mark.promise("P2")
@settings(max_examples=60)
@given(st.lists(_TREES, min_size=1, max_size=4))
def test_any_path_of_edits_answers_like_a_fresh_index(history: list[dict[str, str]]) -> None:
    """Whole answers are equal: hits, order, scores, snippets, counts, inventory and tasks."""
    with Index.open(None) as edited, index_of(history[-1]) as fresh:
        for files in history:
            bring(edited, files)
        for text in ("alpha", "alpha beta gamma", '"beta gamma" delta', "rollback -alpha", "kind:note", "文件", "zeta"):
            query = parse_query(text)
            for limit in (1, 3, 50):
                assert edited.search(query, limit) == fresh.search(query, limit)
        assert edited.inventory() == fresh.inventory()
        assert edited.tasks() == fresh.tasks()
        edited.verify()


@pytest.mark.promise("P2")
def test_a_build_in_batches_apart_is_the_same_as_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"notes/{number:03}.md": f"# Note {number}\n\nalpha beta {number % 7}\n\n- [ ] do\n" for number in range(300)
    }
    with index_of(files) as whole:
        monkeypatch.setattr(building, "BATCH_CHARACTERS", 500)
        with index_of(files) as batched:
            monkeypatch.setattr(schema, "BULK_FILES", 10_000)
            with index_of(files) as alone:
                for text in ("alpha", "note 17", "beta 3"):
                    query = parse_query(text)
                    assert whole.search(query, 50) == batched.search(query, 50) == alone.search(query, 50)
                assert whole.tasks() == batched.tasks() == alone.tasks()


@pytest.mark.promise("P9")
@pytest.mark.parametrize("damage", [b"", b"not a database, but something longer than a header" * 40])
def test_a_file_that_is_no_index_is_replaced(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(damage)
    if damage:
        with pytest.raises(IndexCorrupt):
            Index.open(path)
    index, rebuilt = Index.open_or_rebuild(path)
    with index:
        assert rebuilt is bool(damage)
        bring(index, FILES)
        assert found(index, "rollback")


def test_a_new_index_is_for_its_owner_alone_and_keeps_what_it_was_given_since(tmp_path: Path) -> None:
    with index_of(FILES, tmp_path / "index.db"):
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    (tmp_path / "index.db").chmod(0o640)
    with Index.open(tmp_path / "index.db") as index:
        assert index.digest == digest_of(FILES)
    assert stat.S_IMODE((tmp_path / "index.db").stat().st_mode) == 0o640


def test_a_database_of_somebody_else_is_not_taken_for_an_index(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs(x)")
    other.close()
    with pytest.raises(IndexCorrupt):
        Index.open(path)


def test_the_specification_says_which_format_is_written() -> None:
    spec = Path(__file__).parents[2] / "docs/spec/index.md"
    assert f"now {schema.INDEX_FORMAT})" in spec.read_text()


def test_an_index_of_another_format_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index_of(FILES, path).close()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {schema.INDEX_FORMAT + 1}")
    other.close()
    index, rebuilt = Index.open_or_rebuild(path)
    with index:
        assert rebuilt
        assert index.digest is None


def test_damage_inside_is_told_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    files = {f"{number}.md": f"# Title {number}\n\n" + f"word{number} " * 200 for number in range(40)}
    index_of(files, path).close()
    data = bytearray(path.read_bytes())
    data[8_192:] = bytes(len(data) - 8_192)
    path.write_bytes(bytes(data))
    index = Index.open(path)
    with index, pytest.raises(IndexCorrupt):
        index.search(parse_query("word7 title"), 10)


@pytest.mark.promise("P5")
def test_an_index_with_a_key_is_unreadable_without_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    key, other = b"k" * 32, b"o" * 32
    index = Index.open(path, key=key)
    bring(index, FILES)
    index.close()
    assert not path.read_bytes().startswith(b"SQLite format 3")
    assert b"rollback" not in path.read_bytes()
    for wrong in (None, other):
        with pytest.raises(IndexCorrupt):
            Index.open(path, key=wrong)
    with Index.open(path, key=key) as again:
        assert again.digest == digest_of(FILES)
        assert found(again, "rollback")


def test_a_place_that_cannot_hold_an_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        Index.open(tmp_path / "no" / "such" / "folder" / "index.db")


def test_two_processes_may_share_a_file_and_a_reader_keeps_its_moment(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with index_of(FILES, path) as reader, Index.open(path) as writer:
        with reader.reading():
            bring(writer, {"only.md": "# Only\n\nthis is left\n"})
            assert reader.digest == digest_of(FILES)
            assert found(reader, "rollback")
        assert reader.digest == writer.digest
        assert found(reader, "rollback") == []


def test_removing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = index_of(FILES, path)
    remove(path)
    index.close()
    remove(path)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_a_symlink_is_replaced_and_what_it_leads_to_stays_as_it_is(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere.db", tmp_path / "index.db"
    elsewhere.write_bytes(b"")
    path.symlink_to(elsewhere)
    index, rebuilt = Index.open_or_rebuild(path)
    index.close()
    assert rebuilt
    assert elsewhere.read_bytes() == b""
    assert not path.is_symlink()


def test_what_is_reviewed_follows_the_list_and_the_content() -> None:
    listed = {path: object_id(data) for path, data in as_bytes(FILES).items() if path in ("README.md", "logo.png")}

    def reviewed(index: Index, *edits: dict[str, bytes | str]) -> list[str]:
        files = dict(FILES)
        for edit in edits:
            files |= edit
        bring(index, files)
        found = [item.path for item in index.inventory() if item.reviewed]
        assert found == [path for path in files if (item := index.document(path)) and item.reviewed]
        hits = {hit.path for hit in index.search(parse_query("rollback release Acme"), 50).sections if hit.reviewed}
        assert hits == {path for path in found if path == "README.md"}
        return found

    lists = write_reviews(b"", [Review(path, name) for path, name in listed.items()])
    with index_of(FILES) as index:
        assert reviewed(index) == []
        assert reviewed(index, {REVIEWED_PATH: lists}) == ["README.md", "logo.png"]
        assert reviewed(index, {REVIEWED_PATH: lists, "README.md": "# Acme, edited\n"}) == ["logo.png"]
        assert reviewed(index, {REVIEWED_PATH: lists}) == ["README.md", "logo.png"]  # as it was looked at
        assert reviewed(index, {REVIEWED_PATH: b"# none\n"}) == []
        assert reviewed(index, {f"docs/{REVIEWED_PATH}": lists}) == []  # one list, at the root
        assert reviewed(index) == []


def test_the_list_is_no_document_itself() -> None:
    lists = write_reviews(b"# Acme rollback\n", [])
    with index_of({**FILES, REVIEWED_PATH: lists}) as index:
        assert REVIEWED_PATH not in {path for path, _ in found(index, "Acme rollback", 50)}
