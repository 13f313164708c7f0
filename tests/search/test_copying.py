"""A copy of an index: compact, under a key of its own, and of its tree alone."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from satchel.search import schema
from satchel.search.index import Index
from tests.search.trees import bring

GONE = "quixotry"
FILES = {f"{number}.md": f"# Tide {number}\n\nThe crane lifts {number} crates.\n" for number in range(40)}


def in_clear(path: Path, key: bytes) -> bytes:
    """All pages of an index, decrypted."""
    database = apsw.Connection(str(path))
    schema.encrypt(database, key)
    data = database.serialize("main")
    database.close()
    return data


@pytest.fixture
def edited(tmp_path: Path) -> Index:
    """An index that held a word which no document has any more."""
    index = Index.open(tmp_path / "index.db", key=b"1" * 32)
    bring(index, {**FILES, "secret.md": f"# Secret\n\nOf {GONE}, {GONE}s and zx{GONE}.\n"})
    bring(index, FILES)
    return index


@pytest.mark.promise("P9")
def test_a_copy_holds_no_word_of_what_was_removed_which_the_index_still_does(edited: Index, tmp_path: Path) -> None:
    assert edited.copy(tmp_path / "copy.db", b"2" * 32)
    edited.close()
    assert b"uixotr" in in_clear(tmp_path / "index.db", b"1" * 32)
    assert b"uixotr" not in in_clear(tmp_path / "copy.db", b"2" * 32)
    assert b"crate" in in_clear(tmp_path / "copy.db", b"2" * 32)


def test_a_copy_is_encrypted_under_its_own_key_and_nothing_else_is_left(edited: Index, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert edited.copy(tmp_path / "copy.db", b"2" * 32)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "copy.db"}
    data = (tmp_path / "copy.db").read_bytes()
    assert not data.startswith(b"SQLite")
    assert b"crate" not in data
    with Index.open(tmp_path / "copy.db", key=b"2" * 32) as copied:
        copied.verify()
        assert (copied.digest, copied.inventory()) == (edited.digest, edited.inventory())
    edited.close()


def test_a_copy_may_be_stopped_at_every_look_and_leaves_nothing(edited: Index, tmp_path: Path) -> None:
    for looks in range(100):
        left = iter([False] * looks)
        if edited.copy(tmp_path / "copy.db", os.urandom(32), stop=lambda left=left: next(left, True)):  # type: ignore[misc]
            break
        assert not list(tmp_path.glob("copy*"))
    assert looks > 2
    edited.close()
