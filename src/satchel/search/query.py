"""What a person or an agent typed, understood. Any text is a query; nothing is a syntax error.

    rollback approval             sections with both words, in any order
    "release train"               these words in this order
    KEP-1287  snake_case  a.b.c   a word with separators is looked up as its parts, in order
    roll*                         words that begin so
    kind:spec  -kind:journal      only, or all but, artifacts of that kind; adr, todo and the like name theirs
    reviewed:yes  reviewed:no     only what a person has reviewed as it is; only the rest
    path:docs/  -path:old         where the path, or its rest after some slash, begins so (ASCII case aside)
    project:acme                  only these projects
    author:sam                    what somebody changed last whose name holds this (case aside)
    since:2025-01  until:2025     what was changed last in that month or later; in that year or before
    -word  -"two words"           sections without it
    --dry-run                     a word as well: two hyphens begin an option of some program

Common words such as "the" are left out where other words remain, unless quoted: they cost six times the time and
find nothing better. Pure: the index turns a ``Query`` into its own language.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from satchel.objects.paths import as_listed
from satchel.search.words import first_words, pairs

MAX_QUERY_CHARACTERS = 4_096
"""A longer query is cut to this many characters and the answer's ``query.cut`` says so."""
MAX_QUERY_TERMS = 32
"""Words and phrases looked up, those to avoid included; the rest is left out and ``query.cut`` says so."""
MAX_QUERY_WORDS = 64
"""Words that these are made of, all together; what is beyond is left out likewise. A phrase of common words takes more
than time with each: on 6 MB of text ``the a`` 32 times 0.02 s, a thousand times 4.5 s."""

MAX_BEGINNINGS = 4
LEAST_BEGINNING = 3
"""A word such as ``c*`` stands for a tenth of all words: 0.2 s on 30 MB. More or shorter beginnings are plain words."""

FILTERS = ("kind", "path", "project", "author", "since", "until", "reviewed")
_DATED = ("since", "until")

_STOPWORDS = """
a about all also an and any are as at be because been being but by can could did do does doing done each for
from get gets had has have having how i if in into is it its itself just let lets may me might more most must my
no nor not of off on one only or other our out over own s same she he should so some such t than that the their
them then there these they this those through to too under until up us use used using very via was we were what
when where which while who whom whose why will with within without would you your
"""
STOPWORDS = frozenset(_STOPWORDS.split())

_PIECE = re.compile(
    r"""(?P<not>(?:-(?!-))?)(?:(?P<filter>kind|path|project|author|since|until|reviewed):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s"]+))"""
    r"""|"(?P<phrase>[^"]*)(?:"|\Z)"""
    r"""|(?P<word>[^\s"]+))""",
    re.IGNORECASE,
)
# One of the letters may be a separator: what stands before it narrows as well.
_BEGINNING = re.compile(rf".[^\W_]{{{LEAST_BEGINNING - 1},}}\*+\Z")
_MARKED = re.compile(r"""[":*]|(?<!\S)-""")
_SEARCHABLE = re.compile(r"[^\W_]")  # at least one letter or digit


class Query(NamedTuple):
    """A query understood. ``words`` and ``phrases`` are sought, ``without`` avoided; the rest filters.

    A word or a term to avoid that ends with ``*`` stands for every word that begins so.
    """

    text: str
    words: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    without_kinds: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    without_paths: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    without_projects: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    without_authors: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    without_since: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    without_until: tuple[str, ...] = ()
    reviewed: tuple[str, ...] = ()
    without_reviewed: tuple[str, ...] = ()
    cut: bool = False

    @property
    def sought(self) -> tuple[str, ...]:
        return self.words + self.phrases

    @property
    def loose(self) -> tuple[str, ...]:
        """As ``sought``, for where one term is enough: of a long run of a script without spaces, each pair of
        characters."""
        if self.text.isascii():
            return self.sought
        loose = [part for word in self.words for part in pairs(word)]
        return tuple(dict.fromkeys(loose))[:MAX_QUERY_TERMS] + self.phrases

    @property
    def filtered(self) -> bool:
        """Whether a filter on their kind, their path or their review narrows the artifacts of a project."""
        narrowed = self.kinds or self.without_kinds or self.paths or self.without_paths
        return bool(narrowed or self.reviewed or self.without_reviewed)

    @property
    def historical(self) -> bool:
        """Whether a filter asks who changed an artifact last, or when."""
        return bool(
            self.authors or self.without_authors or self.since or self.without_since or self.until or self.without_until
        )

    def filters(self) -> dict[str, list[str]]:
        """The filters by name, those to avoid under the name with a ``-`` before it."""
        named = {
            "kind": self.kinds,
            "-kind": self.without_kinds,
            "path": self.paths,
            "-path": self.without_paths,
            "project": self.projects,
            "-project": self.without_projects,
            "author": self.authors,
            "-author": self.without_authors,
            "since": self.since,
            "-since": self.without_since,
            "until": self.until,
            "-until": self.without_until,
            "reviewed": self.reviewed,
            "-reviewed": self.without_reviewed,
            "-words": self.without,
        }
        return {name: list(values) for name, values in named.items() if values}


def parse_query(text: str) -> Query:
    """Understand ``text``. Never fails: what cannot be looked up is left out."""
    shown = text[:MAX_QUERY_CHARACTERS]
    cut = len(text) > MAX_QUERY_CHARACTERS
    # A lone surrogate cannot be encoded, and NUL would end the text for SQLite.
    clean = shown.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    found: dict[str, list[str]] = {name: [] for name in ("word", "phrase", "-term", *FILTERS)}
    found.update({f"-{name}": [] for name in FILTERS})
    if _MARKED.search(clean):
        for piece in _PIECE.finditer(clean):
            name, value = _read(piece)
            if value and value not in found[name]:
                found[name].append(value)
        _keep_beginnings(found["word"], found["-term"])
    else:  # most are words and nothing else
        found["word"] = [word for word in dict.fromkeys(clean.split()) if _SEARCHABLE.search(word)]
    words = _telling(found["word"], alone=not found["phrase"])
    sought = len(words) + len(found["phrase"])
    kept_words = words[:MAX_QUERY_TERMS]
    kept_phrases = found["phrase"][: MAX_QUERY_TERMS - len(kept_words)]
    avoided = found["-term"][: MAX_QUERY_TERMS - len(kept_words) - len(kept_phrases)]
    dropped = sought + len(found["-term"]) > MAX_QUERY_TERMS
    if len(clean) > MAX_QUERY_WORDS:  # else there cannot be so many
        terms, left = (kept_words, kept_phrases, avoided), MAX_QUERY_WORDS
        kept_words, left = _within(kept_words, left)
        kept_phrases, left = _within(kept_phrases, left)
        avoided, left = _within(avoided, left)
        dropped = dropped or terms != (kept_words, kept_phrases, avoided)
    kept: dict[str, tuple[str, ...]] = {}
    for name in (*FILTERS, *(f"-{name}" for name in FILTERS)):
        dropped = dropped or len(found[name]) > MAX_QUERY_TERMS
        kept[name] = tuple(found[name][:MAX_QUERY_TERMS])
    return Query(
        text=clean,
        words=tuple(kept_words),
        phrases=tuple(kept_phrases),
        without=tuple(avoided),
        kinds=kept["kind"],
        without_kinds=kept["-kind"],
        paths=kept["path"],
        without_paths=kept["-path"],
        projects=kept["project"],
        without_projects=kept["-project"],
        authors=kept["author"],
        without_authors=kept["-author"],
        since=kept["since"],
        without_since=kept["-since"],
        until=kept["until"],
        without_until=kept["-until"],
        reviewed=kept["reviewed"],
        without_reviewed=kept["-reviewed"],
        cut=cut or dropped,
    )


def _within(terms: list[str], left: int) -> tuple[list[str], int]:
    """``terms`` as far as ``left`` words go, and how many are left then."""
    kept: list[str] = []
    for term in terms:
        if not left:
            break
        short, words = first_words(term, left)
        kept.append(short)
        left -= words
    return kept, left


def _read(piece: re.Match[str]) -> tuple[str, str]:
    """The list a piece belongs to, and its value; the value is empty if there is nothing to look up."""
    avoided = bool(piece["not"])
    if piece["filter"]:
        name = piece["filter"].lower()
        value = piece["value"] if piece["quoted"] is None else piece["quoted"]
        meant = _meant(name, value)
        if meant is not None:
            return ("-" if avoided else "") + name, meant
        value = f"{name}:{value}"  # words like any others
    elif piece["phrase"] is not None:
        value = " ".join(piece["phrase"].split()).rstrip("*")
    else:
        value = piece["word"]
    if not _SEARCHABLE.search(value):
        return "word", ""
    if avoided:
        return "-term", value
    return ("word" if piece["phrase"] is None else "phrase"), value


def _keep_beginnings(*lists: list[str]) -> None:
    """Take the ``*`` off words that are too short, or too many, to be beginnings."""
    left = MAX_BEGINNINGS
    for words in lists:
        for at, word in enumerate(words):
            if word.endswith("*"):
                begun = left > 0 and bool(_BEGINNING.search(word))
                left -= begun
                words[at] = word.rstrip("*") + "*" * begun
        words[:] = dict.fromkeys(words)


def _meant(name: str, value: str) -> str | None:
    """The value of a filter of that name, ``None`` where it can have no such value."""
    if name == "kind":
        from satchel.documents.kinds import kind_of_value  # few queries name a kind, or a date

        return kind_of_value(value)
    if name in _DATED:
        from satchel.search.moments import period

        return value if period(value) is not None else None
    if name == "path":
        value = as_listed(value)
    # Only ASCII letters are folded, as SQLite's lower() folds those of the paths.
    folded = value.encode().lower().decode() if name in ("path", "reviewed") else value
    return folded if name != "reviewed" or folded in ("yes", "no") else None


def _telling(words: list[str], *, alone: bool) -> list[str]:
    """``words`` without the common ones, or all of them where nothing would be left to look for."""
    telling = [word for word in words if word.strip("?!.,;:()").lower() not in STOPWORDS]
    return words if alone and not telling else telling
