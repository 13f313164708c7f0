"""Forms as they come in: bounded, in UTF-8, every field known and given once.

``application/x-www-form-urlencoded`` is what a page sends and what OAuth's own endpoints take (RFC 6749, appendix B).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from fastapi import Request

from satchel.errors import InvalidInput
from satchel.server.bodies import read_bytes, require_media

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16 * 1024
MAX_FIELDS = 40


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query or a form. Raises ``InvalidInput`` for a field given twice, or for what is not UTF-8."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:  # UnicodeDecodeError too
        raise InvalidInput(f"the fields are not at most {MAX_FIELDS} names and values in UTF-8") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f"the field {name[:60]!r} is given twice")
        if "\0" in value:
            raise InvalidInput(f"the field {name[:60]!r} holds a NUL character")
        found[name] = value
    return found


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of the body. Raises ``WrongMediaType``, ``TooLarge`` or ``InvalidInput``."""
    require_media(request, MEDIA_TYPE)
    data = await read_bytes(request, MAX_FORM_BYTES)
    try:
        return fields_of(data.decode("ascii"))
    except UnicodeDecodeError as error:
        raise InvalidInput("the form is not percent-encoded") from error


def only(fields: Mapping[str, str], known: Collection[str]) -> None:
    """Raise ``InvalidInput`` for a field that is none of these."""
    for name in fields:
        if name not in known:
            raise InvalidInput(f"there is no field {name[:60]!r} here")
