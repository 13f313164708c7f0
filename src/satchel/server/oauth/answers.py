"""How the endpoints for programs answer: JSON, and errors in the words of RFC 6749, 7009, 7591 and 8628."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from satchel.errors import (
    NotFound,
    Refused,
    SatchelError,
    SignInNeeded,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UsageError,
)
from satchel.server.access import cloud_of, exchange_of
from satchel.server.bodies import answer
from satchel.server.oauth.rules import BadClient
from satchel.server.problems import RETRY_SECONDS, WrongMediaType, page_of, status_of

REGISTRATIONS_A_MINUTE = 20
"""Of one address: registrations, and device logins begun."""
_BASIC = 'Basic realm="satchel"'
"""What a 401 has to carry: the scheme of clients with a secret, although none is known here (RFC 6749, 5.2)."""


class OAuthError(Exception):
    """A refusal with a code that OAuth knows."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


class MachineRoute(APIRoute):
    """Answers everything that is wrong as OAuth says, and only at a Host that is this server's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            exchange = exchange_of(request)
            try:
                cloud_of(request).hosts.check_host(request.headers.get("host", ""))
                return await handle(request)
            except OAuthError as error:
                exchange.code = f"oauth.{error.error}"
                return refused(error.error, error.description, error.status)
            except BadClient as error:
                exchange.code = f"oauth.{error.error}"
                return refused(error.error, error.message)
            except SatchelError as error:
                exchange.code = error.code
                return _of(error)

        return handled


def machine_router() -> APIRouter:
    """A router for endpoints of OAuth, which describe themselves in their metadata and not in the API's."""
    return APIRouter(route_class=MachineRoute, include_in_schema=False)


def refused(error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    said = {"error": error, "error_description": description.replace('"', "'").replace("\\", "/")}
    challenge = {"www-authenticate": _BASIC} if status == 401 else {}
    return answer(said, status, {**challenge, **(headers or {})})


def _of(error: SatchelError) -> Response:
    match error:
        case TooManyRequests() | Unavailable():
            after = str(error.facts.get("retry_after", RETRY_SECONDS))
            return refused("temporarily_unavailable", error.message, status_of(type(error)), {"retry-after": after})
        case TooLarge() | WrongMediaType():
            return refused("invalid_request", error.message, status_of(type(error)))
        case SignInNeeded():
            return refused("invalid_grant", error.message)
        case NotFound():
            return refused("invalid_client", error.message)
        case Refused():  # a tenant that is suspended, a Host that is not ours
            return refused("access_denied", error.message, 403)
        case UsageError():
            return refused("invalid_request", error.message)
    return refused("server_error", f"see {page_of(error.code)}", status_of(type(error)))
