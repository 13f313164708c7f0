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

MAX_DEPTH = 32
"""Nesting of YAML that is looked into, with two levels for stream and document."""
MAX_TAG = 1_000
"""Characters of a tag. One line can give each of thousands of values a tag of half the text: 60 KB took 170 MB."""
MAX_NUMBER_BITS = 64
"""A longer whole number is left out: nothing means one, and writing one out takes time squared."""

MAX_DOTS = 500
"""Dots in a line of TOML: a key of n parts takes the parser time squared, 9 s at 64 KiB."""
MAX_KEY_DOTS = 20_000
"""Dots of all keys of a text of TOML: each can begin a table, which takes the parser 2 KB. 3.6 MB took 3.7 GB."""
# What PyYAML lets through from the conversion of scalars such as `2026-02-30`, `!!bool x` and `!!int ''`.
_NOT_VALUES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class FrontMatter(NamedTuple):
    values: dict[str, Value]
    end: int
    """Offset of the first character after the closing line; 0 when there is no front matter."""


class Block(NamedTuple):
    """What stands between the opening line and the closing one."""

    suffix: str
    """The file ending of its language: ``yaml`` or ``toml``."""
    text: str
    end: int
    """Offset of the first character after the closing line."""


NONE = FrontMatter({}, 0)
_YAML = re.compile(r"---[ \t]*\n(?P<block>(?:[^\n]*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ \t]*\n(?P<block>(?:[^\n]*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
# Strings and comments of TOML: what is left has no dots but those of keys and numbers.
_NO_KEYS = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}+'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}+"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|\#[^\n]*+",
    re.DOTALL,
)
# Here no part gives back what it took: a line of 64 KiB of spaces took 15 s.
_KEY = re.compile(r"^[A-Za-z_][\w .-]*+[ \t]*+[:=]", re.MULTILINE)
_PLAIN_LINE = re.compile(r"^([A-Za-z_][\w.-]*):[ \t]+(\S[^\n]*)$", re.MULTILINE)


def read(head: str) -> FrontMatter:
    """The front matter of a text of which ``head`` is the beginning (line ends ``\\n``)."""
    found = block(head)
    if found is None:
        return NONE
    load = _load_yaml if found.suffix == "yaml" else _load_toml
    return FrontMatter(_flatten(load(found.text)), found.end)


def block(head: str) -> Block | None:
    """The same without looking into it, so that it may be anything; ``None`` where there is none."""
    if head.startswith("---"):
        suffix, match = "yaml", _YAML.match(head)
    elif head.startswith("+++"):
        suffix, match = "toml", _TOML.match(head)
    else:
        return None
    if match is None or not _KEY.search(match["block"]):
        return None
    return Block(suffix, match["block"], match.end())


def _load_yaml(block: str) -> dict[Any, Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one where it was built
    try:
        if not _is_harmless(yaml.parse(block, Loader=loader)):
            return dict(_PLAIN_LINE.findall(block))
        loaded = yaml.load(block, Loader=loader)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, *_NOT_VALUES):
        return dict(_PLAIN_LINE.findall(block))
    return loaded if isinstance(loaded, dict) else {}


def _is_harmless(events: Iterable[Any]) -> bool:
    """Whether the loader may see this: it follows nesting on the C stack, which ends the process where that ends,
    multiplies out merge keys of merge keys, and keeps a tag for each value. The events come without any of it."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH or has_long_tag(event) or (kind == "ScalarEvent" and event.value == "<<"):
            return False
    return True


def has_long_tag(event: Any) -> bool:
    """Whether an event of YAML brings a tag over ``MAX_TAG``."""
    return len(getattr(event, "tag", None) or "") > MAX_TAG


def _load_toml(block: str) -> dict[Any, Any]:
    try:
        return load_toml(block)
    except (ValueError, RecursionError):  # also for a number of thousands of digits
        return {}


def load_toml(text: str) -> dict[str, Any]:
    """What a text of TOML says. Raises ``ValueError`` and ``RecursionError``, also where it would take too long."""
    import tomllib

    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise ValueError("a line has too many dots")
    if text.count(".") > MAX_KEY_DOTS and _NO_KEYS.sub("", text).count(".") > MAX_KEY_DOTS:
        raise ValueError("the keys have too many parts")
    return tomllib.loads(text)


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
        if isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS:
            continue
        if value is None or isinstance(value, (str, int, float, bool)):
            yield value
        elif isinstance(value, (datetime, date, time)):
            yield value.isoformat()
