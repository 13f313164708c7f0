from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.search.index import Index
from satchel.search.query import parse_query
from satchel.search.snippet import SNIPPET_CHARACTERS, Stems, _hint, cut_snippet
from tests.search.trees import index_of


def snippet(text: str, query: str) -> tuple[str, list[str]]:
    """The snippet of the best section, and the words lit up in it."""
    with index_of({"a.md": text}) as index:
        hit = index.search(parse_query(query), 1).sections[0]
    return hit.snippet, [hit.snippet[start:end] for start, end in hit.highlights]


def test_a_short_section_is_shown_whole_without_its_heading() -> None:
    assert snippet("# Rollback\n\nNeeds   approval\nby the lead.\n", "approve") == (
        "Needs approval by the lead.",
        ["approval"],
    )


def test_a_section_that_is_only_headings_shows_them() -> None:
    assert snippet("# Rollback\n", "rollback") == ("# Rollback", ["Rollback"])


def test_a_long_section_shows_where_most_different_words_stand() -> None:
    text = "alpha " + "filler " * 100 + "beta then alpha here " + "filler " * 100
    shown, lit = snippet(text, "alpha beta")
    assert lit == ["beta", "alpha"]
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert len(shown) <= SNIPPET_CHARACTERS + 4


def test_the_words_inside_a_name_light_up_where_they_stand() -> None:
    assert snippet("数 Ünser camelCase, HTTPServer.", "case")[1] == ["Case"]
    assert snippet("The HTTPServer calls a camelCase.", "server camel")[1] == ["Server", "camel"]
    assert snippet("Uses camelCase and camel_case.", "camelCase")[1] == ["camelCase", "camel_case"]
    assert snippet("Uses PodSecurityPolicy.", '"security policies"')[1] == ["SecurityPolicy"]


def test_what_the_beginning_of_a_word_may_become_lights_up() -> None:
    text = "A connection; we connect; aConnectionPool; connectome"
    assert snippet(text, "connecti*")[1] == ["connection", "connect", "Connection"]


def test_a_phrase_lights_up_as_one() -> None:
    assert snippet("the release train leaves; a train of release notes", '"release train"')[1] == ["release train"]
    assert snippet("set max_unavailable to one", "max_unavailable")[1] == ["max_unavailable"]


@pytest.mark.parametrize(
    ("text", "query", "lit"),
    [
        ("Überraschung im Café – naïve Lösung", "cafe lösung", ["Café", "Lösung"]),
        ("计划迁移数据库到云", "数据", ["数据"]),
        ("emoji 😀 before a word", "word", ["word"]),
        ("mixed 数据 and data", "data 数", ["数", "data"]),
        (
            "A connection; früh we connect; aConnectionPool; connectome",
            "connecti*",
            ["connection", "connect", "Connection"],
        ),
    ],
)
def test_highlights_are_characters_whatever_the_script(text: str, query: str, lit: list[str]) -> None:
    assert snippet(text, query)[1] == lit


def test_a_match_in_the_title_alone_shows_the_beginning() -> None:
    with index_of({"runbook.md": "# Turbine\n\nintro\n\n## Restart\n\npress the button\n"}) as index:
        hits = index.search(parse_query("turbine"), 5).sections
        assert {hit.snippet for hit in hits} == {"intro", "press the button"}


@given(st.text(alphabet="ab é文\n\t#-", min_size=1, max_size=600))
def test_highlights_lie_inside_the_snippet_and_in_order(text: str) -> None:
    with index_of({"a.md": text}) as index:
        _check(index, "a b é 文")


WORDS = [
    "say",
    "says",
    "Saying",
    "policies",
    "PodSecurityPolicy",
    "podSecurity",
    "pod_security",
    "ability",
    "Abilities",
    "v2",
    "HTTPServer",
    "servers",
]


@given(st.lists(st.sampled_from([*WORDS, "-", "\n", "a.b"]), min_size=1, max_size=15))
def test_a_letter_beyond_ascii_changes_nothing_that_is_lit_up_elsewhere(words: list[str]) -> None:
    with Index.open(None) as index:
        asked, matcher = (
            index.asked(parse_query('say polic* "pod security" servers podSecurityPolicy able')),
            index._matcher,
        )
        lit = [
            cut_snippet(
                f"{' '.join(words)} {end}", (), asked.shown, matcher.tokenize, Stems(matcher.tokenize)
            ).highlights
            for end in ("x", "→", "ü")  # two short ways and the long one
        ]
    assert lit[0] == lit[1] == lit[2]


@pytest.mark.parametrize("word", [*WORDS, "skies", "flies", "hoping", "sensibility", "relational", "sayings", "ays"])
def test_a_word_begins_as_the_hint_of_its_stem_says(word: str) -> None:
    with Index.open(None) as index:
        assert word.lower().startswith(_hint(index._matcher.tokenize(word)[0][2]))


def _check(index: Index, query: str) -> None:
    for hit in index.search(parse_query(query), 5).sections:
        assert len(hit.snippet) <= SNIPPET_CHARACTERS + 4
        ends = [place for span in hit.highlights for place in span]
        assert ends == sorted(set(ends))
        assert all(0 <= end <= len(hit.snippet) for end in ends)
        assert all(hit.snippet[start:end].strip() for start, end in hit.highlights)
