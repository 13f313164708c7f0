"""The YAML (``---``) or TOML (``+++``) block that may open a document.

It has to begin on the first line, close inside the head that is looked at and hold at least one ``key:`` line; else
there is none and the text is body. A block that does not parse still gives its plain ``key: value`` lines, because
a title with a colon in it is the commonest mistake. PyYAML is imported on first use: most documents have no front
matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any, NamedTuple

Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]

MAX_LIST = 100
"""Items kept of a list; values nested deeper than a list of scalars are left out, so an alias bomb stays small."""


class FrontMatter(NamedTuple):
    values: dict[str, Value]
    end: int
    """Offset of the first character after the closing line; 0 when there is no front matter."""


NONE = FrontMatter({}, 0)
_YAML = re.compile(r"---[ \t]*\n(?P<block>(?:[^\n]*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ \t]*\n(?P<block>(?:[^\n]*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
_KEY = re.compile(r"^[A-Za-z_][\w .-]*[ \t]*[:=]", re.MULTILINE)
_PLAIN_LINE = re.compile(r"^([A-Za-z_][\w.-]*):[ \t]+(\S[^\n]*)$", re.MULTILINE)


def read(head: str) -> FrontMatter:
    """The front matter of a text of which ``head`` is the beginning (line ends ``\\n``)."""
    if head.startswith("---"):
        match = _YAML.match(head)
        load = _load_yaml
    elif head.startswith("+++"):
        match = _TOML.match(head)
        load = _load_toml
    else:
        return NONE
    if match is None or not _KEY.search(match["block"]):
        return NONE
    return FrontMatter(_flatten(load(match["block"])), match.end())


def _load_yaml(block: str) -> dict[Any, Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loaded = yaml.load(block, Loader=loader)  # noqa: S506  # a safe loader, the C one where it was built
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: an impossible date such as 2026-02-30
        return dict(_PLAIN_LINE.findall(block))
    return loaded if isinstance(loaded, dict) else {}


def _load_toml(block: str) -> dict[Any, Any]:
    import tomllib

    try:
        return tomllib.loads(block)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _flatten(loaded: dict[Any, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, value in loaded.items():
        if not isinstance(key, str):
            continue
        if isinstance(value, (list, tuple)):
            values[key] = list(_scalars(value[:MAX_LIST]))
        else:
            for scalar in _scalars((value,)):
                values[key] = scalar
    return values


def _scalars(values: Iterable[object]) -> Iterable[Scalar]:
    for value in values:
        if value is None or isinstance(value, (str, int, float, bool)):
            yield value
        elif isinstance(value, (datetime, date, time)):
            yield value.isoformat()
