from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.documents.marks import markdown
from satchel.documents.sections import MAX_SECTION_CHARS, Section, TaskLine, cut, room_for_repeats


def sections(text: str) -> tuple[Section, ...]:
    return cut(text, markdown(text))[0]


def test_each_section_knows_its_trail_and_its_lines() -> None:
    text = "intro\n\n# Runbook\n\nhow\n\n## Rollback\nfirst\n\nthen\n\n# Other\nx\n"
    assert sections(text) == (
        Section((), 1, 1, "intro"),
        Section(("Runbook",), 3, 5, "# Runbook\n\nhow"),
        Section(("Runbook", "Rollback"), 7, 10, "## Rollback\nfirst\n\nthen"),
        Section(("Other",), 12, 13, "# Other\nx"),
    )


def test_a_heading_with_nothing_under_it_joins_the_deeper_one_below() -> None:
    assert sections("# A\n\n## B\ntext\n## C\n# D\n") == (
        Section(("A", "B"), 1, 4, "# A\n\n## B\ntext"),
        Section(("A", "C"), 5, 5, "## C"),
        Section(("D",), 6, 6, "# D"),
    )


@pytest.mark.promise("P8")
def test_long_headings_are_not_said_again_for_ever_with_short_sections() -> None:
    long = "x" * 190
    text = f"# {long}\n" + "## a\n- [ ] b\n" * 2_000
    trails = [part.trail for parts in cut(text, markdown(text)) for part in parts]
    assert trails[:2] == [(long, "a"), (long, "a")]
    assert trails[1_999] == ("a",)
    assert sum(len(heading) for trail in trails for heading in trail) <= room_for_repeats(len(text)) + len(trails)


def test_a_skipped_level_keeps_the_trail_of_what_is_above() -> None:
    assert [section.trail for section in sections("# A\nx\n### C\ny\n## B\nz\n")] == [("A",), ("A", "C"), ("A", "B")]


def test_a_long_section_is_cut_between_paragraphs() -> None:
    paragraph = "word " * 200
    cut_up = sections("# A\n\n" + f"{paragraph}\n\n" * 20)
    assert len(cut_up) > 4
    assert all(len(section.text) <= MAX_SECTION_CHARS and section.trail == ("A",) for section in cut_up)
    assert all(section.text.endswith("word") for section in cut_up)


def test_a_line_longer_than_a_section_is_cut_and_keeps_its_number() -> None:
    cut_up = sections("short\n\n" + "x" * (2 * MAX_SECTION_CHARS + 5))
    assert [(section.first_line, section.last_line, len(section.text)) for section in cut_up] == [
        (1, 1, 5),
        (3, 3, MAX_SECTION_CHARS),
        (3, 3, MAX_SECTION_CHARS),
        (3, 3, 5),
    ]


@pytest.mark.parametrize("blanks", [" " * 3 * MAX_SECTION_CHARS, " \n" * 2 * MAX_SECTION_CHARS])
def test_blanks_alone_are_no_section_however_many_there_are(blanks: str) -> None:
    found = sections(f"# A\n\nx{blanks}y\n")
    assert all(section.text.strip() for section in found)
    assert found[-1].last_line == 3 + blanks.count("\n")


def test_tasks_know_their_line_their_trail_and_their_owner() -> None:
    text = "# Q3\n\n- [ ] write it (@ana-1)\n\n## Done\n- [x] mail me@example.org\n"
    assert cut(text, markdown(text))[1] == (
        TaskLine(3, "write it (@ana-1)", False, ("Q3",), "ana-1"),
        TaskLine(6, "mail me@example.org", True, ("Q3", "Done"), None),
    )


_LINES = st.sampled_from(
    [
        "",
        "# A",
        "## B",
        "### C",
        "text",
        "  indented",
        "- [ ] t",
        "===",
        "---",
        "```",
        "<!--",
        "-->",
        "x" * 5_000,
        "w " * 2_500,
    ]
)


@pytest.mark.parametrize(
    "text", ["do **@ana** a", "cc:@ana", '"@ana"', "@ana", "a@b.example, then @ana", "<@ana>; @sam"]
)
def test_an_owner_may_stand_in_whatever_is_put_around_it(text: str) -> None:
    line = f"- [ ] {text}\n"
    assert [task.owner for task in cut(line, markdown(line))[1]] == ["ana"]


@settings(max_examples=100, deadline=None)
@given(st.lists(_LINES, max_size=25), st.integers(0, 3))
def test_every_line_with_text_is_in_one_section_and_as_it_stands(lines: list[str], skipped: int) -> None:
    text = "\n".join(["front matter"] * skipped + lines)
    start = len("front matter\n") * skipped if lines else 0
    if not lines:
        return
    found, _ = cut(text, markdown(text, start), start)
    numbered = text.split("\n")
    covered: dict[int, str] = {}
    for section in found:
        assert 1 <= section.first_line <= section.last_line <= len(numbered)
        for number, line in enumerate(section.text.split("\n"), section.first_line):
            covered[number] = covered.get(number, "") + line
        assert section.text == section.text.rstrip()
        assert len(section.text) <= MAX_SECTION_CHARS
    for number, line in enumerate(numbered, 1):
        if number > skipped and line.strip():
            assert "".join(covered[number].split()) == "".join(line.split())
        elif number <= skipped:
            assert number not in covered
