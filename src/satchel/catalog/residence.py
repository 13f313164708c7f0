"""Where a tenant's content may rest: a list of places its operator allows, each a URL or the beginning of one.

    s3:                                     any S3
    s3://acme-eu                            this bucket, at the usual service
    s3://acme-eu/satchel?region=eu-west-1   below a prefix of it, in this region
    file:///srv/eu                          below this directory

A place is compared part by part, so that ``s3://acme`` does not allow ``s3://acme-elsewhere``. A bucket of the same
name at another endpoint is another place. An empty list allows every place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from satchel.errors import InvalidInput

MAX_PLACES = 32
MAX_PLACE_CHARACTERS = 500
_SCHEMES = ("file", "s3", "gs", "az", "memory")
_OPTIONS = frozenset({"region", "endpoint"})
"""Options of a store's address that say where it is; the others say how it is reached."""


class _Place(NamedTuple):
    scheme: str
    host: str
    """Bucket or account; empty for a whole kind of store, and for files."""
    path: tuple[str, ...]
    options: dict[str, str]


def check_places(places: Iterable[str]) -> tuple[str, ...]:
    """The places as they are kept, each once. Raises ``InvalidInput`` naming the first that is none."""
    found = tuple(dict.fromkeys(places))
    if len(found) > MAX_PLACES:
        raise InvalidInput(f"allowedStorage has at most {MAX_PLACES} places")
    for place in found:
        _checked(place)
    return found


def allows(places: Iterable[str], store: str) -> bool:
    """Whether content may rest in the store at this address."""
    given, known = list(places), _parsed(store)
    return not given or any(_covers(_parsed(place), known) for place in given)


def _checked(text: str) -> None:
    shown = ascii(text[:60])
    if len(text) > MAX_PLACE_CHARACTERS or not text.isprintable():
        raise InvalidInput(f"allowedStorage: {shown} is longer than {MAX_PLACE_CHARACTERS} characters, or not text")
    try:
        place = _parsed(text)
    except ValueError:
        place = None
    if place is None or place.scheme not in _SCHEMES or "@" in place.host:
        forms = "such as s3://bucket/prefix, gs://bucket, az://account/container, file:///directory, or s3: for any"
        raise InvalidInput(f"allowedStorage: {shown} is not a place {forms}")
    unknown = sorted(place.options.keys() - _OPTIONS)
    if unknown or ".." in place.path or urlsplit(text).fragment:
        raise InvalidInput(f"allowedStorage: {shown} may be told apart by region and endpoint alone, and has no '..'")
    if place.path and not place.host and place.scheme != "file":
        raise InvalidInput(f"allowedStorage: {shown} names no bucket")


def _parsed(text: str) -> _Place:
    parts = urlsplit(text)
    path = tuple(unquote(part) for part in parts.path.split("/") if part)
    host = "" if parts.scheme == "file" and parts.netloc == "localhost" else parts.netloc
    options = {name: value.rstrip("/") for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    return _Place(parts.scheme, host, path, options)


def _covers(place: _Place, store: _Place) -> bool:
    if place.scheme != store.scheme or place.path != store.path[: len(place.path)]:
        return False
    if any(store.options.get(name, "") != value for name, value in place.options.items()):
        return False
    if not place.host:
        return True
    return place.host == store.host and place.options.get("endpoint", "") == store.options.get("endpoint", "")
