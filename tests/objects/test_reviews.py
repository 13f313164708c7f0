from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.objects import reviews
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.reviews import (
    REVIEWED_PATH,
    Review,
    is_review_list,
    is_reviewed,
    merge_reviews,
    read_reviews,
    write_reviews,
)

A, B = object_id(b"a"), object_id(b"b")
NASTY = ("a.md", "b c.md", "*.md", " a.md", "(x+).md", "é/数.md", "a.md  b.md", "#x.md", f"{A}  a.md")

Pairs = set[tuple[str, ObjectId]]


def test_a_list_is_read_by_lines_and_everything_else_in_it_says_nothing() -> None:
    data = (
        f"# looked at\n{A}  a.md\n{B} *b c.md\r\n{A.upper()}  upper.md\n{A} one-blank.md\n {A}  indented.md\n"
        f"<<<<<<< LOCAL\n{A[:-1]}  short.md\n{A}  \n{B}  a.md\n{B}  last.md"
    ).encode()
    assert read_reviews(data + b"\n" + A.encode() + b"  \xff.md") == {
        Review("a.md", A),
        Review("a.md", B),
        Review("b c.md", B),
        Review("last.md", B),
    }


@given(st.sets(st.tuples(st.sampled_from(NASTY), st.sampled_from([A, B]))), st.sampled_from(["\n", "\r\n"]))
def test_one_line_is_found_as_in_the_whole_list(pairs: Pairs, end: str) -> None:
    data = write_reviews(b"", [Review(*pair) for pair in pairs]).replace(b"\n", end.encode())
    assert read_reviews(data) == pairs
    for path in NASTY:
        for name in (A, B):
            assert is_reviewed(data, path, name) == ((path, name) in pairs)


def test_a_list_that_is_too_long_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_reviews(b"", [Review("a.md", A)])
    monkeypatch.setattr(reviews, "MAX_REVIEWED_BYTES", len(data) - 1)
    assert read_reviews(data) == set()
    assert not is_reviewed(data, "a.md", A)


def test_a_list_is_written_by_path_with_what_else_stood_in_it_first() -> None:
    before = f"{A}  z.md\n# two\r\nnonsense\n# one\n".encode()
    written = write_reviews(before, [Review("é.md", A), Review("z.md", B), Review("z.md", A)])
    assert written.decode().split("\n") == [
        "# two", "nonsense", "# one", *(f"{name}  z.md" for name in sorted((A, B))), f"{A}  é.md", "",
    ]  # fmt: skip
    assert write_reviews(b"", []) == b""


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="macOS has shasum instead")
def test_sha256sum_checks_a_list(tmp_path: Path) -> None:
    for name in ("a.md", "b c.md", "*.md"):
        (tmp_path / name).write_text(name)
    found = [Review(name, ObjectId(hashlib.sha256(name.encode()).hexdigest())) for name in ("a.md", "b c.md", "*.md")]
    (tmp_path / REVIEWED_PATH).write_bytes(write_reviews(b"# by hand\n", found))
    assert subprocess.run(["sha256sum", "-c", "--strict", REVIEWED_PATH], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "a.md").write_text("edited")
    assert subprocess.run(["sha256sum", "-c", "--status", REVIEWED_PATH], cwd=tmp_path, check=False).returncode == 1


@pytest.mark.parametrize(
    "path", [REVIEWED_PATH, "Reviewed.SHA256", "reviewed.\N{LATIN SMALL LETTER LONG S}ha256", f"{REVIEWED_PATH}/a.md"]
)
def test_names_that_could_be_taken_for_the_list_are_known(path: str) -> None:
    assert is_review_list(path)


@pytest.mark.parametrize("path", ["docs/reviewed.sha256", "reviewed.sha256.md", "reviewed", "a.md"])
def test_other_names_are_not_the_list(path: str) -> None:
    assert not is_review_list(path)


def lines(*reviews: tuple[str, ObjectId], comment: str = "") -> bytes:
    return write_reviews(comment.encode(), [Review(*review) for review in reviews])


def test_what_either_side_added_or_took_out_is_merged() -> None:
    base = lines(("a.md", A), ("b.md", A), ("c.md", A), comment="# one\n# gone")
    local = lines(("a.md", B), ("b.md", A), ("c.md", A), ("d.md", A), comment="# one\n# mine")
    cloud = lines(("a.md", A), ("b.md", A), ("e.md", B), comment="# one\n# gone\n# theirs").replace(b"\n", b"\r\n")
    merged = lines(("a.md", B), ("b.md", A), ("d.md", A), ("e.md", B), comment="# one\n# mine\n# theirs")
    assert merge_reviews(base, local, cloud) == merged == merge_reviews(base, merged, local)
    assert merge_reviews(b"", local, local) == local


def test_two_who_reviewed_different_states_of_a_file_both_stand() -> None:
    both = lines(("a.md", A), ("a.md", B))
    assert merge_reviews(b"", lines(("a.md", A)), lines(("a.md", B))) == both
    assert is_reviewed(both, "a.md", A)
    assert is_reviewed(both, "a.md", B)


@given(*[st.sets(st.tuples(st.sampled_from(NASTY), st.sampled_from([A, B]))) for _ in range(3)])
def test_no_side_loses_by_a_merge_what_the_other_did_not_take_out(base: Pairs, local: Pairs, cloud: Pairs) -> None:
    merged = merge_reviews(*(lines(*side) for side in (base, local, cloud)))
    assert merged is not None
    assert read_reviews(merged) == {
        one for one in base | local | cloud if (one in local and one in cloud) or (one not in base)
    }
    assert merged == merge_reviews(lines(*base), lines(*cloud), lines(*local))


@pytest.mark.parametrize(
    "other", [b"<<<<<<< LOCAL\n", b"a note\n", f"{A} bad.md\n".encode(), f"{A}  \xff.md\n".encode("latin-1")]
)
def test_lines_of_another_form_are_not_lost_by_a_merge(other: bytes) -> None:
    assert merge_reviews(b"", lines(("a.md", A)), lines(("b.md", A)) + other) is None
