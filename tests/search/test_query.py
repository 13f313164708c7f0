from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.search.query import MAX_QUERY_CHARACTERS, MAX_QUERY_TERMS, MAX_QUERY_WORDS, STOPWORDS, Query, parse_query


def test_words_phrases_filters_and_what_to_avoid_are_told_apart() -> None:
    text = 'rollback "release train" kind:Decision -kind:journal path:Docs/ project:acme -draft -"not yet"'
    assert parse_query(text) == Query(
        text=text,
        words=("rollback",),
        phrases=("release train",),
        without=("draft", "not yet"),
        kinds=("decision",),
        without_kinds=("journal",),
        paths=("docs/",),
        projects=("acme",),
    )


def test_common_words_are_left_out_where_others_remain() -> None:
    assert parse_query("who approves a rollback?").words == ("approves", "rollback?")
    assert parse_query("to be or not to be").words == ("to", "be", "or", "not")
    assert parse_query('the "to be"').sought == ("to be",)


@pytest.mark.parametrize(
    "word", ["KEP-1287", "snake_case", "pkg.mod.fn", "a/b.md", "C++", "https://x.example/y", "naïve"]
)
def test_a_word_with_separators_stays_one_word(word: str) -> None:
    assert parse_query(word).words == (word,)


def test_an_option_of_a_program_is_a_word_and_nothing_to_avoid() -> None:
    query = parse_query('kubectl apply --dry-run --"not yet" ---x -draft')
    assert query.words == ("kubectl", "apply", "--dry-run", "---x")
    assert (query.phrases, query.without) == (("not yet",), ("draft",))


@pytest.mark.parametrize("text", ["", "   ", '"', '""', "--", "-", "*", "AND", "kind:", 'kind:""', "()", "\0", "…"])
def test_what_cannot_be_looked_up_is_left_out(text: str) -> None:
    query = parse_query(text)
    assert query.sought in ((), ("AND",), ("kind:",))
    assert not query.filtered


def test_an_unclosed_quote_reaches_to_the_end() -> None:
    assert parse_query('one "two three').phrases == ("two three",)


def test_a_review_is_yes_or_no_and_anything_else_is_words() -> None:
    query = parse_query("reviewed:YES -reviewed:no")
    assert (query.reviewed, query.without_reviewed, query.sought) == (("yes",), ("no",), ())
    assert query.filters() == {"reviewed": ["yes"], "-reviewed": ["no"]}
    assert parse_query("reviewed:Maybe").words == ("reviewed:Maybe",)


def test_a_kind_may_be_named_by_its_words_and_what_names_none_is_words() -> None:
    query = parse_query('kind:ADR kind:"hand off" -kind:todo kind:adrs')
    assert query.filters() == {"kind": ["decision", "handoff"], "-kind": ["tasks"]}
    assert query.sought == ()
    query = parse_query("kind:Nonsense rollback -kind:nothing")
    assert (query.words, query.without, query.filters()) == (
        ("kind:Nonsense", "rollback"),
        ("kind:nothing",),
        {"-words": ["kind:nothing"]},
    )


def test_a_filter_may_be_quoted_and_repeated() -> None:
    query = parse_query('path:"old docs/" path:new/ KIND:spec')
    assert query.paths == ("old docs/", "new/")
    assert query.filters() == {"kind": ["spec"], "path": ["old docs/", "new/"]}


@pytest.mark.promise("P8")
def test_a_long_query_is_cut_and_says_so() -> None:
    many = " ".join(f"w{number}" for number in range(MAX_QUERY_TERMS + 1))
    assert len(parse_query(many).sought) == MAX_QUERY_TERMS
    assert parse_query(many).cut
    assert parse_query("x" * (MAX_QUERY_CHARACTERS + 1)).cut
    assert len(parse_query("x " * MAX_QUERY_CHARACTERS).text) == MAX_QUERY_CHARACTERS
    assert not parse_query("x").cut
    assert parse_query(" ".join(f"path:k{number}" for number in range(50))).cut


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("text", "short"),
    [
        ('"' + "the a " * 500 + '"', " ".join(["the a"] * (MAX_QUERY_WORDS // 2))),
        ("a.b-" * 500, "a.b-" * (MAX_QUERY_WORDS // 2 - 1) + "a.b"),
        ("\u8a2d\u8a08" * 500, "\u8a2d\u8a08" * (MAX_QUERY_WORDS // 2)),
    ],
)
def test_the_words_that_phrases_are_made_of_are_bounded_too(text: str, short: str) -> None:
    for many in (parse_query(text), parse_query(f'first "{text}" -"{text}" second')):
        assert sum(term.count(short) for term in many.sought) <= 1
        assert many.cut
    assert parse_query(text).sought == (short,)
    assert parse_query(f'"{short}"').sought == (short,)
    assert not parse_query(f'"{short}"').cut


@pytest.mark.promise("P8")
def test_beginnings_are_few_and_not_too_short() -> None:
    assert parse_query("c* co* con* KEP-1* KEP-128** 港* -x* -xyz*").words == (
        "c",
        "co",
        "con*",
        "KEP-1",
        "KEP-128*",
        "港",
    )
    assert parse_query("-x* -xyz*").without == ("x", "xyz*")
    assert parse_query(" ".join(f"abc{n}*" for n in range(9))).words[3:5] == ("abc3*", "abc4")
    assert parse_query("con* con** con").words == ("con*", "con")


def test_a_repeated_word_counts_once() -> None:
    assert parse_query("disk disk disk").words == ("disk",)


@given(st.text(max_size=300))
def test_any_text_is_a_query(text: str) -> None:
    query = parse_query(text)
    query.text.encode()
    assert len(query.sought) + len(query.without) <= MAX_QUERY_TERMS


def test_common_words_are_written_as_they_are_compared() -> None:
    assert all(word == word.lower() and word.isalpha() for word in STOPWORDS)


@given(st.text(alphabet=" ab-.é\t\n\u3000_1(", max_size=30))
def test_plain_words_are_read_the_short_way_as_the_long(text: str) -> None:
    assert parse_query(text)._replace(text="") == parse_query(f'{text} "')._replace(text="")
