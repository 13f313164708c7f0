"""``/oauth/authorize``: a person is shown who asks for what, and where the answer goes, and allows it or not."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Request, Response
from markupsafe import Markup

from satchel.auth.keys import SECRET_BYTES, key_mac, make_code
from satchel.auth.policy import role_on
from satchel.auth.roles import Principal, Role, TenantRole, narrower
from satchel.auth.scopes import scope_for
from satchel.catalog import audit, oauth, principals, projects, tenants
from satchel.catalog.members import MembershipRow
from satchel.catalog.oauth import CODE_LIFETIME_MS, CodeRow
from satchel.catalog.scope import Scope
from satchel.errors import CredentialInvalid, InvalidInput
from satchel.objects.ids import new_id
from satchel.server.access import cloud_of, exchange_of
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange
from satchel.server.oauth import clients, requests
from satchel.server.oauth.clients import DAY_MS, Client
from satchel.server.oauth.requests import Answerable, Asked
from satchel.server.oauth.rules import shown_host, source_of
from satchel.server.web.browser import Browser, browser_of, check_signed_in, posted
from satchel.server.web.forms import only
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router
from satchel.server.web.signin import ready, to_tenants

router = pages_router()
AUTHORIZE, CONSENT = "/oauth/authorize", "/oauth/consent"
MAX_SHOWN = 8
"""Projects named on the page; of more the number is said."""
_MAX_READ = 200
_MAY = {
    Role.READ: "Search and read",
    Role.WRITE: "Search, read and change",
    Role.ADMIN: "Search, read, change and administer",
}
_PAGE = Markup(
    "<h1>Allow {name} to use Satchel?</h1>{warning}<dl>"
    "<dt>Who asks</dt><dd><b>{name}</b>{vouched}</dd>"
    "<dt>Where the answer goes</dt><dd>{where}</dd>"
    "<dt>In which organisation</dt><dd><b>{tenant}</b>{other}</dd>"
    "<dt>What it may do there, as you</dt><dd>{may}{projects}</dd>"
    "<dt>Until when</dt><dd>Until you end it, and at the longest until <time>{until}</time>. End it at any time under "
    '<a href="/oauth/clients">connected clients</a>.</dd></dl>'
    "<form method=post action={action}>{hidden}{carried}"
    "<button name=decision value=allow>Allow</button>"
    "<button class=quiet name=decision value=deny>Do not allow</button></form>"
)
_CARRIED = Markup('<input type=hidden name="{}" value="{}">')


@router.get(AUTHORIZE)
async def authorize(request: Request) -> Response:
    cloud, query = cloud_of(request), request.scope["query_string"].decode("latin-1")
    browser = await browser_of(request)
    waiting = ready(browser, f"{AUTHORIZE}?{query}")
    if waiting is not None and requests.names_document(query):
        return waiting  # nobody whom we do not know makes this server fetch what they name
    try:
        asked = await requests.read(cloud, query)
    except Answerable as error:
        return _elsewhere(browser, error.location(cloud.settings.url))
    if waiting is not None:
        return waiting
    assert browser.place is not None
    return await consent_page(
        cloud,
        browser,
        asked.client,
        asked.scope,
        where=Markup("<b>{}</b>").format(shown_host(asked.redirect)),
        back=f"{AUTHORIZE}?{query}",
        action=CONSENT,
        carried={"request": query},
        leads_to=(source_of(asked.redirect),),
    )


@router.post(CONSENT)
async def consent(request: Request) -> Response:
    cloud = cloud_of(request)
    browser, fields = await posted(request)
    only(fields, ("request", "tenant", "decision"))
    query = fields.get("request", "")
    waiting = ready(browser, f"{AUTHORIZE}?{query}")
    if waiting is not None:
        return waiting
    try:
        asked = await requests.read(cloud, query)
    except Answerable as error:
        return _elsewhere(browser, error.location(cloud.settings.url))
    url, place = cloud.settings.url, shown_place(browser, fields)
    if not allowed(fields):
        said = {"error": "access_denied", "error_description": "the person did not allow it"}
        return _elsewhere(browser, requests.answer_at(asked.redirect, url, asked.state, said))
    code = await _give_code(cloud, browser, place, asked, exchange_of(request))
    return _elsewhere(browser, requests.answer_at(asked.redirect, url, asked.state, {"code": code}))


async def consent_page(
    cloud: Cloud,
    browser: Browser,
    client: Client,
    scope: Role,
    *,
    where: Markup,
    back: str,
    action: str,
    carried: dict[str, str],
    leads_to: tuple[str, ...] = (),
    warning: Markup = NOTHING,
) -> Response:
    """The page that asks. ``carried`` is what its form sends along, beside the tenant that it shows."""
    place = browser.place
    assert place is not None
    async with cloud.catalog.read(place.tenant) as s:
        who = await member_of(s, place, cloud.clock())
        listed, more = await _projects(s, who, scope)
    carried = {**carried, "tenant": place.tenant}
    vouched = (
        Markup("<br><span class=soft>Known by its document at {}</span>").format(client.host)
        if client.host
        else Markup("<br><span class=soft>The name is its own: nobody has checked it</span>")
    )
    other = Markup(' · <a href="{}">another one</a>').format(to_tenants(back)) if len(browser.places) > 1 else NOTHING
    until = datetime.fromtimestamp(cloud.clock() / 1000 + cloud.settings.refresh_seconds, UTC)
    body = _PAGE.format(
        name=client.name,
        warning=warning,
        vouched=NOTHING if client is clients.OWN else vouched,
        where=where,
        tenant=place.slug,
        other=other,
        may=_may(who, scope),
        projects=_project_list(listed, more),
        until=f"{until:%d %B %Y}".lstrip("0"),
        action=action,
        hidden=browser.hidden,
        carried=NOTHING.join(_CARRIED.format(name, value) for name, value in carried.items()),
    )
    return browser.page("Allow access", body, leads_to=leads_to)


def allowed(fields: dict[str, str]) -> bool:
    """Which button was pressed. Raises ``InvalidInput`` for neither."""
    if fields.get("decision") not in ("allow", "deny"):
        raise InvalidInput("the form says neither allow nor deny")
    return fields["decision"] == "allow"


def shown_place(browser: Browser, fields: dict[str, str]) -> MembershipRow:
    """The tenant that the page showed, which has to be the one still chosen. Raises ``InvalidInput``."""
    place = browser.place
    if place is None or fields.get("tenant") != place.tenant:
        raise InvalidInput(
            "another organisation was chosen since this page was shown",
            hint="Nothing was allowed. Begin anew from the client.",
        )
    return place


async def member_of(s: Scope, place: MembershipRow, now: int) -> Principal:
    """The person as a member of the scope's tenant. Raises ``CredentialInvalid`` and ``TenantSuspended``."""
    await tenants.check_active(s)
    who = await principals.resolve(s, place.principal_id, now)
    if who is None:
        raise CredentialInvalid("you are no longer a member of this organisation", hint="Choose another one.")
    return who


async def _give_code(cloud: Cloud, browser: Browser, place: MembershipRow, asked: Asked, exchange: Exchange) -> str:
    """A code for what was allowed, good once and for a minute."""
    now = cloud.clock()
    code_id = new_id("cod", cloud.random(16))
    text = make_code(place.tenant, code_id, cloud.random(SECRET_BYTES))
    async with cloud.catalog.directory(write=True) as d:
        await check_signed_in(d, cloud, browser)
        s = d.enter(place.tenant)
        who = await member_of(s, place, now)
        row = CodeRow(
            code_id, who.id, asked.client.id, asked.redirect, asked.challenge, asked.scope, asked.audience,
            now + CODE_LIFETIME_MS,
        )  # fmt: skip
        await oauth.add_code(s, row, key_mac(cloud.pepper, text), now)
        target = f"{asked.client.id} {scope_for(asked.scope)}"
        await audit.record(s, who, "client.allow", target, audit.DONE, exchange.id, now, address=exchange.address)
        await oauth.touch_client(d, asked.client.id, now, DAY_MS)
    return text


async def _projects(s: Scope, who: Principal, scope: Role) -> tuple[list[tuple[str, Role]], int]:
    """Some of the projects that the client gets to, each with the role it has there, and how many more there are."""
    if who.all_projects is not None or who.tenant_role >= TenantRole.ADMIN:
        rows = await projects.list_(s, limit=_MAX_READ)
    else:
        rows = [row for row in await projects.some(s, sorted(who.grants)) if row.archived is None]
    found = [(row.slug, narrower(role, scope) or role) for row in rows if (role := role_on(who, row.id)) is not None]
    return found[:MAX_SHOWN], max(0, len(found) - MAX_SHOWN)


def _may(who: Principal, scope: Role) -> Markup:
    everything = who.all_projects is not None or who.tenant_role >= TenantRole.ADMIN
    what = "every project of the organisation, those to come too" if everything else "the projects that you may use"
    can = who.all_projects if who.tenant_role < TenantRole.ADMIN and everything else scope
    text = Markup("{} {}").format(_MAY[narrower(can, scope) or scope], what)
    if scope is Role.ADMIN and who.tenant_role >= TenantRole.ADMIN:
        text += Markup("; and <b>administer the organisation</b>: its members, keys and settings")
    return text


def _project_list(listed: list[tuple[str, Role]], more: int) -> Markup:
    if not listed:
        return Markup("<br><span class=soft>There is no project that you may use yet</span>")
    rows = NOTHING.join(Markup("<li>{} <span class=soft>({})</span></li>").format(n, r.value) for n, r in listed)
    rest = Markup("<li class=soft>and {} more</li>").format(more) if more else NOTHING
    return Markup("<ul>{}{}</ul>").format(rows, rest)


def _elsewhere(browser: Browser, location: str) -> Response:
    return browser.to(location)
