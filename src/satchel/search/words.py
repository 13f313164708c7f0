"""From text to the words of the index, and from a query to the language of FTS5.

The words themselves are FTS5's (letters and digits, case and accents folded, stemmed by Porter). Added here: Chinese,
Japanese and Thai are written without spaces, so each of their characters counts as a word of its own, and a run of
them in a query is a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

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


def quoted(term: str) -> str:
    """``term`` as one phrase of FTS5, whatever it holds."""
    return '"' + spaced(term).replace('"', " ") + '"'


def match_expression(needed: Sequence[str], scored: Sequence[str], without: Sequence[str], *, every: bool) -> str:
    """What FTS5 is asked: ``every`` term of ``needed`` or any one of them, and none of ``without``.

    Terms of ``scored`` that are not needed raise the score of a section that holds them.
    """
    expression = (" AND " if every else " OR ").join(quoted(term) for term in needed)
    if set(scored) > set(needed):
        # Whoever holds a needed term holds one of these: the second half only adds to the score.
        expression = f"({expression}) AND ({' OR '.join(quoted(term) for term in scored)})"
    if without:
        expression = f"({expression}) NOT ({' OR '.join(quoted(term) for term in without)})"
    return expression
