"""A route whose refusals are pages: the same status, code and hint as a problem, in words for a person."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from markupsafe import Markup

from satchel.errors import SatchelError, TooManyRequests
from satchel.server.access import cloud_of, exchange_of
from satchel.server.problems import RETRY_SECONDS, meaning_of, page_of, status_of
from satchel.server.web.layout import page


class PageRoute(APIRoute):
    """Answers every ``SatchelError`` with a page, and only to a Host that is this server's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                cloud_of(request).hosts.check_host(request.headers.get("host", ""))
                return await handle(request)
            except SatchelError as error:
                exchange = exchange_of(request)
                exchange.code = error.code
                return refusal(error, exchange.id)

        return handled


def pages_router() -> APIRouter:
    """A router for pages, which are no part of the API's description."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def refusal(error: SatchelError, request_id: str) -> Response:
    """The page that says what went wrong."""
    status, meaning = status_of(type(error)), meaning_of(error.code)
    body = Markup(
        "<h1>{title}</h1><p>{message}.</p><p>{hint}</p>"
        '<p class=soft><a href="{page}"><code>{code}</code></a> · request <code>{id}</code></p>'
    ).format(
        title=meaning.title, message=_sentence(error.message), hint=error.hint, page=page_of(error.code),
        code=error.code, id=request_id,
    )  # fmt: skip
    headers = {}
    if isinstance(error, TooManyRequests) or status == 503:
        headers["retry-after"] = str(error.facts.get("retry_after", RETRY_SECONDS))
    if status == 401:  # nothing here takes a header: the way in is a page
        status = 403
    return page(meaning.title, body, status=status, headers=headers)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
