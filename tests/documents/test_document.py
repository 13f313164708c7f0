from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from satchel.documents.document import DESCRIBE_BYTES, Document, describe, parse
from satchel.documents.kinds import is_text


@pytest.mark.promise("P8")
def test_a_title_with_blanks_before_its_end_takes_no_time_squared() -> None:
    began = time.process_time()
    assert describe("a.yaml", b"title: a" + b" " * 60_000 + b"b\n") == ("other", "a")
    assert time.process_time() - began < 2
    assert describe("a.yaml", b"title: 'a b' \t\n") == ("other", "a b")


def test_a_document_with_front_matter_gives_kind_title_and_lines_of_the_whole_file() -> None:
    data = b"---\ntitle: Queue\ntype: adr\ntags: [a, b]\ndate: 2026-01-02\n---\n# Use a queue\n\n- [ ] tell @ana\n"
    found = parse("docs/x.md", data)
    assert (found.kind, found.title) == ("decision", "Queue")
    assert found.front_matter == {"title": "Queue", "type": "adr", "tags": ["a", "b"], "date": "2026-01-02"}
    assert [(section.first_line, section.last_line) for section in found.sections] == [(7, 9)]
    assert [(task.line, task.owner) for task in found.tasks] == [(9, "ana")]


@pytest.mark.parametrize(
    ("path", "text", "title"),
    [
        ("a/guide.md", "# The `guide`\n", "The guide"),
        ("text/0509-some-part.md", "- Feature: x\n\n# Summary\n", "0509 some part"),
        ("teams/README.md", "no heading", "teams"),
        ("specs/001-login/spec.md", "no heading", "001 login spec"),
        ("a.yaml", "title: 'Kept'\nother: 1\n", "Kept"),
        ("a.json", '{"name": "Named", "x": [1]}', "Named"),
        ("a.json", "[" * 100_000, "a"),
        ("a.json", r'{"title": "No\u0000w, \ud800half"}', "No w, half"),
        ("a.json", r'{"title": "\u0000"}', "a"),
        ("a.md", '---\ntitle: "No\\0w"\n---\n', "No w"),
        ("a.md", '---\ntitle: "\\0"\n---\n# Head\n', "Head"),
        ("a.toml", 'title = "T"\n', "T"),
        ("a.org", "#+TITLE: Org title\n* Head\n", "Org title"),
        ("a.rst", "Head\n====\n", "Head"),
        ("a.md", "", "a"),
        ("picture.png", "\0\0", "picture.png"),
    ],
)
def test_the_title_comes_from_the_text_or_else_from_the_name(path: str, text: str, title: str) -> None:
    assert parse(path, text.encode()).title == title


def test_front_matter_with_a_mistake_still_gives_its_plain_lines() -> None:
    found = parse("a.md", b"---\ntitle: Why: because\nkind: plan\n  bad: [\n---\n# H\n")
    assert (found.kind, found.title) == ("plan", "Why: because")


@pytest.mark.promise("P8")
def test_an_alias_bomb_in_front_matter_stays_small() -> None:
    bomb = b"---\na: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 120))
    values = parse("a.md", bomb + b"---\n").front_matter
    assert values["a"] == ["x", "x"]
    assert values["b"] == []


@pytest.mark.parametrize("text", ["---\n\nbreak\n\n---\n", "---\nnever closed: yes\n", "--- \njust words\n---\n"])
def test_a_thematic_break_is_no_front_matter(text: str) -> None:
    found = parse("a.md", text.encode())
    assert found.front_matter == {}
    assert "".join(section.text for section in found.sections).startswith("---")


def test_toml_front_matter_is_read_too() -> None:
    assert parse("a.md", b'+++\ntitle = "T"\n+++\nbody\n').title == "T"


@pytest.mark.parametrize("data", [b"caf\xe9", b"a\0b", b"\xff\xfe#\0", b"\xed\xa0\x80"])
def test_what_is_not_text_has_kind_and_name_and_nothing_else(data: bytes) -> None:
    assert not is_text(data)
    assert parse("docs/adr/1.md", data) == Document("decision", "1.md")


def test_a_byte_order_mark_and_crlf_do_not_change_lines() -> None:
    found = parse("a.md", b"\xef\xbb\xbf# A\r\n\r\ntext\r\n")
    assert found.title == "A"
    assert [(section.last_line, section.text) for section in found.sections] == [(3, "# A\n\ntext")]


def test_data_files_have_sections_of_bounded_length() -> None:
    found = parse("a.yaml", b"key: value\n" * 2_000)
    assert len(found.sections) > 4
    assert found.sections[-1].last_line == 2_000


@pytest.mark.parametrize("edge", range(-4, 5))
@pytest.mark.parametrize("tail", ["é" * 40, "\r\n" * 40, "```\n# x\n```\n# Late\n"])
def test_a_head_cut_anywhere_describes_as_the_whole_does(edge: int, tail: str) -> None:
    data = b"words and\n" * (DESCRIBE_BYTES // 10)
    data = data[: DESCRIBE_BYTES + edge - 2] + tail.encode() * 3
    assert describe("x/readme.md", data[:DESCRIBE_BYTES]) == describe("x/readme.md", data) == ("note", "x")
    assert parse("x/readme.md", data).title == "x"


_PATHS = st.sampled_from(
    ["a.md", "specs/a.rst", "a.adoc", "a.org", "a.txt", "a.json", "a.yaml", "a.toml", "a.bin", ".rules"]
)
_PIECES = st.sampled_from(
    [
        "---\n",
        "+++\n",
        "title: T\n",
        "kind: plan\n",
        "# H\n",
        "```\n",
        "<!--",
        "=\n",
        "- [ ] t\n",
        "\r\n",
        "é",
        "\x00",
        "{",
        '"',
        "* a\n",
    ]
)


@settings(max_examples=100, deadline=None)
@given(_PATHS, st.lists(_PIECES, max_size=15).map("".join), st.binary(max_size=3), st.integers(0, 2))
@example("a.md", "```\n# H\n", b"", 2)
def test_describe_agrees_with_parse_on_anything(path: str, text: str, odd: bytes, big: int) -> None:
    data = text.encode() + odd + b"more\n" * (big * DESCRIBE_BYTES // 5) + text.encode()
    found = parse(path, data)
    assert (found.kind, found.title) == describe(path, data[:DESCRIBE_BYTES])
