"""A query asked of one index: which sections match, in which order, and what they look like.

Order is by score, then path, then position, so that equal scores (copied boilerplate has many) come the same way
whatever edits led to the index. Scores are BM25 as FTS5 counts it over live sections, higher is better, kept to six
significant digits: the last digits of a logarithm differ between machines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, cast

import apsw

from satchel.objects.ids import ObjectId
from satchel.search import blocks
from satchel.search.query import Query
from satchel.search.schema import SECTION_BITS, TOKENIZER, rows
from satchel.search.snippet import Term, Token, cut_snippet, terms_of
from satchel.search.words import completions, match_expression, parted, quoted

ENOUGH = 5
"""Where fewer sections hold every word, one word is enough. On 42 questions over 30 MB of Markdown the mean reciprocal
rank is 0.74 with 1, 0.81 with 5 and 0.82 with 50 (``bench/search.py``)."""

RARE_ROWS = 4_000
RARE_SHARE = 10
"""Where one word is enough, only sections that hold one of the rarer words are scored: as many of the rarest words as
stand in one section of ``RARE_SHARE`` together, or in ``RARE_ROWS`` of a large index. All words still count for the
score. It bounds the time (p95 8 ms instead of 21 on the same questions) and changes the mean reciprocal rank by less
than 0.01."""
RARE_AT_LEAST = 200

TIES_READ_AHEAD = 32
"""Rows read beyond the wanted ones, in case they score the same as the last of them."""
_BITS = SECTION_BITS
_POSITION = (1 << SECTION_BITS) - 1


class FoundSection(NamedTuple):
    """One hit of one project."""

    score: float
    path: str
    position: int
    kind: str
    title: str
    object: ObjectId
    trail: tuple[str, ...]
    first: int
    last: int
    snippet: str
    highlights: list[list[int]]


class Found(NamedTuple):
    """The wanted stretch of hits, and how many there are in all."""

    sections: list[FoundSection]
    total: int
    kinds: dict[str, int]
    """Matching sections of each kind, by kind."""
    match: str
    """``all`` or ``any``."""


class _Row(NamedTuple):
    score: float
    path: str
    position: int
    document: int


class Matcher:
    """Asks one open index. Errors of SQLite pass through: the index names them."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        self._tokenizer: apsw.FTS5Tokenizer | None = None

    def match(
        self,
        query: Query,
        *,
        every: bool,
        limit: int,
        offset: int,
        only: Sequence[str] | None,
    ) -> Found:
        words = "all" if every else "any"
        sought = self._holding(query.sought if every else query.loose)
        without = [quoted(term) for term in self._holding(query.without)]
        where, values = _filter(query, only)
        if sought:
            phrases = [self._phrase(term) for term in sought]
            needed = phrases if every else self._rare(phrases)
            kinds = self._count(match_expression(needed, (), without, every=every), where, values)
            expression = match_expression(needed, phrases, without, every=every)
            best = self._best(expression, where, values, offset + limit) if kinds else []
        elif query.sought:
            return Found([], 0, {}, words)
        else:
            avoided = match_expression(without, (), (), every=False)
            kinds, best = self._listed(avoided, where, values, offset + limit, only)
        terms = terms_of(sought, self.tokenize)
        sections = [self._show(row, terms) for row in best[offset : offset + limit]]
        return Found(sections, sum(kinds.values()), kinds, words)

    def count_every(self, query: Query, only: Sequence[str] | None) -> int:
        """How many sections hold every term and pass the filters, up to ``ENOUGH``.

        That many for one term or none; but a run of a script without spaces has to be found at least once.
        """
        sought = [self._phrase(term) for term in self._holding(query.sought)]
        alone = len(sought) < 2
        if alone and len(query.loose) == len(query.sought):
            return ENOUGH
        where, values = _filter(query, only)
        without = [quoted(term) for term in self._holding(query.without)]
        expression = match_expression(sought, (), without, every=True)
        counted = rows(
            self._database,
            f"SELECT 1 FROM fts CROSS JOIN document ON id = fts.rowid >> {_BITS} "  # noqa: S608
            f"WHERE fts MATCH ?{where} LIMIT ?",
            (expression, *values, 1 if alone else ENOUGH),
        )
        return ENOUGH if alone and counted else len(counted)

    def _phrase(self, term: str) -> str:
        """A sought term in the language of FTS5. A name is also looked for as its words, and the beginning of a word in
        what stems to less."""
        if not term.endswith("*"):
            split = parted(term)
            return quoted(term) if split == term else f"({quoted(term)} OR {quoted(split)})"
        begun = self._stem(term)
        others: dict[str, str] = {}
        for word in completions(term):
            stem = self._stem(word)
            if not stem.startswith(begun):
                others.setdefault(stem, quoted(word))
        return f"({' OR '.join((quoted(term), *others.values()))})" if others else quoted(term)

    def _stem(self, word: str) -> str:
        return self.tokenize(word)[-1][2]

    def _holding(self, terms: Sequence[str]) -> list[str]:
        """The terms in which FTS5 finds a word: one without would make a conjunction match nothing."""
        return [term for term in terms if terms_of([term], self.tokenize)]

    def tokenize(self, text: str) -> list[Token]:
        """``text`` as FTS5 reads it."""
        if self._tokenizer is None:
            self._tokenizer = self._database.fts5_tokenizer(TOKENIZER[0], list(TOKENIZER[1:]))
        found = self._tokenizer(text.encode(), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False)
        return cast("list[Token]", found)

    def _rare(self, phrases: Sequence[str]) -> list[str]:
        """The rarest of the sought phrases, at least one: together in few enough sections to score them all."""
        (sections,) = rows(self._database, "SELECT sections FROM state")[0]
        few = min(RARE_ROWS, max(RARE_AT_LEAST, sections // RARE_SHARE))
        counted = sorted(
            (rows(self._database, "SELECT count(*) FROM fts WHERE fts MATCH ?", (phrase,))[0][0], phrase)
            for phrase in phrases
        )
        kept: list[str] = []
        held = 0
        for count, phrase in counted:
            held += count
            if kept and held > few:
                break
            kept.append(phrase)
        return kept

    def _count(self, expression: str, where: str, values: Sequence[str]) -> dict[str, int]:
        counted = rows(
            self._database,
            f"SELECT kind, count(*) FROM fts CROSS JOIN document ON id = fts.rowid >> {_BITS} "  # noqa: S608
            f"WHERE fts MATCH ?{where} GROUP BY kind ORDER BY kind",
            (expression, *values),
        )
        return dict(counted)

    def _best(self, expression: str, where: str, values: Sequence[str], wanted: int) -> list[_Row]:
        """At least the ``wanted`` best rows if there are so many, in their final order."""
        read = wanted + TIES_READ_AHEAD
        while True:
            raw = rows(
                self._database,
                f"SELECT fts.rank, path, fts.rowid FROM fts CROSS JOIN document ON id = fts.rowid >> {_BITS} "  # noqa: S608
                f"WHERE fts MATCH ?{where} ORDER BY fts.rank LIMIT ?",
                (expression, *values, read),
            )
            found = [_Row(_score(rank), path, row & _POSITION, row >> _BITS) for rank, path, row in raw]
            # Rows not read could still tie with the last wanted one: then read on.
            if len(found) < read or found[-1].score < found[wanted - 1].score:
                return sorted(found, key=lambda row: (-row.score, row.path, row.position))
            read *= 8

    def _listed(
        self, without: str, where: str, values: Sequence[str], wanted: int, only: Sequence[str] | None
    ) -> tuple[dict[str, int], list[_Row]]:
        """Without words to look for: the first section of every document the filters admit, in the order of ``only``
        or by path."""
        avoided = ""
        if without:
            avoided = f" AND id NOT IN (SELECT fts.rowid >> {_BITS} FROM fts WHERE fts MATCH ?)"  # noqa: S608
            values = (*values, without)
        admitted = f"FROM document WHERE sections > 0{where}{avoided}"
        counted = rows(self._database, f"SELECT kind, count(*) {admitted} GROUP BY kind ORDER BY kind", values)
        if only is None:
            listed = rows(self._database, f"SELECT path, id {admitted} ORDER BY path LIMIT ?", (*values, wanted))
        else:
            place = {path: at for at, path in enumerate(only)}
            listed = rows(self._database, f"SELECT path, id {admitted}", values)
            listed = sorted(listed, key=lambda row: place[row[0]])[:wanted]
        return dict(counted), [_Row(0.0, path, 0, number) for path, number in listed]

    def _show(self, row: _Row, terms: Sequence[Term]) -> FoundSection:
        kind, title, content = rows(
            self._database, "SELECT kind, title, object FROM document WHERE id = ?", (row.document,)
        )[0]
        low = row.document << _BITS
        at, data = rows(
            self._database,
            "SELECT id, data FROM block WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (low, low + row.position),
        )[0]
        section = blocks.open_section(data, low + row.position - at)
        snippet = cut_snippet(section.text, section.trail, terms, self.tokenize)
        return FoundSection(
            score=row.score,
            path=row.path,
            position=row.position,
            kind=kind,
            title=title,
            object=content,
            trail=section.trail,
            first=section.first,
            last=section.last,
            snippet=snippet.text,
            highlights=snippet.highlights,
        )


def _score(rank: float) -> float:
    return float(f"{-rank:.6g}")


def _filter(query: Query, only: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The filters on documents as SQL, and their values; ``only`` are the paths that may match at all."""
    parts: list[str] = []
    values: list[str] = []
    for column, wanted, avoided in (
        ("kind", query.kinds, query.without_kinds),
        ("path", query.paths, query.without_paths),
    ):
        test = "kind = ?" if column == "kind" else "instr(lower('/' || path), ?) > 0"
        for chosen, negation in ((wanted, ""), (avoided, "NOT ")):
            if chosen:
                parts.append(f" AND {negation}(" + " OR ".join([test] * len(chosen)) + ")")
                values += chosen if column == "kind" else ["/" + value.lstrip("/") for value in chosen]
    if only is not None:
        parts.append(" AND path IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(only))
    return "".join(parts), tuple(values)
