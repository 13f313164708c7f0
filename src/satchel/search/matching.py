"""A query asked of one index: which sections match, in which order, and what they look like.

Order is by score, then path, then position, so that equal scores (copied boilerplate has many) come the same way
whatever edits led to the index. Scores are BM25 over the live sections of all indexes asked together (``scoring``),
higher is better, kept to six significant digits: the last digits of a logarithm differ between machines.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import apsw

from satchel.objects.ids import Digest, ObjectId
from satchel.search import blocks
from satchel.search.blocks import SectionText
from satchel.search.narrowing import HOPE, Scored, narrowed
from satchel.search.query import Query
from satchel.search.schema import IS_REVIEWED, KIND_MASK, ROW_BITS, ROW_DOCUMENT, SIZE_BITS, TOKENIZER, rows
from satchel.search.scoring import CLOSE, Scorer, Statistics, Term, weights
from satchel.search.snippet import Stems, Token, Tokenize, cut_snippet, term_of
from satchel.search.snippet import Term as Shown
from satchel.search.words import completions, match_expression, parted, quoted, spaced

ENOUGH = 5
"""Where fewer sections hold every word, one word is enough. On 42 questions over 30 MB of Markdown the mean reciprocal
rank is 0.74 with 1, 0.81 with 5 and 0.82 with 50 (``bench/search.py``)."""

RARE_ROWS = 4_000
RARE_SHARE = 10
"""Where one word is enough, only sections that hold one of the rarer words count as found: as many of the rarest words
as stand in one section of ``RARE_SHARE`` together, or in ``RARE_ROWS`` of a large index. All words still count for the
score. It bounds the time."""
RARE_AT_LEAST = 200

COUNTS_KEPT = 512
"""Phrases whose holders stay counted while the tree is the same: common words come again, and counting one takes a
millisecond in 100 MB."""

RAREST = 3
"""So many of the rarest words are looked for first where a section has to hold every word."""

AT_ONCE = 100
"""So many sections are scored without narrowing them down first: a statement of SQLite takes as long."""

TELLING = 1e-5
"""Where one word is enough, words that add no more than this share of what all could, since half of the sections have
them, do not count for the score: they would take most of the time."""
_TESTS = {
    "kind": "kind = ?",
    "path": "instr(lower('/' || path), ?) > 0",
    "reviewed": f"CASE WHEN {IS_REVIEWED} THEN 'yes' ELSE 'no' END = ?",
}
"""A filter as SQL, by its name."""
_COLUMNS = f"path, kind, title, object, {IS_REVIEWED}, id"
"""What a ``Row`` has of its document."""
_DOCUMENTS = f"""
SELECT asked.value, {_COLUMNS} FROM carray(?) AS asked
CROSS JOIN document ON id = (SELECT max(id) FROM document WHERE id <= asked.value)
"""  # noqa: S608  what is filled in stands above
_HOLDERS = "SELECT value, (SELECT count(*) FROM fts WHERE fts MATCH value) FROM carray(?)"
_KINDS = f"SELECT group_concat(char(65 + (rowid >> {SIZE_BITS} & {KIND_MASK})), '') FROM fts WHERE fts MATCH ?"  # noqa: S608
"""One character for each section: counting those of a kind then takes no time."""
_KINDS_SCORED = f"{_KINDS} AND relevance_every(fts) IS NULL"  # which it always is


class FoundSection(NamedTuple):
    """One hit of one project."""

    score: float
    path: str
    position: int
    kind: str
    title: str
    object: ObjectId
    reviewed: bool
    trail: tuple[str, ...]
    first: int
    last: int
    snippet: str
    highlights: list[list[int]]


class Row(NamedTuple):
    """A section that matches, and what the index says of its document."""

    score: float
    number: int
    position: int
    path: str
    kind: str
    title: str
    object: ObjectId
    reviewed: int


class Found(NamedTuple):
    """The wanted stretch of hits, and how many there are in all."""

    sections: list[FoundSection]
    total: int
    kinds: dict[str, int]
    """Matching sections of each kind, by kind."""
    match: str
    """``all`` or ``any``."""


class Asked(NamedTuple):
    """A query as every index is asked it."""

    query: Query
    terms: tuple[Term, ...]
    loose: tuple[Term, ...]
    """Instead of ``terms`` where one is enough."""
    without: tuple[str, ...]
    shown: tuple[Shown, ...]
    """What is lit up in a snippet, for ``terms`` and for ``loose``."""
    loose_shown: tuple[Shown, ...]

    def of(self, *, every: bool) -> tuple[Term, ...]:
        return self.terms if every else self.loose

    @property
    def least(self) -> int:
        """Where fewer sections hold every term, one term is enough: never for one term or none; but a run of a script
        without spaces has to be found at least once."""
        if len(self.query.sought) > 1:
            return ENOUGH
        return int(len(self.query.loose) != len(self.query.sought))


class State(NamedTuple):
    """What an index holds."""

    sections: int
    length: int
    digest: Digest | None


NOTHING = State(0, 0, None)


class Ranked(NamedTuple):
    """The best rows in their order, and how many match in all."""

    rows: list[Row]
    kinds: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


class Matcher:
    """Asks one open index. Errors of SQLite pass through: the index names them."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        self.tokenize = _tokenize_of(database)
        """A text as FTS5 reads it."""
        self._scorer: Scorer | None = None
        self._settled: State | None = None
        self._counted: dict[str, int] = {}
        self._counted_of: Digest | None = None
        self._kinds: list[tuple[str, int]] = []
        self._stems = Stems(self.tokenize)

    def asked(self, query: Query) -> Asked:
        """The query in the language of FTS5: the same for every index."""
        terms, shown = self._terms(query.sought)
        loose, loose_shown = (terms, shown) if query.text.isascii() else self._terms(query.loose)
        # One in which FTS5 finds no word would make a conjunction match nothing.
        without = tuple([quoted(term) for term in query.without if self.tokenize(spaced(term))])
        return Asked(query, terms, loose, without, shown, loose_shown)

    def state(self) -> State:
        """What the index holds now; what was counted in another tree is forgotten."""
        if self._settled is not None:
            return self._settled
        found = rows(self._database, "SELECT sections, length, digest FROM state")
        state = State(*found[0]) if found else NOTHING
        if state.digest != self._counted_of or len(self._counted) > COUNTS_KEPT:
            self._counted_of, self._counted = state.digest, {}
            kinds = rows(self._database, "SELECT name, id FROM kind ORDER BY name")
            self._kinds = [(name, number) for name, number in kinds]
        return state

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Inside, the index holds what it holds now: a transaction keeps it."""
        self._settled = self.state()
        try:
            yield
        finally:
            self._settled = None

    def statistics(self, asked: Asked, *, every: bool) -> Statistics:
        """What the scores of this index depend on."""
        state = self.state()
        terms = asked.of(every=every)
        counted = self._counted
        new = {phrase for term in terms for phrase in term.phrases if phrase not in counted}
        if new:
            counted.update(rows(self._database, _HOLDERS, (apsw.carray(tuple(new)),)))
        counts = [tuple([counted[phrase] for phrase in term.phrases]) for term in terms]
        return Statistics(state.sections, state.length, tuple(counts))

    def rank(
        self,
        asked: Asked,
        statistics: Statistics,
        every: bool,
        wanted: int,
        least: int,
        only: Sequence[str] | None,
        floor: float,
    ) -> Ranked:
        """At least the ``wanted`` best rows if there are so many, without those that score less than ``floor``. Where
        fewer than ``least`` hold every term, perhaps none.

        ``statistics`` are those of all indexes that are asked together; this one was asked for its own just before.
        """
        terms = asked.of(every=every)
        if every and terms and not self._all_held(terms, least):
            return Ranked([], {})  # at once: so it is in most of many projects
        where, values = _filter(asked.query, only)
        without = asked.without
        if not terms:
            if asked.query.sought:
                return Ranked([], {})
            avoided = match_expression(without, (), every=False)
            kinds, listed = self._listed(avoided, where, values, wanted, only)
            return Ranked(listed, kinds)
        scored = [
            Scored(term.expression, sum(counts), most, sum(most))
            for term, counts, most in zip(terms, statistics.counts, weights(statistics), strict=True)
        ]
        if every:
            if not self._meet(asked, where, values, least):
                return Ranked([], {})
            expression = match_expression([term.expression for term in scored], without, every=True)
            return self._scored(expression, scored, statistics, floor, where, values, wanted)
        scored.sort(key=lambda term: (term.holders, term.expression))
        rare = _rarest(scored, _few(statistics.sections))
        whole = sum(term.adds for term in scored)
        telling = [term for at, term in enumerate(scored) if at < rare or term.adds > TELLING * whole]
        rarer = [term.expression for term in scored[:rare]]
        kinds = self._count(match_expression(rarer, without, every=False), where, values)
        if not kinds:
            return Ranked([], kinds)
        hope = HOPE if sum(kinds.values()) > AT_ONCE else 0.0
        best = self._best_any(scored, rare, telling, statistics, floor, hope, without, where, values, wanted)
        return Ranked(self._rows(best), kinds)

    def _best_any(
        self,
        terms: Sequence[Scored],
        rare: int,
        telling: Sequence[Scored],
        statistics: Statistics,
        floor: float,
        hope: float,
        without: Sequence[str],
        where: str,
        values: Sequence[str],
        wanted: int,
    ) -> list[tuple[float, int]]:
        """The best of the sections that hold one of the first ``rare`` terms; all terms count that tell something.

        First come those that may score the share ``hope`` of all, as the best commonly do. The worst of them that is
        wanted then says what a section has to score at least.
        """
        whole = sum(term.adds for term in terms)
        least = max(floor, hope * whole)
        while True:
            chosen, phrases = narrowed(terms, rare, least * CLOSE)
            if not chosen:
                return []
            scored = f"({' OR '.join([term.expression for term in telling])})"
            expression = match_expression([f"({chosen})", scored], without, every=True)
            best = self._best(expression, telling, phrases, statistics, floor, where, values, wanted)
            reached = best[wanted - 1][0] if len(best) >= wanted else 0.0
            if least <= floor or reached >= least:
                return best
            floor = max(floor, reached)
            least = floor if reached or least < whole / 8 else max(floor, least * HOPE)

    def _held(self, term: Term) -> int:
        """How many sections hold a term, or more where they hold it in several ways."""
        return sum([self._counted[phrase] for phrase in term.phrases])

    def _all_held(self, terms: Sequence[Term], least: int) -> bool:
        """Whether each term stands in as many sections, so that all of them could stand there together."""
        return min([self._held(term) for term in terms]) >= least

    def _meet(self, asked: Asked, where: str, values: Sequence[str], least: int) -> bool:
        """Whether as many sections hold the rarest terms together; if so, they may hold the others."""
        if len(asked.terms) <= RAREST:
            return True
        # FTS5 reads on in the lists of all words at once, however few sections hold the rarest together.
        rarest = sorted([(self._held(term), term.expression) for term in asked.terms])[:RAREST]
        expression = match_expression([term for _, term in rarest], asked.without, every=True)
        joined = f"CROSS JOIN document ON {ROW_DOCUMENT}" if where else ""
        statement = f"SELECT 1 FROM fts {joined} WHERE fts MATCH ?{where} LIMIT ?"  # noqa: S608
        return len(rows(self._database, statement, (expression, *values, least))) >= least

    def show(self, found: Sequence[Row], terms: Sequence[Shown]) -> list[FoundSection]:
        """What rows look like."""
        sections = blocks.sections(self._database, [row.number for row in found])
        return [self._show(row, sections[row.number], terms) for row in found]

    def _terms(self, sought: Sequence[str]) -> tuple[tuple[Term, ...], tuple[Shown, ...]]:
        terms: list[Term] = []
        shown: list[Shown] = []
        for term in sought:
            completed = self._completed(term) if term.endswith("*") else {}
            if lit := term_of(term, self.tokenize, completed):
                terms.append(Term((*self._phrases(term), *map(quoted, completed.values()))))
                shown.append(lit)
        return tuple(terms), tuple(shown)

    def _phrases(self, term: str) -> tuple[str, ...]:
        """A sought term in the language of FTS5. A name is also looked for as its words."""
        split = term if term.endswith("*") else parted(term)
        return (quoted(term),) if split == term else (quoted(term), quoted(split))

    def _completed(self, term: str) -> dict[str, str]:
        """What the beginning of a word may become that stems to less than it, by its stem."""
        words = completions(term)
        begun = self._stem(term) if words else ""
        completed: dict[str, str] = {}
        for word in words:
            stem = self._stem(word)
            if not stem.startswith(begun):
                completed.setdefault(stem, word)
        return completed

    def _stem(self, word: str) -> str:
        return self.tokenize(word)[-1][2]

    def _count(self, expression: str, where: str, values: Sequence[str]) -> dict[str, int]:
        if where:
            counted = rows(
                self._database,
                f"SELECT kind, count(*) FROM fts CROSS JOIN document ON {ROW_DOCUMENT} "  # noqa: S608
                f"WHERE fts MATCH ?{where} GROUP BY kind ORDER BY kind",
                (expression, *values),
            )
            return dict(counted)
        return self._by_kind(rows(self._database, _KINDS, (expression,))[0][0])

    def _by_kind(self, signs: str | None) -> dict[str, int]:
        signs = signs or ""
        return {name: count for name, number in self._kinds if (count := signs.count(chr(65 + number)))}

    def _scored(
        self,
        expression: str,
        terms: Sequence[Scored],
        statistics: Statistics,
        floor: float,
        where: str,
        values: Sequence[str],
        wanted: int,
    ) -> Ranked:
        """Everything that matches the expression, which is every term: counted and scored in one pass."""
        if where:
            kinds = self._count(expression, where, values)
            best = self._best(expression, terms, 0, statistics, floor, where, values, wanted) if kinds else []
            return Ranked(self._rows(best), kinds)
        scorer = self._scoring(terms, 0, statistics, floor, wanted)
        kinds = self._by_kind(rows(self._database, _KINDS_SCORED, (expression,))[0][0])
        return Ranked(self._rows(scorer.kept()), kinds)

    def _best(
        self,
        expression: str,
        terms: Sequence[Scored],
        first: int,
        statistics: Statistics,
        floor: float,
        where: str,
        values: Sequence[str],
        wanted: int,
    ) -> list[tuple[float, int]]:
        """(score, row) of at least the ``wanted`` best if there are so many, the best first. The phrases of ``terms``
        stand in the expression from the ``first`` on."""
        scorer = self._scoring(terms, first, statistics, floor, wanted)
        # What the function keeps is the result: the statement gives no rows.
        test, joined = "relevance(fts)", ""
        if where:
            test, joined = f"CASE WHEN true{where} THEN {test} END", f"CROSS JOIN document ON {ROW_DOCUMENT}"
        rows(self._database, f"SELECT 1 FROM fts {joined} WHERE fts MATCH ? AND {test}", (expression, *values))  # noqa: S608
        return scorer.kept()

    def _scoring(
        self, terms: Sequence[Scored], first: int, statistics: Statistics, floor: float, wanted: int
    ) -> Scorer:
        self._scorer = self._scorer or Scorer(self._database)
        adding = [most for term in terms for most in term.most]
        self._scorer.set(list(enumerate(adding, first)), len(terms), statistics, wanted, floor)
        return self._scorer

    def _rows(self, best: Sequence[tuple[float, int]]) -> list[Row]:
        """In their final order."""
        scores = {row >> ROW_BITS: score for score, row in best}
        if not scores:
            return []
        found = []
        for number, *document, first in rows(self._database, _DOCUMENTS, (apsw.carray(array("q", scores)),)):
            found.append(Row(_score(scores[number]), number, number - first, *document))
        return sorted(found, key=_placed)

    def _listed(
        self, without: str, where: str, values: Sequence[str], wanted: int, only: Sequence[str] | None
    ) -> tuple[dict[str, int], list[Row]]:
        """Without words to look for: the first section of every document the filters admit, in the order of ``only``
        or by path."""
        avoided = ""
        if without:
            holding = f"SELECT document.id FROM fts CROSS JOIN document ON {ROW_DOCUMENT} WHERE fts MATCH ?"  # noqa: S608
            avoided = f" AND id NOT IN ({holding})"
            values = (*values, without)
        admitted = f"FROM document WHERE sections > 0{where}{avoided}"
        counted = rows(self._database, f"SELECT kind, count(*) {admitted} GROUP BY kind ORDER BY kind", values)
        columns = f"SELECT {_COLUMNS} {admitted}"
        if only is None:
            listed = rows(self._database, f"{columns} ORDER BY path LIMIT ?", (*values, wanted))
        else:
            place = {path: at for at, path in enumerate(only)}
            listed = rows(self._database, columns, values)
            listed = sorted(listed, key=lambda row: place[row[0]])[:wanted]
        return dict(counted), [Row(0.0, number, 0, *document) for *document, number in listed]

    def _show(self, row: Row, section: SectionText, terms: Sequence[Shown]) -> FoundSection:
        snippet = cut_snippet(section.text, section.trail, terms, self.tokenize, self._stems)
        return FoundSection(
            row.score,
            row.path,
            row.position,
            row.kind,
            row.title,
            row.object,
            bool(row.reviewed),
            section.trail,
            section.first,
            section.last,
            snippet.text,
            snippet.highlights,
        )


def _tokenize_of(database: apsw.Connection) -> Tokenize:
    """No method of the matcher, which holds it: such a circle would outlive a closed index by hours."""
    known: list[apsw.FTS5Tokenizer] = []

    def tokenize(text: str) -> list[Token]:
        if not known:
            known.append(database.fts5_tokenizer(TOKENIZER[0], list(TOKENIZER[1:])))
        found = known[0](text.encode(), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False)
        return cast("list[Token]", found)

    return tokenize


def _score(score: float) -> float:
    return float(f"{score:.6g}")


def _placed(row: Row) -> tuple[float, str, int]:
    return -row.score, row.path, row.position


def _few(sections: int) -> int:
    return min(RARE_ROWS, max(RARE_AT_LEAST, sections // RARE_SHARE))


def most_scored(holders: Sequence[int], sections: int, *, every: bool) -> int:
    """How many sections are scored at most, of one index of so many, for terms that as many hold."""
    if every:
        return min(holders, default=sections)
    return max(min(sum(holders), _few(sections)), min(holders, default=sections))


def _rarest(terms: Sequence[Scored], most: int) -> int:
    """How many of ``terms``, at least one: as many as stand in ``most`` sections together."""
    held = 0
    for at, term in enumerate(terms):
        held += term.holders
        if at and held > most:
            return at
    return len(terms)


def _filter(query: Query, only: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The filters on documents as SQL, and their values; ``only`` are the paths that may match at all."""
    parts: list[str] = []
    values: list[str] = []
    for column, wanted, avoided in (
        ("kind", query.kinds, query.without_kinds),
        ("path", query.paths, query.without_paths),
        ("reviewed", query.reviewed, query.without_reviewed),
    ):
        test = _TESTS[column]
        for chosen, negation in ((wanted, ""), (avoided, "NOT ")):
            if chosen:
                parts.append(f" AND {negation}(" + " OR ".join([test] * len(chosen)) + ")")
                values += ["/" + value.lstrip("/") for value in chosen] if column == "path" else chosen
    if only is not None:
        parts.append(" AND path IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(only))
    return "".join(parts), tuple(values)
