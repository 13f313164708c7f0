"""What is said of an artifact that is not there: the paths that may have been meant. Every reader says the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from satchel.errors import NoSuchArtifact
from satchel.objects.paths import MAX_PATH_BYTES, collision_key

MAX_PATHS = 20_000
"""Of more than these none is compared: 50 ms for so many."""
MAX_MEASURED = 500
"""Names compared letter by letter, of those that have nearly the same letters: up to 0.2 ms each."""
MOST_LETTERS = 64
"""A longer name is compared as a whole alone."""
MOST = 3
"""Paths that are named."""
_REACH = 2


class _Near(NamedTuple):
    """In the order of likelihood."""

    rank: int
    distance: int
    path: str


def no_artifact(project: str, path: str, paths: Collection[str] = ()) -> NoSuchArtifact:
    """The error for ``path``; ``paths`` are those that the project has."""
    said = f"there is no artifact {path[:MAX_PATH_BYTES]!r} in {project}"
    if not 0 < len(path) <= MAX_PATH_BYTES or len(paths) > MAX_PATHS:
        return NoSuchArtifact(said)
    folder = path.strip("/") + "/"
    if any(each.startswith(folder) for each in paths):
        return NoSuchArtifact(said, hint=f"That is a folder: list the artifacts in it, by the prefix {folder!r}.")
    near = _near(project, path, paths)
    return NoSuchArtifact(said, hint=f"Did you mean {' or '.join(map(repr, near))}?" if near else None)


def _near(project: str, path: str, paths: Collection[str]) -> list[str]:
    """Those that differ by case, by folders before or after, by suffix, or by a slip in the name."""
    wanted = collision_key(path).removeprefix("satchel://").removeprefix(f"{project}/")
    wanted = wanted.removeprefix("./").strip("/")
    name = wanted.rpartition("/")[2]
    if not name:
        return []
    stem, letters = _stem(name), set(name)
    reach = min(_REACH, len(stem) // 3) if len(name) <= MOST_LETTERS else 0
    found: list[_Near] = []
    alike: list[tuple[int, str, str]] = []
    for each in paths:
        key = collision_key(each)
        if stem in key and (rank := _likeness(key, wanted, name, stem)) is not None:
            found.append(_Near(rank, 0, each))
        elif reach:
            other = key.rpartition("/")[2]
            if abs(len(other) - len(name)) <= reach and len(letters.symmetric_difference(other)) <= 2 * reach:
                alike.append((4 if _folder(key) == _folder(wanted) else 5, other, each))
    if not found and alike:
        from satchel.search.near import distance

        alike.sort()
        measured = ((rank, distance(name, other, reach), each) for rank, other, each in alike[:MAX_MEASURED])
        found = [_Near(*each) for each in measured if each[1] <= reach]
    return [each.path for each in sorted(found)[:MOST]]


def _likeness(key: str, wanted: str, name: str, stem: str) -> int | None:
    """How well a path fits by whole parts, 0 the best; ``None`` where it does not."""
    if key == wanted:
        return 0
    if key.endswith(f"/{wanted}") or wanted.endswith(f"/{key}"):
        return 1
    other = key.rpartition("/")[2]
    if other == name or _stem(other) == stem:
        return 2 if _folder(key) == _folder(wanted) else 3
    return None


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _stem(name: str) -> str:
    """The name without its suffix."""
    return name[: name.rfind(".")] if "." in name[1:] else name
