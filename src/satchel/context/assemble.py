"""The answer to a search, made from indexes and what history knows: the same function serves local folders and hosted
projects, which is how equal digests come to give equal answers (promise P2). No IO but the indexes' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from satchel.context.limits import MAX_SEARCH_DEPTH, MAX_SEARCH_LIMIT
from satchel.context.part import Part, Past, history_of, in_range
from satchel.errors import InvalidInput, NoSuchProject
from satchel.objects.paths import collision_key
from satchel.search.matching import Asked, FoundSection, Ranked, Row
from satchel.search.query import Query, parse_query
from satchel.search.together import NOTHING, best_of
from satchel.search.weight import Weigh, weightless

if TYPE_CHECKING:
    from satchel.context.answers import Answered, Hit, QueryUnderstood, SearchAnswer, Skipped

SUGGESTIONS = 5
"""Most words suggested where nothing was found."""
_INVERSE = {"depends-on": "needed-by", "part-of": "has-part"}


def understood(query: str) -> Query:
    """The query, for choosing projects by ``chosen`` before their indexes are made ready."""
    return parse_query(query)


def chosen(query: Query, available: Iterable[tuple[str, str]]) -> tuple[list[str], list[Skipped]]:
    """Which of the (slug, id) pairs a query's ``project:`` filters leave, and the names among those that are none."""
    pairs = sorted(available)
    known = {name: slug for slug, id_ in pairs for name in (id_, slug)}
    wanted = {known[name] for name in query.projects if name in known}
    avoided = {known[name] for name in query.without_projects if name in known}
    slugs = [slug for slug, _ in pairs if (slug in wanted or not query.projects) and slug not in avoided]
    skipped: list[Skipped] = [
        {"project": name, "reason": NoSuchProject.code} for name in query.projects if name not in known
    ]
    return slugs, skipped


def related(
    named: Sequence[str], relations: Mapping[str, Iterable[tuple[str, str]]], names: Mapping[str, str]
) -> dict[str, str]:
    """The projects that the named ones name as related, or that name them, with the relation, by slug.

    ``relations`` are (type, target) pairs by slug; ``names`` leads from every slug and id one may read to the slug.
    """
    found: dict[str, str] = {}
    asked = set(named)
    for slug in sorted(relations):
        for kind, target in relations[slug]:
            other = names.get(target)
            if slug in asked and other is not None and other not in asked:
                found[other] = kind
            elif other in asked and slug not in asked:
                found.setdefault(slug, _INVERSE.get(kind, kind))
    return found


class Moment(NamedTuple):
    """An old version: by its number, or the newest before a millisecond."""

    version: int | None
    before: int | None


def moment_of(at: str) -> Moment:
    """What ``at`` names: a version by its number, or a date, by whose end a version was the newest. Raises
    ``InvalidInput``."""
    if at.isascii() and at.isdigit() and len(at) < 16:
        return Moment(int(at), None)
    from satchel.search.moments import period

    found = period(at)
    if found is None:
        raise InvalidInput(
            f"{at[:100]!r} is neither a version nor a date",
            hint="Name a version by its number, or a date such as 2025-01, 2025-01-31 or 2025-01-31T10:00:00Z.",
        )
    return Moment(None, found[1])


def check_search(limit: int, offset: int) -> None:
    """Raises ``InvalidInput``."""
    in_range("limit", limit, 1, MAX_SEARCH_LIMIT)
    in_range("offset", offset, 0, MAX_SEARCH_DEPTH - limit)


def search_answer(
    query: Query,
    parts: Sequence[Part],
    *,
    limit: int,
    offset: int = 0,
    skipped: Sequence[Skipped] = (),
    at: str | None = None,
    weigh: Weigh = weightless,
) -> SearchAnswer:
    """The best sections of all parts together: by score, then project, path and position.

    Whether sections must hold every word is decided over all parts together. A query that asks for no words gives the
    files it admits: those changed last come first where nothing but history narrows it, else they come by path.
    ``weigh`` is told what the next step takes. Raises ``InvalidInput`` for a limit or offset out of range, ``Moved``.
    """
    check_search(limit, offset)
    with ExitStack() as moment:
        for part in parts:
            moment.enter_context(part.moment())
        admitted = [_admitted(query, part) for part in parts]
        asked = parts[0].index.asked(query) if parts else None
        every, best, ranked = (
            best_of([part.index for part in parts], asked, admitted, wanted=offset + limit, weigh=weigh)
            if asked
            else NOTHING
        )
        if not _by_age(query):
            best.sort(key=lambda hit: (-hit[0].score, parts[hit[1]].project, hit[0].path, hit[0].position))
            best = best[offset : offset + limit]
        shown = _shown(parts, best, asked, every=every) if asked else []
        vain = query.sought and not any(one.total for one in ranked)
        suggestions = _suggestions(query, parts, weigh) if vain else []
    pasts = _pasts(parts, shown)
    if _by_age(query):
        shown.sort(key=lambda hit: _age(parts[hit[1]], hit[0], pasts.get((hit[1], hit[0].path))))
        shown = shown[offset : offset + limit]
    hits = [_hit(parts[place], section, pasts.get((place, section.path))) for section, place in shown]
    return {
        "query": _understood(query, every=every, at=at),
        "hits": hits,
        "total": sum(one.total for one in ranked),
        "facets": _facets(parts, ranked),
        "projects": [_answered(part) for part in parts],
        "skipped": list(skipped),
        "suggestions": suggestions,
    }


def _shown(
    parts: Sequence[Part], best: Sequence[tuple[Row, int]], asked: Asked, *, every: bool
) -> list[tuple[FoundSection, int]]:
    """The rows with their text, each index asked once."""
    found: dict[int, Iterator[FoundSection]] = {}
    for place in {place for _, place in best}:
        of_part = [row for row, other in best if other == place]
        found[place] = iter(parts[place].index.show(of_part, asked, every=every))
    return [(next(found[place]), place) for _, place in best]


# History ---------------------------------------------------------------------------------------------------------


def _by_age(query: Query) -> bool:
    """Whether nothing but history, and words to avoid, says what is asked for."""
    return not query.sought and not query.filtered


def _admitted(query: Query, part: Part) -> list[str] | None:
    """The paths that filters on history admit, or the order of recent changes needs; ``None`` for all, by path."""
    if not query.historical and not (_by_age(query) and part.history.known):
        return None
    pasts = part.history.everything()
    files = part.index.contents()
    if query.historical:
        admits = _admitting(query)
        pasts = {path: past for path, past in pasts.items() if files.get(path) == past.object and admits(past)}
        files = {path: name for path, name in files.items() if path in pasts}
    if not _by_age(query):
        return list(files)  # by path, as they are listed where a filter of another name narrows them too
    return sorted(files, key=lambda path: (_older(files[path], pasts.get(path)), path))


def _admitting(query: Query) -> Callable[[Past], bool]:
    """Whether a file of that past passes the filters on history."""
    from satchel.search.moments import period

    def begins(written: str) -> int:
        return (period(written) or (0, 0))[0]

    def ends(written: str) -> int:
        return (period(written) or (0, 0))[1]

    authors = [collision_key(name) for name in query.authors]
    others = [collision_key(name) for name in query.without_authors]
    least = max([*map(begins, query.since), *map(ends, query.without_until)], default=None)
    most = min([*map(ends, query.until), *map(begins, query.without_since)], default=None)

    def admits(past: Past) -> bool:
        name = collision_key(past.author)
        return (
            (not authors or any(part in name for part in authors))
            and not any(part in name for part in others)
            and (least is None or past.time_ms >= least)
            and (most is None or past.time_ms < most)
        )

    return admits


def _older(content: str, past: Past | None) -> tuple[int, int]:
    """Sorts what changed last to the front: first what changed since the last sync, then by time and version."""
    if past is None or past.object != content:
        return -1, 0
    return 0, -past.time_ms


def _age(part: Part, section: FoundSection, past: Past | None) -> tuple[tuple[int, int], str, str]:
    known = _older(section.object, past) if part.history.known else (1, 0)  # a folder that was never synced comes last
    return known, part.project, section.path


def _pasts(parts: Sequence[Part], best: Sequence[tuple[FoundSection, int]]) -> dict[tuple[int, str], Past]:
    """History asked once per project, for the paths of the hits alone."""
    known: dict[tuple[int, str], Past] = {}
    for place in sorted({place for _, place in best}):
        paths = sorted({section.path for section, of in best if of == place})
        known.update(((place, path), past) for path, past in parts[place].history.of(paths).items())
    return known


# Shapes ----------------------------------------------------------------------------------------------------------


def _hit(part: Part, section: FoundSection, past: Past | None) -> Hit:
    version, author, author_kind, modified = history_of(section.object, past)
    return {
        "project": part.project,
        "relation": part.relation,
        "path": section.path,
        "kind": section.kind,
        "title": section.title,
        "trail": list(section.trail),
        "lines": [section.first, section.last],
        "snippet": section.snippet,
        "highlights": section.highlights,
        "score": section.score,
        "digest": part.digest,
        "version": version,
        "author": author,
        "authorKind": author_kind,
        "modified": modified,
        "reviewed": section.reviewed,
    }


def _answered(part: Part) -> Answered:
    return {
        "project": part.project,
        "relation": part.relation,
        "digest": part.digest,
        "version": part.version,
        "history": part.remembered,
    }


def _understood(query: Query, *, every: bool, at: str | None) -> QueryUnderstood:
    return {
        "text": query.text,
        "words": list(query.words),
        "phrases": list(query.phrases),
        "filters": query.filters(),
        "match": "all" if every else "any",
        "at": at,
        "cut": query.cut,
    }


def _facets(parts: Sequence[Part], found: Sequence[Ranked]) -> dict[str, dict[str, int]]:
    kinds: dict[str, int] = {}
    for one in found:
        for kind, count in one.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    projects = {part.project: one.total for part, one in zip(parts, found, strict=True) if one.total}
    return {"kind": dict(sorted(kinds.items())), "project": dict(sorted(projects.items()))}


def _suggestions(query: Query, parts: Sequence[Part], weigh: Weigh) -> list[str]:
    """Words of the projects that are near to those sought, the nearest first, then the most frequent."""
    found: dict[str, tuple[int, int]] = {}
    for part in parts:
        for distance, rarity, word in part.index.near(query, SUGGESTIONS, weigh):
            nearest, counted = found.get(word, (distance, 0))
            found[word] = min(nearest, distance), counted + rarity
    return sorted(found, key=lambda word: (*found[word], word))[:SUGGESTIONS]
