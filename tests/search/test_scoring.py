"""Scores of one index and of many on one scale, and what is passed over without being scored."""

from __future__ import annotations

import math
import random

import pytest

from satchel.search import matching
from satchel.search.index import Index
from satchel.search.query import parse_query
from satchel.search.schema import SIZES, size_step
from satchel.search.scoring import together
from tests.search.trees import bring, index_of

WORDS = [f"w{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(60)]
QUERIES = ["waa wab wac wba wbf", "waa", "wad wae", "wba wbb wbc wbd wbe wbf", '"waa wab" waz', "waa -wab", "wa* wbc"]


def corpus(seed: int, files: int = 240) -> dict[str, bytes | str]:
    """Texts of words of very different frequency, some of them twice."""
    dice = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    texts = [" ".join(dice.choices(WORDS, weights, k=dice.randrange(4, 40))) for _ in range(files)]
    return {f"{number:03}.md": texts[number % (files - 20)] for number in range(files)}


def best(indexes: list[Index], text: str, wanted: int, *, every: bool = False) -> list[tuple[float, str]]:
    """As an answer over several projects is made."""
    asked = indexes[0].asked(parse_query(text))
    statistics = together([index.statistics(asked, every=every) for index in indexes])
    found: list[tuple[float, str]] = []
    floor = 0.0
    for index in indexes:
        ranked = index.rank(asked, statistics, every=every, wanted=wanted, floor=floor)
        found = sorted([*found, *((-row.score, row.path) for row in ranked.rows)])[:wanted]
        floor = -found[wanted - 1][0] if len(found) == wanted else 0.0
    return found


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("text", QUERIES)
def test_projects_asked_together_rank_like_one_index_of_everything(text: str, every: bool) -> None:
    files = corpus(1)
    dealt: list[dict[str, bytes | str]] = [{}, {}, {}]
    for path, body in files.items():
        dealt[1 if "waa" in str(body) else 2 if "wab" in str(body) else 0][path] = body
    with index_of(files) as whole:
        parts = [index_of(each) for each in dealt]
        assert best(parts, text, 12, every=every) == best([whole], text, 12, every=every)
        assert best([whole], text, 12, every=every) or every
        for part in parts:
            part.close()


@pytest.mark.parametrize("text", QUERIES)
def test_what_is_passed_over_would_not_have_been_among_the_best(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with index_of(corpus(2)) as index:
        monkeypatch.setattr(matching, "RARE_AT_LEAST", 10**6)
        monkeypatch.setattr(matching, "RARE_ROWS", 10**6)
        monkeypatch.setattr(matching, "HOPE", 0.0)
        everything = best([index], text, 10)
        for hope in (0.3, 0.6, 0.9):
            monkeypatch.setattr(matching, "HOPE", hope)
            assert best([index], text, 10) == everything
            assert best([index], text, 10)[:3] == best([index], text, 3)


@pytest.mark.parametrize("text", [*QUERIES, "wabWac waa", "waa* wab", '"waa wab"'])
def test_what_holds_every_word_and_is_not_scored_would_not_have_been_among_the_best(text: str) -> None:
    files = {path: f"{body!s} wabWac" if number % 3 else body for number, (path, body) in enumerate(corpus(4).items())}
    with index_of(files) as index:
        everything = best([index], text, 1_000, every=True)
        for wanted in (1, 3, 10):
            assert best([index], text, wanted, every=True) == everything[:wanted]


@pytest.mark.parametrize("text", ["waa", "wab wac", "wba"])
def test_scores_are_those_of_the_formula(text: str) -> None:
    files = {path: str(body) for path, body in corpus(3).items()}
    sizes = {path: SIZES[size_step(len(f"{path[:-3]}\n{path}\n\n{body}"))] for path, body in files.items()}
    mean = sum(sizes.values()) / len(sizes)
    expected = dict.fromkeys(files, 0.0)
    for word in text.split():
        held = {path: body.split().count(word) for path, body in files.items() if word in body.split()}
        rarity = max(math.log((len(files) - len(held) + 0.5) / (len(held) + 0.5)), 1e-6)
        for path, often in held.items():
            expected[path] += rarity * 1.4 * often / (often + 0.4 * (0.25 + 0.75 * sizes[path] / mean))
    with index_of(files) as index:
        for score, path in best([index], text, 20):
            assert -score == pytest.approx(expected[path], rel=1e-5)
        assert [-score for score, _ in best([index], text, 20)] == sorted(
            (float(f"{score:.6g}") for score in expected.values()), reverse=True
        )[:20]


def test_a_row_says_how_long_its_section_is_to_an_eighth() -> None:
    for characters in (*range(8, 200), 1_000, 4_000, 50_000):
        assert SIZES[size_step(characters)] == pytest.approx(characters, rel=0.13)
    assert size_step(0) == size_step(1) == 0
    assert size_step(10**9) == len(SIZES) - 1


def test_what_is_counted_are_the_live_sections() -> None:
    with index_of({"a.md": "one two three", "b.md": "four " * 300}) as index:
        asked = index.asked(parse_query("one"))
        bring(index, {"a.md": "one two three"})
        expected = index.statistics(asked, every=True)
        with index_of({"a.md": "one two three"}) as fresh:
            assert fresh.statistics(asked, every=True) == expected
    with index_of({}) as empty:
        assert empty.statistics(asked, every=True) == (0, 0, ((0,),))
