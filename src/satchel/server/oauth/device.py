"""``/oauth/device``: a program without a browser begins a login, a person types its code elsewhere (RFC 8628).

The device code has 256 random bits. The user code has 34, lives ten minutes and counts once: who guesses has to be
signed in, and may miss five times in ten minutes.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode
from urllib.parse import quote

from fastapi import Request, Response
from markupsafe import Markup

from satchel.auth.scopes import SCOPES, scope_for, scope_of
from satchel.catalog import audit, oauth
from satchel.catalog.oauth import DEVICE_INTERVAL_MS, DEVICE_LIFETIME_MS, DeviceRow
from satchel.errors import TooManyRequests
from satchel.server.access import cloud_of, exchange_of
from satchel.server.bodies import answer
from satchel.server.cloud import Cloud
from satchel.server.oauth import clients
from satchel.server.oauth.answers import OAuthError, machine_router
from satchel.server.oauth.clients import DAY_MS
from satchel.server.oauth.consent import allowed, consent_page, member_of, shown_place
from satchel.server.oauth.registration import limit_beginnings
from satchel.server.oauth.rules import audience_of
from satchel.server.oauth.tokens import client_fields, device_mac
from satchel.server.web.browser import Browser, browser_of, check_signed_in, posted
from satchel.server.web.forms import fields_of, only
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router
from satchel.server.web.signin import ready

router = pages_router()
machines = machine_router()
DEVICE, CODE, DECIDE = "/oauth/device", "/oauth/device/code", "/oauth/device/decide"
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Of user codes: none that makes a word or is taken for another."""
USER_CODE_LENGTH = 8
MAX_DEVICES = 10_000
"""Logins under way, of all clients together."""
_ENTER = Markup(
    "<h1>Connect a device</h1><p>Type the code that the device or the program shows.</p>{error}"
    "<form method=post action={action}>{hidden}<label for=user_code>Code</label>"
    '<input class=code id=user_code name=user_code value="{code}" autocomplete=off autocapitalize=characters '
    "spellcheck=false maxlength=20 required{described} autofocus><button>Go on</button></form>"
)
_WARNING = Markup(
    "<p class=error>Go on only if you began this yourself, a moment ago, and your device shows the code <b>{}</b>. "
    "Whoever sent you a code or a link wants to get in as you.</p>"
)


@machines.post(DEVICE)
async def begin(request: Request) -> Response:
    cloud = cloud_of(request)
    fields = await client_fields(request)
    limit_beginnings(cloud, exchange_of(request))
    client = await clients.find(cloud, fields.get("client_id", ""))
    scope = scope_of(fields.get("scope", ""))
    if scope is None:
        raise OAuthError("invalid_scope", f"the scopes are {' '.join(SCOPES)}")
    url = cloud.settings.url
    audience = audience_of(fields.get("resource", url + "/mcp"), url)
    if audience is None:
        raise OAuthError("invalid_target", "resource names another server")
    device_code = "stl_device_" + b32encode(cloud.random(32)).decode().rstrip("=").lower()
    user_code = _fresh_user_code(cloud)
    async with cloud.catalog.directory(write=True) as d:
        begun = await oauth.start_device(
            d,
            device_mac=device_mac(cloud, device_code),
            user_mac=_user_mac(cloud, user_code),
            client_id=client.id,
            scope=scope,
            audience=audience,
            now=cloud.clock(),
            most=MAX_DEVICES,
        )
    if not begun:
        raise TooManyRequests("too many devices are being connected at this moment", retry_after=60)
    shown = f"{user_code[:4]}-{user_code[4:]}"
    return answer(
        {
            "device_code": device_code,
            "user_code": shown,
            "verification_uri": f"{url}{DEVICE}",
            "verification_uri_complete": f"{url}{DEVICE}?user_code={shown}",
            "expires_in": DEVICE_LIFETIME_MS // 1000,
            "interval": DEVICE_INTERVAL_MS // 1000,
        }
    )


@router.get(DEVICE)
async def enter_page(request: Request) -> Response:
    browser = await browser_of(request)
    code = fields_of(request.scope["query_string"].decode("latin-1")).get("user_code", "")[:20]
    waiting = ready(browser, f"{DEVICE}?user_code={quote(code, safe='')}" if code else DEVICE)
    # The code is filled in, and never taken by itself: the person has to see it and send it.
    return waiting or _enter(browser, code)


@router.post(CODE)
async def enter(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("user_code",))
    cloud, typed = cloud_of(request), fields.get("user_code", "")[:40]
    waiting = ready(browser, DEVICE)
    if waiting is not None:
        return waiting
    row, wait = await _find(cloud, browser, typed)
    if row is None:
        said = f"Too many wrong codes. Try again in {wait} seconds." if wait else "No device waits under this code."
        return _enter(browser, typed[:20], said, 429 if wait else 404)
    client = await clients.find(cloud, row.client_id)
    return await consent_page(
        cloud,
        browser,
        client,
        row.scope,
        where=Markup("<b>the device that shows the code {}</b>").format(_shown(typed)),
        back=DEVICE,
        action=DECIDE,
        carried={"user_code": _plain(typed)},
        warning=_WARNING.format(_shown(typed)),
    )


@router.post(DECIDE)
async def decide(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("user_code", "tenant", "decision"))
    cloud, typed = cloud_of(request), fields.get("user_code", "")[:40]
    waiting = ready(browser, DEVICE)
    if waiting is not None:
        return waiting
    place, yes = shown_place(browser, fields), allowed(fields)
    row, _ = await _find(cloud, browser, typed)
    if row is None:
        return _enter(browser, "", "No device waits under this code any more.", 404)
    now, exchange, mac = cloud.clock(), exchange_of(request), _user_mac(cloud, _plain(typed))
    async with cloud.catalog.directory(write=True) as d:
        await check_signed_in(d, cloud, browser)
        s = d.enter(place.tenant)
        who = await member_of(s, place, now)
        given = {"tenant": place.tenant, "principal_id": who.id} if yes else {}
        done = await oauth.decide_device(d, mac, now, **given)
        if done and yes:
            await oauth.touch_client(d, row.client_id, now, DAY_MS)
            target = f"{row.client_id} {scope_for(row.scope)}"
            await audit.record(s, who, "client.allow", target, audit.DONE, exchange.id, now, address=exchange.address)
    if not done:
        return _enter(browser, "", "No device waits under this code any more.", 404)
    title = "Device connected" if yes else "Device refused"
    said = "It goes on by itself in a few seconds." if yes else "It was told so, and got nothing."
    body = Markup("<h1>{}</h1><p role=status>{} You can close this page.</p>").format(title, said)
    return browser.page(title, body)


async def _find(cloud: Cloud, browser: Browser, typed: str) -> tuple[DeviceRow | None, int]:
    """The login that waits under what a person typed, or the seconds to wait after too many wrong codes."""
    assert browser.session is not None
    name = browser.session.person_id
    wait = cloud.guesses.wait(name)
    if wait:
        return None, wait
    async with cloud.catalog.directory() as d:
        row = await oauth.device_of(d, _user_mac(cloud, _plain(typed)), cloud.clock())
    if row is None:
        cloud.guesses.miss(name)
    return row, 0


def _enter(browser: Browser, code: str, error: str = "", status: int = 200) -> Response:
    body = _ENTER.format(
        action=CODE,
        hidden=browser.hidden,
        code=code,
        error=Markup("<p class=error id=error role=alert>{}</p>").format(error) if error else NOTHING,
        described=Markup(" aria-invalid=true aria-describedby=error") if error else NOTHING,
    )
    return browser.page("Connect a device", body, status=status)


def _fresh_user_code(cloud: Cloud) -> str:
    """Eight letters, each as likely as any other: bytes that would favour some are thrown away."""
    letters = ""
    while len(letters) < USER_CODE_LENGTH:
        letters += "".join(LETTERS[b % 20] for b in cloud.random(16) if b < 240)
    return letters[:USER_CODE_LENGTH]


def _plain(typed: str) -> str:
    return "".join(letter for letter in typed.upper() if letter in LETTERS)


def _shown(typed: str) -> str:
    plain = _plain(typed)
    return f"{plain[:4]}-{plain[4:]}"


def _user_mac(cloud: Cloud, user_code: str) -> bytes:
    return hmac.digest(cloud.pepper, b"user code\0" + user_code.encode(), hashlib.sha256)
