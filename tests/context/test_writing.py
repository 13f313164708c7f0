from __future__ import annotations

import time

import pytest

from satchel.context.writing import Change, Content, Note, Put, content_of, path_of
from satchel.errors import InvalidInput, PathRefused, PreconditionFailed, ReviewByPerson
from satchel.objects.ids import object_id

NOW = "2026-01-31T14:03:05.678Z"


def note(text: str, before: bytes | None = None, path: str = "journal/2026-01-31.md") -> Content:
    return content_of(Note("acme", None, text), path, before, NOW)


def lines_of(content: Content) -> list[str]:
    assert content.lines is not None
    first, last = content.lines
    return content.data.decode().splitlines()[first - 1 : last]


def test_a_text_replaces_what_its_writer_read() -> None:
    before = b"# Old\n"
    made = content_of(Put("acme", "a.md", "# New\n", object_id(before)), "a.md", before, NOW)
    assert made == Content(b"# New\n", object_id(before))
    assert made.changed
    new = content_of(Put("acme", "a.md", "# New\n", None), "a.md", None, NOW)
    assert (new.replaces, new.changed) == (None, True)


@pytest.mark.promise("P7")
def test_a_text_that_is_there_already_changes_nothing() -> None:
    before = b"# New\n"
    for replaces in (None, object_id(b"# Old\n"), object_id(before)):
        made = content_of(Put("acme", "a.md", "# New\n", replaces), "a.md", before, NOW)
        assert not made.changed


@pytest.mark.parametrize(
    ("replaces", "before", "said"),
    [
        (None, b"x", "exists already"),
        ("0" * 64, b"x", "changed"),
        ("0" * 64, None, "does not exist"),
        ("*", b"x", "changed"),
    ],
)
def test_a_text_never_replaces_anything_else(replaces: str | None, before: bytes | None, said: str) -> None:
    with pytest.raises(PreconditionFailed, match=said) as refused:
        content_of(Put("acme", "a.md", "y", replaces), "a.md", before, NOW)
    assert ("artifacts_get" in refused.value.hint) == (before is not None)


def test_nobody_writes_what_is_no_text_or_makes_a_journal_none() -> None:
    """A single NUL made a whole day's journal binary: neither read nor found any more."""
    for change in (Put("acme", "a.md", "a\0b", None), Note("acme", None, "a\0b")):
        with pytest.raises(InvalidInput, match="NUL"):
            content_of(change, "a.md", None, NOW)
    for before in (b"# A\n\n\0\n", b"\xff"):
        with pytest.raises(InvalidInput, match="not text"):
            note("More.", before)


def test_a_note_begins_a_journal_and_goes_on_with_one() -> None:
    first = note("Measured the tide.")
    assert first.data == b"# Journal of 2026-01-31\n\n## 2026-01-31 14:03 UTC\n\nMeasured the tide.\n"
    assert lines_of(first) == ["## 2026-01-31 14:03 UTC", "", "Measured the tide."]
    second = note("\n- [ ] mend the gauge\n- [ ] tell Sam\n\n", first.data)
    assert second.data == first.data + b"\n## 2026-01-31 14:03 UTC\n\n- [ ] mend the gauge\n- [ ] tell Sam\n"
    assert lines_of(second)[2:] == ["- [ ] mend the gauge", "- [ ] tell Sam"]
    assert note("x", path="notes/to-do.md").data.startswith(b"# To do\n")


@pytest.mark.promise("P7")
def test_a_note_that_the_file_holds_already_is_not_written_twice() -> None:
    text = "Found it.\n\n## 2026-01-01 00:00 UTC\n\nnot a note of its own (.*"
    before = note("Last.", note(text, note("First.").data).data).data
    for again in ("First.", text, "Last.", text.replace("\n", "\r\n")):
        made = note(again, before)
        assert not made.changed
        assert lines_of(made)[2:] == again.splitlines()
    for odd in ("One.\r", "\rTwo.\r\r\nTwo", "Thr\ree"):
        made = note(odd, before)
        assert not note(odd, made.data).changed
        assert b"\r" not in made.data
    assert note("Firs", before).changed
    assert note("First.\n\n## 2026-01-31 14:03 UTC", before).changed


@pytest.mark.parametrize("text", ["Ran:\n\n```sh\nmake", "~~~\n```", "<!-- not yet"])
def test_a_note_that_would_hide_those_behind_it_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="leaves a code block"):
        note(text, path="a.md")
    assert note(text, path="a.txt").changed  # there nothing hides anything
    standing = f"# A\n\n## 2026-01-31 14:03 UTC\n\n{text}\n".encode()
    assert not note(text, standing, "a.md").changed
    for closed in ("```sh\nmake\n```", "~~~\n```\n~~~", "<!-- not yet -->", "```make```", "# A\n\n- ```\n"):
        assert note(closed, path="a.md").changed


@pytest.mark.promise("P3")
@pytest.mark.parametrize("before", [b"", b"no end", b"one\n", b"two\n\n", b"a\r\nb\nc", "é\r\n".encode(), b"\n\n\n"])
def test_what_stands_in_the_file_stays_to_the_byte(before: bytes) -> None:
    made = note("More.", before, "a.md")
    assert made.data.startswith(before)
    assert lines_of(made)[2:] == ["More."]
    assert (b"\r\n" in made.data) == (b"\r\n" in before)


@pytest.mark.parametrize(("text", "before"), [(" \n", None), ("x", b"\xff\xfe"), ("half \ud800", None)])
def test_what_is_no_text_is_refused(text: str, before: bytes | None) -> None:
    with pytest.raises(InvalidInput):
        note(text, before)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (Put("acme", "../a.md", "x", None), PathRefused),
        (Put("acme", ".git/config", "x", None), PathRefused),
        (Put("acme", "con.md", "x", None), PathRefused),
        (Put("acme", ".claude/settings.json", "x", None), PathRefused),
        (Put("acme", ".github/workflows/a.yml", "x", None), PathRefused),
        (Note("acme", "/a.md", "x"), PathRefused),
        (Note("acme", "a.json", "x"), InvalidInput),
        (Note("acme", "a", "x"), InvalidInput),
    ],
)
def test_some_paths_are_no_agents_to_write(change: Change, error: type[Exception]) -> None:
    with pytest.raises(error):
        path_of(change, NOW)


@pytest.mark.promise("P8")
def test_a_note_that_a_long_journal_nearly_repeats_is_written_at_once() -> None:
    stamp = "## 2026-01-31 14:03 UTC\n\n"
    journal = (stamp * 80_000).encode()
    began = time.process_time()
    made = content_of(Note("acme", None, stamp * 790 + "x"), "a.md", journal, NOW)
    assert time.process_time() - began < 1  # 0.1 s; 2 s and more by an expression that holds the note
    assert made.data.startswith(journal)
    assert len(made.data) > len(journal)


def test_a_note_goes_into_the_journal_of_the_day() -> None:
    assert path_of(Note("acme", None, "x"), NOW) == "journal/2026-01-31.md"
    assert path_of(Note("acme", "notes/a.md", "x"), NOW) == "notes/a.md"


@pytest.mark.parametrize("path", ["reviewed.sha256", "REVIEWED.sha256", "reviewed.sha256/a.md"])
def test_no_agent_says_what_a_person_has_reviewed(path: str) -> None:
    for change in (Put("acme", path, "x", None), Note("acme", path, "x")):
        with pytest.raises(ReviewByPerson):
            path_of(change, NOW)
