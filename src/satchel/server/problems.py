"""Errors as HTTP sees them: every code has one status, one title and one page.

An error becomes an RFC 9457 problem: ``type`` is the page of its code on this server, ``code`` and ``hint`` are the
error's own, ``requestId`` is the one in the log, and its facts stand beside them in camelCase. What an error does not
say here it does not say at all: an unexpected exception becomes ``internal.error`` without its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from satchel import errors
from satchel.auth.keys import redacted
from satchel.auth.roles import Role
from satchel.auth.scopes import scope_for
from satchel.errors import SatchelError
from satchel.server.meanings import MEANINGS

MEDIA_TYPE = "application/problem+json"


class MalformedBody(errors.UsageError):
    code = "request.malformed"
    default_hint = "Send well-formed JSON in UTF-8."


class WrongMediaType(errors.UsageError):
    code = "request.media_type"
    default_hint = "Send the content type named in the message."


class MethodNotAllowed(errors.UsageError):
    code = "request.method_not_allowed"
    default_hint = "Use a method of the Allow header."


class OriginRefused(errors.Refused):
    code = "request.origin_refused"
    default_hint = "Ask the operator to add this host or origin to SATCHEL_ALLOWED_HOSTS or SATCHEL_ALLOWED_ORIGINS."


# Most exact class first: the first that matches decides.
_STATUS: tuple[tuple[type[SatchelError], int], ...] = (
    (MalformedBody, 400),
    (errors.ProtocolUnknown, 400),
    (MethodNotAllowed, 405),
    (WrongMediaType, 415),
    (errors.LengthRequired, 411),
    (errors.PreconditionMissing, 428),
    (errors.PreconditionFailed, 412),
    (errors.TooLarge, 413),
    (errors.QuotaReached, 429),
    (errors.TooManyRequests, 429),
    (errors.BodyTimeout, 408),
    (errors.DiskFull, 507),
    (errors.FrameRefused, 422),
    (errors.SecretRefused, 422),
    (errors.VersionExpired, 410),
    (errors.ArtifactPurged, 410),
    (errors.NotFound, 404),
    (errors.SignInNeeded, 401),
    (errors.Conflict, 409),
    (errors.Refused, 403),
    (errors.Unavailable, 503),
    (errors.UsageError, 422),
    (errors.Damaged, 500),
)
RETRY_SECONDS = 2
"""Retry-After of what may succeed soon: storage away, too many requests at once."""
_RESERVED = frozenset({"type", "title", "status", "code", "detail", "hint", "requestId", "instance"})
CHALLENGE = 'Bearer realm="satchel"'


class Meaning(NamedTuple):
    title: str
    text: str


def status_of(kind: type[SatchelError]) -> int:
    """The HTTP status of an error class."""
    return next((status for parent, status in _STATUS if issubclass(kind, parent)), 500)


def meaning_of(code: str) -> Meaning:
    return Meaning(*MEANINGS.get(code, ("Error", "")))


def page_of(code: str) -> str:
    """The address of the code's page, relative to the server, so that it is right behind any proxy."""
    return f"/docs/errors/{code}"


def problem(error: SatchelError, request_id: str) -> Response:
    """The answer to a request that ended with ``error``."""
    status = status_of(type(error))
    body: dict[str, object] = {
        "type": page_of(error.code),
        "title": meaning_of(error.code).title,
        "status": status,
        "code": error.code,
        "detail": error.message,
        "hint": error.hint,
        "requestId": request_id,
    }
    for name, value in error.facts.items():
        if name not in _RESERVED:
            body[_camel(name)] = value
    # A message names what was sent and not understood: somebody may have put a credential there.
    content = redacted(msgspec.json.encode(body, enc_hook=str).decode())
    return Response(content, status, headers=dict(_headers(error, status)), media_type=MEDIA_TYPE)


def _headers(error: SatchelError, status: int) -> Mapping[str, str]:
    if status == 401:
        said = {"auth.expired": "the token has expired", "auth.invalid": "the credential does not count"}.get(
            error.code
        )
        return {
            "www-authenticate": f'{CHALLENGE}, error="invalid_token", error_description="{said}"' if said else CHALLENGE
        }
    if isinstance(error, errors.InsufficientScope):
        return {"www-authenticate": f'{CHALLENGE}, error="insufficient_scope"{_missing(error)}'}
    if isinstance(error, errors.TooManyRequests) or status == 503:
        return {"retry-after": str(error.facts.get("retry_after", RETRY_SECONDS))}
    if status == 405 and "allow" in error.facts:
        return {"allow": str(error.facts["allow"])}
    return {}


def _missing(error: SatchelError) -> str:
    """The scope a token would have to carry, where the refusal names a role (RFC 6750)."""
    role = str(error.facts.get("needs", "")).partition(" ")[0]
    return f', scope="{scope_for(Role(role))}"' if role in {one.value for one in Role} else ""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
