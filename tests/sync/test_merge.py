"""Two edits of a text: what merges, what is shown between markers, what can only stand side by side."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.sync.merge import MAX_MERGE_BYTES, Apart, Clean, Hunk, Marked, hunks, invalid, merge

BASE = b"one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.parametrize(
    ("local", "cloud", "merged"),
    [
        (b"ONE\ntwo\nthree\nfour\nfive\n", b"one\ntwo\nthree\nfour\nFIVE\n", b"ONE\ntwo\nthree\nfour\nFIVE\n"),
        (b"two\nthree\nfour\nfive\n", b"one\ntwo\nthree\nfour\n", b"two\nthree\nfour\n"),
        (b"one\ntwo\nthree\nfour\nfive", b"ONE\ntwo\nthree\nfour\nfive\n", b"ONE\ntwo\nthree\nfour\nfive"),
        (b"ONE\ntwo\nthree\nfour\nfive\n", b"one\ntwo\nthree\nfour\nfive", b"ONE\ntwo\nthree\nfour\nfive"),
        (BASE.replace(b"\n", b"\r\n"), BASE.replace(b"five", b"FIVE"), b"one\r\ntwo\r\nthree\r\nfour\r\nFIVE\r\n"),
        (BASE.replace(b"one", b"ONE"), BASE.replace(b"\n", b"\r\n"), b"ONE\r\ntwo\r\nthree\r\nfour\r\nfive\r\n"),
        (BASE + b"six\n", b"zero\n" + BASE, b"zero\n" + BASE + b"six\n"),
        (BASE + b"six", b"zero\n" + BASE, b"zero\n" + BASE + b"six"),
        # Mixed endings are compared as they are, and each line keeps its own.
        (BASE.replace(b"two\n", b"two\r\n"), BASE.replace(b"five", b"FIVE"), b"one\ntwo\r\nthree\nfour\nFIVE\n"),
    ],
)
def test_edits_of_different_lines_merge(local: bytes, cloud: bytes, merged: bytes) -> None:
    assert merge("a.md", BASE, local, cloud) == Clean(merged)


@pytest.mark.parametrize(
    ("base", "local", "cloud", "shown"),
    [
        (
            BASE,
            BASE.replace(b"three", b"3"),
            BASE.replace(b"three", b"III"),
            b"one\ntwo\n<<<<<<< LOCAL\n3\n=======\nIII\n>>>>>>> CLOUD\nfour\nfive\n",
        ),
        (b"x", b"xa", b"xb", b"<<<<<<< LOCAL\nxa\n=======\nxb\n>>>>>>> CLOUD\n"),
        (b"x\r\n", b"xa\r\n", b"xb\r\n", b"<<<<<<< LOCAL\r\nxa\r\n=======\r\nxb\r\n>>>>>>> CLOUD\r\n"),
        (b"", b"a\n", b"b", b"<<<<<<< LOCAL\na\n=======\nb\n>>>>>>> CLOUD\n"),
        (BASE, b"", BASE + b"6\n", b"<<<<<<< LOCAL\n=======\n" + BASE + b"6\n>>>>>>> CLOUD\n"),
        (None, b"same\na\nend", b"same\nb\nend\n", b"same\n<<<<<<< LOCAL\na\n=======\nb\n>>>>>>> CLOUD\nend\n"),
    ],
)
def test_the_same_lines_changed_are_shown_between_markers_on_lines_of_their_own(
    base: bytes | None, local: bytes, cloud: bytes, shown: bytes
) -> None:
    outcome = merge("a.md", base, local, cloud)
    assert isinstance(outcome, Marked)
    assert outcome.data == shown
    assert len(hunks(shown)) == 1


def test_without_a_base_a_difference_of_line_endings_alone_is_none() -> None:
    assert merge("a.md", None, b"a\nb", b"a\r\nb\r\n") == Clean(b"a\r\nb\r\n")


@pytest.mark.parametrize(
    ("local", "cloud"), [(b"x\n", b"x\nx"), (b"a\nb\n", b"b\n"), (b"", b"x\n"), (b"x", b"x\ny\nx\n")]
)
def test_without_a_base_lines_that_one_side_alone_has_are_a_conflict_too(local: bytes, cloud: bytes) -> None:
    for one, other in ((local, cloud), (cloud, local)):
        outcome = merge("a.md", None, one, other)
        assert isinstance(outcome, Marked)
        assert hunks(outcome.data)


def test_hunks_are_found_by_whole_markers_in_order() -> None:
    text = b"x\n<<<<<<< LOCAL\na\n=======\nb\n>>>>>>> CLOUD\n=======\n<<<<<<< LOCAL\r\n=======\r\n>>>>>>> CLOUD"
    assert hunks(text) == [Hunk(2, 6), Hunk(8, 10)]
    assert hunks(b"the line <<<<<<< LOCAL\n=======\n>>>>>>> CLOUD\n") == []
    assert hunks(b"<<<<<<< LOCAL\n>>>>>>> CLOUD\n") == []


LINES = b"0 # first\n1\n2\n3\n4 # last\n"


@pytest.mark.parametrize(
    ("path", "base", "first", "last"),
    [
        ("a.json", b'{\n"b": 1,\n"c": 2,\n"d": 3\n}\n', b'"a": 1,\n"b": 1', b'"c": 2,\n"a": 2'),
        ("a.yaml", b"b: 1\nc: 2\nd: 3\n", b"a: 1\nb: 1", b"c: 2\na: 2"),
        ("a.YML", b"b: 1\nc: {x: 2}\nd: 3\n", b"a: 1\nb: 1", b"c: {x: 2}\na: 2"),
        ("a.toml", b"b = 1\nc = 2\nd = 3\n", b"a = 1\nb = 1", b"c = 2\na = 2"),
        ("a.md", b"---\nb: 1\nc: 2\nd: 3\n---\n# A\n", b"a: 1\nb: 1", b"c: 2\na: 2"),
        ("a.mdx", b"---\r\nb: 1\r\nc: 2\r\nd: 3\r\n---\r\n", b"a: 1\r\nb: 1", b"c: 2\r\na: 2"),
        ("a.rst", b"+++\nb = 1\nc = 2\nd = 3\n+++\n", b"a = 1\nb = 1", b"c = 2\na = 2"),
    ],
)
def test_two_clean_additions_that_give_a_key_twice_are_a_conflict(
    path: str, base: bytes, first: bytes, last: bytes
) -> None:
    b, c = (first.split(b"\n")[1], last.split(b"\n")[0])
    outcome = merge(path, base, base.replace(b, first), base.replace(c, last))
    assert isinstance(outcome, Marked)
    assert "not be valid" in outcome.reason
    assert len(hunks(outcome.data)) == 2
    assert isinstance(merge("a.sh", base, base.replace(b, first), base.replace(c, last)), Clean)


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("tsconfig.json", b'{\n// both\n"a": 1,\n"b": 2,\n"c": 3,\n}\n'),
        ("templates/a.yaml", b'{{ if .a }}\n"a": 1\n"b": 2\n"c": 3\n{{ end }}\n'),
        ("a.md", b'---\n"a": 1\nb: 2\n"c": 3\nd: x: y\n---\n'),
    ],
)
def test_what_parsed_on_neither_side_merges_like_any_text(path: str, base: bytes) -> None:
    local, cloud = base.replace(b'"a": 1', b'"a": 4'), base.replace(b'"c": 3', b'"c": 5')
    assert merge(path, base, local, cloud) == Clean(local.replace(b'"c": 3', b'"c": 5'))


@pytest.mark.parametrize(
    ("path", "data", "wrong"),
    [
        ("a.json", b'{"a": {"b": 1, "b": 2}}', "a key is given twice"),
        ("a.json", b"[NaN]", "it cannot be parsed"),
        ("a.json", b"[" * 100_000, "it cannot be parsed"),
        ("a.json", b'{"a": 1,}', "it cannot be parsed"),
        ("a.yaml", b"a: 1\n---\nb: 1\nb: 2\n", "a key is given twice"),
        ("a.yaml", b"- x: &l {a: 1, a: 2}\n", "a key is given twice"),
        ("a.yaml", b"[" * 100_000, "it cannot be parsed"),
        ("a.yaml", b"a: &a [*a, *a]\nb: !Ref c\n", None),
        ("a.toml", b"a = 1\na = 2\n", "it cannot be parsed"),
        ("a.json", b"\xef\xbb\xbf{}", None),
        ("json", b"{", None),
        ("a.md", b"{", None),
    ],
)
def test_json_yaml_and_toml_have_to_parse_strictly(path: str, data: bytes, wrong: str | None) -> None:
    assert invalid(path, data) == wrong


@pytest.mark.parametrize(
    ("base", "local", "cloud", "reason"),
    [
        (b"a\0", b"b\n", b"c\n", "both changed it, and it is not text"),
        (b"a\n", b"b\n", b"c\0", "both changed it, and it is not text"),
        (b"a\n", b"b" * (MAX_MERGE_BYTES + 1), b"c\n", "both changed it, and it is too long to merge"),
        (b"a\n", b"\n" * 50_000, b"c\n", "both changed it, and it is too long to merge"),
    ],
)
def test_what_is_no_text_or_too_long_stands_apart(base: bytes, local: bytes, cloud: bytes, reason: str) -> None:
    assert merge("a", base, local, cloud) == Apart(reason)


@pytest.mark.promise("P8")
def test_a_toml_key_made_to_take_for_ever_is_a_conflict() -> None:
    base, key = b"a = 1\nb = 1\nc = 1\n", b"d" + b".d" * 30_000
    began = time.process_time()
    outcome = merge("a.toml", base, b"a = 2" + base[5:], base + key + b" = 1\n")
    assert isinstance(outcome, Marked)
    assert outcome.reason == "merged line by line it would not be valid: it cannot be parsed"
    assert time.process_time() - began < 5  # 14 s where it was parsed, and four times that for one twice as long


@pytest.mark.promise("P8")
def test_a_long_yaml_key_that_is_referred_to_again_and_again_is_compared_as_one() -> None:
    began = time.process_time()
    assert invalid("a.yaml", b"- &a " + b"x" * 2_000_000 + b"\n" + b"- {*a : 1}\n" * 20_000) is None
    assert time.process_time() - began < 4  # 0.3 s; 7 s where each was copied and hashed


@pytest.mark.promise("P8")
def test_yaml_that_gives_each_value_a_tag_of_half_the_text_is_not_checked() -> None:
    tracemalloc.start()
    try:
        text = b"%TAG ! tag:" + b"x" * 100_000 + b"\n---\n" + b"- !a b\n" * 1_000
        assert invalid("a.yaml", text) == "it cannot be parsed"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.promise("P8")
def test_texts_made_to_take_for_ever_are_not_merged() -> None:
    base = [b"%d" % (number // 100) for number in range(20_000)]
    other = [b"%d" % (number % 200) for number in range(20_000)]
    began = time.process_time()
    outcome = merge("a", b"\n".join(base), b"\n".join(other), b"x\n" + b"\n".join(base) + b"\nx")
    assert isinstance(outcome, Apart)
    assert time.process_time() - began < 5


TEXT = st.lists(st.sampled_from([b"a", b"b", b"c", b"", b"d\r"]), max_size=8).map(b"\n".join)


@pytest.mark.promise("P3")
@given(TEXT, TEXT, TEXT)
@settings(max_examples=300)
def test_a_merge_takes_a_lone_change_whole_is_fair_to_both_and_shows_every_line_in_conflict(
    base: bytes, local: bytes, cloud: bytes
) -> None:
    assert merge("a", base, local, base) == Clean(local)
    assert merge("a", base, base, cloud) == Clean(cloud)
    assert merge("a", base, local, local) == Clean(local)
    outcome, mirrored = merge("a", base, local, cloud), merge("a", base, cloud, local)
    assert type(outcome) is type(mirrored)
    for made in (outcome, merge("a", None, local, cloud)):
        assert isinstance(made, Marked) == bool(hunks(made.data if isinstance(made, Clean | Marked) else b""))
    if isinstance(outcome, Marked):
        assert hunks(outcome.data)
        kept = {line.rstrip(b"\r") for line in outcome.data.split(b"\n")}
        known = {line.rstrip(b"\r") for line in base.split(b"\n")}
        for side in (local, cloud):
            assert {line.rstrip(b"\r") for line in side.split(b"\n")} - known <= kept
