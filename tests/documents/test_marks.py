from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.documents import marks
from satchel.documents.marks import MAX_MARKS, Checkbox, clean_title


def headings(text: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in marks.markdown(text).headings]


def test_atx_and_setext_headings_are_found_with_their_levels() -> None:
    text = "# One\n\nTwo\n---\n\n### Three ###\n\nTop\n===\n####### seven is text\n#no-space\n"
    assert headings(text) == [(1, "One"), (2, "Two"), (3, "Three"), (1, "Top")]


@pytest.mark.parametrize(
    "hidden",
    [
        "```\n# code\n```",
        "~~~~ python\n# code\n~~~\n# still code\n~~~~",
        "1. item\n\n       ```sh\n       # code\n       - [ ] not a task\n       ```",
        "> ```\n> # code\n> ```",
        "<!-- a\n# comment\n- [ ] no\n-->",
        "> # quoted",
        "    # indented code",
        "```\n# an unclosed fence hides the rest",
    ],
)
def test_what_is_code_quotation_or_comment_has_no_headings_and_no_tasks(hidden: str) -> None:
    found = marks.markdown(f"# A\n\n{hidden}\n")
    assert [heading.title for heading in found.headings] == ["A"]
    assert found.boxes == []


def test_reading_goes_on_after_a_fence_and_after_a_comment() -> None:
    assert headings("```\n# x\n```\n# A\n<!-- b -->\n# B\n<!--\n# y\n-->\n# C\n") == [(1, "A"), (1, "B"), (1, "C")]


@pytest.mark.parametrize("comment", ["<!-->", "<!--->", "<!---->", "<!-- -->"])
def test_a_comment_of_nothing_hides_nothing(comment: str) -> None:
    assert headings(f"{comment}\n# A\n") == [(1, "A")]


def test_inline_code_of_three_backticks_opens_no_fence() -> None:
    assert headings("```not a fence```\n# A\n") == [(1, "A")]


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\n---\n",
        "- item\n---\n",
        "| a |\n---\n",
        "\n---\n",
        "# A\n---\n",
        "> q\n---\n",
        "---\n---\n",
        "* * *\n---\n",
    ],
)
def test_a_rule_that_underlines_no_paragraph_of_one_line_is_no_heading(text: str) -> None:
    assert all(level == 1 for level, _ in headings(text))


@pytest.mark.parametrize(
    "above",
    ["---\ntitle: T\n---\n", "```\ncode\n```\n", "<!-- a\ncomment -->\n", "# A\n", "A\n===\n", "~~~\n---\n~~~\n"],
)
def test_a_line_is_underlined_right_below_what_is_no_text(above: str) -> None:
    start = len(above) if above.startswith("---") else 0
    found = marks.markdown(above + "Two\n---\n\ntext\n", start).headings
    assert [heading.title for heading in found if heading.level == 2] == ["Two"]


def test_checkboxes_in_every_list_style_are_tasks() -> None:
    found = marks.markdown("- [ ] open\n* [x] done\n  + [X] deep\n1. [ ] numbered\n- [-] other\n- [] none\n- [ ]\n")
    assert [(box.text, box.done) for box in found.boxes] == [
        ("open", False),
        ("done", True),
        ("deep", True),
        ("numbered", False),
    ]


@pytest.mark.parametrize("scan", [marks.markdown, marks.restructured, marks.asciidoc, marks.org, marks.boxes_only])
def test_a_checkbox_without_words_is_no_task_whatever_blanks_follow_it(scan: Callable[[str, int], marks.Marks]) -> None:
    found = scan("- [ ]\n- [ ]  \n- [ ] \t \n* TODO  \n- [ ]  real\n", 0)
    assert [box.text for box in found.boxes] == ["real"]


def test_restructured_text_levels_follow_the_order_of_the_styles() -> None:
    text = "=====\nTitle\n=====\n\nPart\n====\n\n.NET\n----\n\nPart two\n========\n\ntoo long a line\n---\n.. a\n----\n"
    found = marks.restructured(text).headings
    assert [(heading.level, heading.title) for heading in found] == [
        (1, "Title"),
        (2, "Part"),
        (3, ".NET"),
        (2, "Part two"),
    ]


def test_asciidoc_blocks_hide_what_looks_like_a_title() -> None:
    found = marks.asciidoc("= Doc\n\n== Part\n----\n== code\n----\n* [*] done\n* [ ] open\n")
    assert [(heading.level, heading.title) for heading in found.headings] == [(1, "Doc"), (2, "Part")]
    assert [box.done for box in found.boxes] == [True, False]


def test_org_headings_carry_tasks_and_source_blocks_hide() -> None:
    found = marks.org("* Top\n** TODO write it\n** DONE read it\n#+BEGIN_SRC sh\n* no\n#+end_src\n- [X] box\n")
    assert [heading.title for heading in found.headings] == ["Top", "write it", "read it"]
    assert [(box.text, box.done) for box in found.boxes] == [("write it", False), ("read it", True), ("box", True)]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("`code` and **bold** #", "code and bold"),
        ("[Link](https://example.org/x) {#anchor}", "Link"),
        ('<a name="x"></a>Title', "Title"),
        ("C#", "C#"),
        ("snake_case_name", "snake_case_name"),
        ("a\rb\x1b[31m\tc\x85\u2028d\x00", "a b [31m c d"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_title_reads_as_a_person_reads_it(raw: str, shown: str) -> None:
    assert clean_title(raw) == shown


@pytest.mark.promise("P8")
@pytest.mark.parametrize("scan", [marks.markdown, marks.restructured, marks.asciidoc, marks.org, marks.boxes_only])
@pytest.mark.parametrize(
    "piece", ["# a\n", "- [ ] x\n", "    ````x\n", "# [a", "# <a", "----\n", "a\n-\n\n", "<!--\n", "> "]
)
def test_no_text_takes_more_than_linear_time_or_gives_more_marks_than_the_bound(scan, piece: str) -> None:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    found = scan(piece * (400_000 // len(piece)), 0)
    assert time.perf_counter() - began < 5  # a quadratic scan of this takes minutes
    assert len(found.headings) + len(found.boxes) <= MAX_MARKS


@pytest.mark.promise("P8")
@pytest.mark.parametrize("sign", "[<")
def test_a_title_that_opens_brackets_and_closes_none_does_not_take_long(sign: str) -> None:
    began = time.process_time()
    for _ in range(1_000):
        clean_title(sign * 1_000)
    assert time.process_time() - began < 4  # 0.6 s; 8 s where each bracket looked at all behind it again and again


@pytest.mark.promise("P8")
def test_a_heading_with_thousands_of_stars_is_no_deeper_than_one_of_sixteen() -> None:
    found = marks.org("".join(f"{'*' * depth} a\nb\n" for depth in range(1, 1_000)), 0)
    assert [heading.level for heading in found.headings] == [min(depth, 16) for depth in range(1, 1_000)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(list("#-=`~*[] x\n>.<!1a\t")), max_size=120))
def test_marks_are_in_order_and_at_line_starts(text: str) -> None:
    for scan in (marks.markdown, marks.restructured, marks.asciidoc, marks.org):
        found = scan(text, 0)
        for row in (found.headings, found.boxes):
            places = [mark.at for mark in row]
            assert places == sorted(places)
            assert all(at == 0 or text[at - 1] == "\n" for at in places)


def test_plain_text_has_tasks_alone() -> None:
    assert marks.boxes_only("# no heading\n- [ ] task\n") == ([], [Checkbox(13, False, "task")])


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("read", "text"),
    [
        (marks.markdown, "".join(f"\n> {'`' * n}" for n in range(2_000, 3, -1))),
        (marks.asciidoc, "".join(f"\n{'-' * n}" for n in range(2_000, 4, -1))),
        (marks.org, "".join(f"\n#+begin_{n}" for n in range(60_000))),
    ],
    ids=["fences", "blocks", "org"],
)
def test_thousands_of_blocks_without_an_end_take_no_time_squared(read: Callable[[str], marks.Marks], text: str) -> None:
    began = time.perf_counter()
    read(text)
    assert time.perf_counter() - began < 2


def test_a_fence_is_closed_by_the_first_line_that_is_long_enough() -> None:
    assert headings("````\n# a\n```\n# b\n`````\n# c\n```\n# d\n````\n# e\n") == [(1, "c"), (1, "e")]


@pytest.mark.parametrize("text", ["title\n{row}\n", "{row}\ntitle\n{row}\n"])
def test_a_row_under_a_title_takes_no_hundred_times_its_length_in_memory(text: str) -> None:
    whole = text.format(row="=" * 300_000)
    tracemalloc.start()
    try:
        found = marks.restructured(whole).headings
        assert tracemalloc.get_traced_memory()[1] < 8 * len(whole)
    finally:
        tracemalloc.stop()
    assert [(heading.level, heading.title) for heading in found] == [(1, "title")]


@pytest.mark.parametrize(("scan", "piece"), [(marks.markdown, "```\n~~~\n"), (marks.asciidoc, "----\n")])
def test_a_text_of_nothing_but_ends_takes_a_few_times_its_length(
    scan: Callable[[str], marks.Marks], piece: str
) -> None:
    text = piece * (400_000 // len(piece))
    tracemalloc.start()
    try:
        scan(text)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(text)
    finally:
        tracemalloc.stop()
