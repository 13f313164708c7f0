"""``/oauth/clients``: what a person has connected, and the end of it."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from fastapi import Request, Response
from markupsafe import Markup

from satchel.auth.scopes import scope_for
from satchel.catalog import audit, oauth, sessions
from satchel.catalog.oauth import SessionRow
from satchel.catalog.scope import Directory
from satchel.errors import InvalidInput
from satchel.server.access import cloud_of, exchange_of
from satchel.server.oauth.clients import OWN
from satchel.server.oauth.consent import member_of
from satchel.server.web.browser import HOME, browser_of, posted
from satchel.server.web.forms import only
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router
from satchel.server.web.signin import ready, to_tenants

router = pages_router()
END = "/oauth/clients/end"
MAX_SHOWN = 100
_PAGE = Markup(
    "<h1>Connected clients</h1><p>What goes on in your name in <b>{tenant}</b>{other}. To end one stops it at once.</p>"
    "{said}{rows}"
)
_ROW = Markup(
    "<h2>{name}</h2><p>{scope}; since {since}, until {until} at the longest.</p>"
    "<form method=post action={action}>{hidden}<input type=hidden name=session value={session}>"
    '<button class=quiet aria-label="End {name}, since {since}">End</button></form>'
)


@router.get(HOME)
async def clients_page(request: Request) -> Response:
    return await _page(request, "")


@router.post(END)
async def end(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("session",))
    cloud, exchange = cloud_of(request), exchange_of(request)
    waiting = ready(browser, HOME)
    if waiting is not None:
        return waiting
    place, now = browser.place, cloud.clock()
    assert place is not None
    async with cloud.catalog.write(place.tenant) as s:
        who = await member_of(s, place, now)
        own = {row.family for row in await oauth.sessions_of(s, who.id, now, MAX_SHOWN)}
        if fields.get("session") not in own:
            raise InvalidInput("this session is over, or not yours")
        await sessions.revoke(s, fields["session"], now)
        target = fields["session"]
        await audit.record(s, who, "session.revoke", target, audit.DONE, exchange.id, now, address=exchange.address)
    return browser.to(HOME)


async def _page(request: Request, said: str) -> Response:
    cloud, browser = cloud_of(request), await browser_of(request)
    waiting = ready(browser, HOME)
    if waiting is not None:
        return waiting
    place = browser.place
    assert place is not None
    async with cloud.catalog.read(place.tenant) as s:
        who = await member_of(s, place, cloud.clock())
        rows = await oauth.sessions_of(s, who.id, cloud.clock(), MAX_SHOWN)
    async with cloud.catalog.directory() as d:
        names = {row.client_id: await _name(d, row.client_id) for row in rows}
    shown = NOTHING.join(
        _ROW.format(
            name=names[row.client_id],
            scope=_scope(row),
            since=_day(row.created),
            until=_day(row.expires),
            action=END,
            hidden=browser.hidden,
            session=row.family,
        )
        for row in rows
    )
    other = Markup(' (<a href="{}">choose another organisation</a>)').format(to_tenants(HOME))
    body = _PAGE.format(
        tenant=place.slug,
        other=other if len(browser.places) > 1 else NOTHING,
        said=said,
        rows=shown or Markup("<p>Nothing is connected.</p>"),
    )
    return browser.page("Connected clients", body)


async def _name(d: Directory, client_id: str | None) -> str:
    """What to call a client: what is stored alone, since a list must not wait for what is elsewhere."""
    if client_id is None:
        return OWN.name
    row = await oauth.client(d, client_id)
    return row.name if row is not None else urlsplit(client_id).netloc or "A client that is forgotten"


def _scope(row: SessionRow) -> str:
    what = "everything that you may do" if row.scope is None else scope_for(row.scope)
    return f"{what}, over MCP alone" if row.audience else what


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%d %B %Y}".lstrip("0")
