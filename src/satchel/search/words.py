"""From text to the words of the index, and from a query to the language of FTS5.

The words themselves are FTS5's (letters and digits, case and accents folded, stemmed by Porter). Added here: Chinese,
Japanese and Thai are written without spaces, so each of their characters counts as a word of its own, and a run of
them in a query is a phrase. And a name such as ``PodSecurityPolicy`` is one word of FTS5: the words it is made of are
put behind the text, so that each of them finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

# Thai, Lao, Myanmar, Khmer, kana and the ideographs, also of the supplementary planes.
_UNSPACED = (
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)


@cache
def _unspaced() -> re.Pattern[str]:
    """Compiled when it is needed: that takes a tenth of a query's time, and most text is ASCII."""
    return re.compile(_UNSPACED)


def spaced(text: str) -> str:
    """``text`` with a space on both sides of every character of an unspaced script."""
    return text if text.isascii() else _unspaced().sub(r" \1 ", text)


def first_words(text: str, many: int) -> tuple[str, int]:
    """``text`` as far as its first ``many`` words go, and how many these are."""
    ends = [found.end() for found in _words().finditer(text)]
    return (text, len(ends)) if len(ends) <= many else (text[: ends[many - 1]], many)


@cache
def _words() -> re.Pattern[str]:
    return re.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})[^\W_])+")


def pairs(word: str) -> list[str]:
    """``word`` itself, or, where characters of an unspaced script stand together in it, each pair of neighbours and
    what stands between such runs."""
    found: list[str] = []
    rest = word
    for run in _runs().finditer(word):
        before, _, rest = rest.partition(run[0])
        found += [before, *(run[0][at : at + 2] for at in range(len(run[0]) - 1))]
    return [part for part in (*found, rest) if part] if found else [word]


@cache
def _runs() -> re.Pattern[str]:
    return re.compile(f"{_UNSPACED}{{2,}}")


MAX_NAME_CHARACTERS = 64
"""A longer run of letters and digits is no name that people made of words."""
_HUMP = re.compile(r"[A-Z](?:(?<=[a-z][A-Z])|(?<=[A-Z0-9][A-Z])(?=[a-z]{2}))")
_FROM_HUMP = re.compile(rf"{_HUMP.pattern}[^\W_]*")
_HEAD = re.compile(r"[^\W_]+")


def parted(name: str) -> str:
    """``name`` with a space before each word inside it: ``camel Case``, ``HTTP Server``, ``sha256 Sum``; ``APIs`` and
    ``IPv4`` stay whole."""
    return _HUMP.sub(r" \g<0>", name)


def names(text: str) -> Iterator[tuple[int, str]]:
    """(offset, name) of the names in ``text`` that are made of several words, written as ``camelCase``."""
    end = 0
    for found in _FROM_HUMP.finditer(text):
        least, (at, after) = end, found.span()
        begin, end = at - 1, after
        while begin > least and text[begin - 1].isalnum():
            begin -= 1
        if end - begin < MAX_NAME_CHARACTERS:
            yield begin, text[begin:end]


def name_around(text: str, at: int) -> list[tuple[int, str]]:
    """The name that the letter or digit at ``at`` is part of, as ``names`` gives it, if it is one."""
    after = _HEAD.match(text, at)
    end = after.end() if after else at
    begin, least = at, max(0, at - MAX_NAME_CHARACTERS)
    while begin > least and text[begin - 1].isalnum():
        begin -= 1
    name = text[begin:end]
    return [(begin, name)] if is_name(name) else []


def is_name(word: str) -> bool:
    """Whether a run of letters and digits is a name made of several words."""
    return not word[1:].islower() and len(word) < MAX_NAME_CHARACTERS and _HUMP.search(word) is not None


_known_parts = lru_cache(8_192)(parted)  # the same names come again and again: a quarter of the time


def indexed(text: str) -> str:
    """``text`` as FTS5 is given it: spaced, and behind it each name once, whole and parted. The whole name keeps the
    words of one from standing beside those of another, where a phrase would find both."""
    found = {name: _known_parts(name) for _, name in names(text)}
    wide = spaced(text)
    return f"{wide}\n{' '.join([f'{name} {split}' for name, split in found.items()])}" if found else wide


def quoted(term: str) -> str:
    """``term`` as one phrase of FTS5, whatever it holds; its last word is a beginning if it ends with ``*``."""
    return '"' + spaced(term).replace('"', " ") + ('" *' if term.endswith("*") else '"')


def completions(term: str) -> list[str]:
    """What the beginning of a word, written ``connecti*``, may become that stems to less than it: ``connection``."""
    begun = term.rstrip("*")
    if not (begun.isalpha() and begun.isascii() and len(begun) >= _LEAST_BEGUN):
        return []
    return [begun + ending for ending in _ENDINGS]


_LEAST_BEGUN = 6
"""A shorter beginning is commonly no longer than its stem, and what it might become (`conned`) stems to other words."""


# Ends of the endings that Porter's stemmer takes off.
_ENDINGS = (
    "s", "es", "ies", "ed", "d", "e", "er", "r", "ing", "ng", "g", "ion", "on", "n", "tion", "ation", "ment", "ent",
    "nt", "t", "ness", "ess", "able", "ble", "le", "ive", "ve", "al", "l", "ly", "y", "ity", "ty", "ance", "nce", "ce",
    "ization", "zation", "ize", "ze",
)  # fmt: skip


def match_expression(needed: Sequence[str], without: Sequence[str], *, every: bool) -> str:
    """What FTS5 is asked: ``every`` phrase of ``needed`` or any one of them, and none of ``without``. All come
    quoted.

    What is to be avoided stands beside the last of them. FTS5 forgets where words stand in sections it has yet to come
    to, where a conjunction inside of another expression fails for a phrase alone: those would score less, or nothing.
    """
    if not without:
        return (" AND " if every else " OR ").join(needed)
    avoided = f" NOT ({' OR '.join(without)})"
    if every:
        return " AND ".join([*needed[:-1], f"({needed[-1]}{avoided})"])
    return f"({' OR '.join(needed)}){avoided}"
