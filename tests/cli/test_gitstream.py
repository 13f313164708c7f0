"""The stream for ``git fast-import``, byte by byte."""

from __future__ import annotations

import pytest

from satchel.cli.gitstream import Commit, GitStream, address, message, subject
from satchel.errors import InvalidInput, PathRefused
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry

ONE = Entry("100755", object_id(b"one"))


def written(*commits: Commit) -> bytes:
    pieces: list[bytes] = []
    stream = GitStream(pieces.append)
    stream.blob(ONE.object, b"one")
    stream.blob(ONE.object, b"one")
    for commit in commits:
        stream.commit(commit)
    stream.end()
    return b"".join(pieces)


def test_a_content_is_sent_once_and_named_by_its_mark() -> None:
    first = Commit("Mia", "mia@satchel.invalid", 7, "Add\n", {"z.md": ONE, 'a "b".md': ONE, "old": None})
    assert written(first) == (
        b"feature done\nblob\nmark :1\ndata 3\none\n"
        b"commit refs/heads/main\n"
        b"author Mia <mia@satchel.invalid> 7 +0000\ncommitter Mia <mia@satchel.invalid> 7 +0000\n"
        b'data 4\nAdd\n\nD "old"\nM 100755 :1 "a \\"b\\".md"\nM 100755 :1 "z.md"\n\ndone\n'
    )


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", "../up", "/etc/passwd", "a/.GIT/config", "a\nb", "git~1"])
def test_a_path_that_no_checkout_may_write_is_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        written(Commit("Mia", "mia@satchel.invalid", 7, "Add\n", {path: ONE}))


def test_a_mode_that_is_none_of_a_file_is_refused() -> None:
    with pytest.raises(InvalidInput):
        written(Commit("Mia", "mia@satchel.invalid", 7, "Add\n", {"link": Entry("120000", ONE.object)}))


@pytest.mark.parametrize(
    ("name", "shown"), [("a <b>\nc", b"author a b c <"), ("", b"author unknown <"), ("\ud800", b"author ? <")]
)
def test_a_name_cannot_break_out_of_its_line(name: str, shown: bytes) -> None:
    assert shown in written(Commit(name, "x@satchel.invalid", -5, "m\n", {}))
    assert b"> 0 +0000" in written(Commit(name, "x@satchel.invalid", -5, "m\n", {}))


def test_an_address_is_stable_and_differs_by_name_and_kind() -> None:
    assert address("Mia López", "person") == address("Mia López", "person")
    found = {address(name, kind) for name in ("mia", "Mia", "日本", "中国") for kind in ("person", "key")}
    assert len(found) == 8
    assert all(one.isascii() and one.endswith("@satchel.invalid") and not one.startswith("-") for one in found)


def test_a_message_says_what_changed_and_names_a_bounded_number_of_paths() -> None:
    assert subject({"a.md": ONE}, {}) == "Add a.md"
    assert subject({"a.md": ONE, "b.md": None, "c.md": ONE, "d.md": ONE}, {"a.md": 1, "b.md": 1}) == (
        "Add 2 files, change 1 file, delete 1 file"
    )
    assert subject({}, {}) == "Change nothing"
    said = message("Add a", "", [f"{number}.md" for number in range(1_200)], {"Satchel-Version": 3})
    assert said.count(".md\n") == 1_000
    assert said.endswith("  and 200 more\n\nSatchel-Version: 3\n")
