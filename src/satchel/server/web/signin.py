"""The pages by which a person signs in, picks a tenant, and signs out."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request, Response
from markupsafe import Markup

from satchel.errors import CredentialInvalid, TooManyRequests
from satchel.server.access import cloud_of, exchange_of
from satchel.server.signin import by_password
from satchel.server.web import browser as browsing
from satchel.server.web.browser import HOME, Browser, browser_of, onward, posted
from satchel.server.web.federated import link
from satchel.server.web.forms import fields_of, only
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router

router = pages_router()
SIGN_IN, TENANT, SIGN_OUT = "/oauth/sign-in", "/oauth/tenant", "/oauth/sign-out"
_SIGN_IN_FORM = Markup(
    '<h1>Sign in</h1>{why}{error}<form method=post action="/oauth/sign-in">{hidden}'
    '<input type=hidden name=next value="{next}">'
    '<label for=email>E-mail address</label><input id=email name=email type=email value="{email}" '
    "autocomplete=username maxlength=254 required{described} autofocus>"
    "<label for=password>Password</label><input id=password name=password type=password "
    "autocomplete=current-password maxlength=1024 required{described}>"
    "<button>Sign in</button></form>{federated}"
)
_ERROR = Markup("<p class=error id=error role=alert>{}</p>")
_DESCRIBED = Markup(" aria-invalid=true aria-describedby=error")
_TENANT_FORM = Markup(
    "<h1>Choose an organisation</h1><p>You are a member of several. What you allow on the next page holds in this one "
    'alone.</p><form method=post action="/oauth/tenant">{hidden}<input type=hidden name=next value="{next}">'
    "<fieldset><legend>Organisation</legend>{picks}</fieldset><button>Go on</button></form>"
)
_PICK = Markup('<label class=pick><input type=radio name=tenant value="{id}" required{checked}>{slug}</label>')


def to_sign_in(path: str) -> str:
    """The address of the sign-in page that leads on to ``path``."""
    return f"{SIGN_IN}?next={quote(path, safe='')}"


def to_tenants(path: str) -> str:
    """The address of the page where a person picks a tenant, that leads on to ``path``."""
    return f"{TENANT}?next={quote(path, safe='')}"


def ready(browser: Browser, path: str) -> Response | None:
    """Where a person has to go before ``path`` can be shown; None for one who is signed in and acts in a tenant."""
    if browser.session is None:
        return browser.to(to_sign_in(path))
    return None if browser.place is not None else browser.to(to_tenants(path))


@router.get(SIGN_IN)
async def sign_in_page(request: Request) -> Response:
    browser = await browser_of(request)
    path = onward(_asked(request).get("next"))
    return browser.to(path) if browser.session is not None else _sign_in(browser, path, link(cloud_of(request), path))


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("email", "password", "next"))
    cloud, path, email = cloud_of(request), onward(fields.get("next")), fields.get("email", "")
    try:
        known = await by_password(cloud, email, fields.get("password", ""))
        return (await browsing.signed_in(cloud, known.person, browser)).to(path)
    except CredentialInvalid as error:
        exchange_of(request).code = error.code
        cloud.denials.sign_in_refused(email, exchange_of(request), request.scope)
        return _sign_in(browser, path, link(cloud, path), email, f"{error.message.capitalize()}. {error.hint}", 403)
    except TooManyRequests as error:
        exchange_of(request).code = error.code
        seconds = error.facts.get("retry_after", 1)
        return _sign_in(
            browser,
            path,
            link(cloud, path),
            email,
            f"{error.message.capitalize()}. Try again in {seconds} seconds.",
            429,
        )


@router.get(TENANT)
async def tenant_page(request: Request) -> Response:
    browser = await browser_of(request)
    path = onward(_asked(request).get("next"))
    if browser.session is None:
        return browser.to(to_sign_in(path))
    now = browser.place
    picks = Markup("").join(
        _PICK.format(id=p.tenant, slug=p.slug, checked=Markup(" checked") if p == now else "") for p in browser.places
    )
    body = _TENANT_FORM.format(hidden=browser.hidden, next=path, picks=picks)
    return browser.page("Choose an organisation", body)


@router.post(TENANT)
async def choose_tenant(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("tenant", "next"))
    path = onward(fields.get("next"))
    place = next((p for p in browser.places if p.tenant == fields.get("tenant")), None)
    if place is None:
        return browser.to(to_sign_in(path) if browser.session is None else to_tenants(path))
    await browsing.choose(cloud_of(request), browser, place)
    return browser.to(path)


@router.post(SIGN_OUT)
async def sign_out(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ())
    after = await browsing.sign_out(cloud_of(request), browser)
    body = Markup(
        "<h1>Signed out</h1><p>This browser is signed out. Clients that you connected go on: they are ended one by one "
        'under <a href="/oauth/clients">connected clients</a>.</p>'
    )
    return after.page("Signed out", body)


def _sign_in(
    browser: Browser, path: str, federated: Markup, email: str = "", error: str = "", status: int = 200
) -> Response:
    why = "to connect a device" if path.startswith("/oauth/device") else "to connect a client"
    if path.startswith("/join/"):
        why = "to join"
    body = _SIGN_IN_FORM.format(
        why=NOTHING if path == HOME else Markup("<p>Sign in {}.</p>").format(why),
        error=_ERROR.format(error) if error else NOTHING,
        described=_DESCRIBED if error else NOTHING,
        hidden=browser.hidden,
        next=path,
        email=email[:254],
        federated=federated,
    )
    return browser.page("Sign in", body, status=status)


def _asked(request: Request) -> dict[str, str]:
    return fields_of(request.scope["query_string"].decode("latin-1"))
