"""Who sits before a page: the cookie, the session behind it, and the proof that a form came from a page of ours.

The cookie holds a random secret alone, set with the first page that has a form. At sign-in it is replaced, so that
nobody can plant one, and a session is kept under its keyed hash. A form carries the keyed hash of its browser's secret
under another name; a page of somebody else can neither read nor guess it. `Origin`, which browsers send with every
form, is looked at too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, NamedTuple

from fastapi import Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from satchel.catalog import browsers, members
from satchel.catalog.browsers import BrowserRow
from satchel.catalog.members import MembershipRow, PersonRow
from satchel.catalog.scope import Directory
from satchel.errors import CredentialInvalid, Refused
from satchel.server.access import cloud_of
from satchel.server.signin import check_unchanged
from satchel.server.web.forms import read_fields
from satchel.server.web.layout import page

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_NEXT = re.compile(r"/(?:oauth/(?:authorize|device|clients)|join/[A-Za-z0-9_-]{1,200})(?:\?[\x21-\x7e]{0,8000})?")
"""Where a sign-in may lead to: a page of this server that asked for it, and nowhere else."""
HOME = "/oauth/clients"
TOKEN_FIELD = "csrf"  # noqa: S105 (the name of the field)


class FormRefused(Refused):
    code = "request.form_refused"
    default_hint = "Open the page anew and send its form again. Cookies of this server have to be accepted."


class Browser(NamedTuple):
    """One browser at one request."""

    secret: str
    session: BrowserRow | None
    """Who is signed in, None for nobody."""
    places: tuple[MembershipRow, ...]
    """The tenants that person is a member of."""
    form_token: str
    cookie: str
    """The header that gives it the secret, empty where it has it."""

    @property
    def place(self) -> MembershipRow | None:
        """The tenant the person acts in: the one chosen, as long as it is a member there, or the only one."""
        if self.session is not None:
            for place in self.places:
                if place.tenant == self.session.tenant or len(self.places) == 1:
                    return place
        return None

    @property
    def hidden(self) -> Markup:
        """The field every form of a page has."""
        return Markup('<input type=hidden name="{}" value="{}">').format(TOKEN_FIELD, self.form_token)

    def header(self) -> Markup:
        """The line above a page: whose it is, and the way out."""
        if self.session is None:
            return Markup("<header><b>Satchel</b></header>")
        place = self.place
        return Markup(
            '<header><b>Satchel</b><span class=soft>{who}{where} · <form method=post action="/oauth/sign-out">{token}'
            "<button class=plain>Sign out</button></form></span></header>"
        ).format(who=self.session.email, where=f" in {place.slug}" if place else "", token=self.hidden)

    def page(self, title: str, body: Markup, *, status: int = 200, leads_to: tuple[str, ...] = ()) -> Response:
        """A page for this browser, which sets its cookie where it has none."""
        headers = {"set-cookie": self.cookie} if self.cookie else None
        return page(title, body, header=self.header(), status=status, leads_to=leads_to, headers=headers)

    def to(self, path: str) -> Response:
        """The answer to a form that leads to another page of this server, or on to where a client waits."""
        answer = RedirectResponse(path, 303, headers={"referrer-policy": "no-referrer"})
        if self.cookie:
            answer.headers["set-cookie"] = self.cookie
        return answer


async def browser_of(request: Request) -> Browser:
    """The browser that sends this request."""
    cloud = cloud_of(request)
    secret = request.cookies.get(_cookie_name(cloud), "")
    if not _SECRET.fullmatch(secret):
        return stranger(cloud)
    async with cloud.catalog.directory() as d:
        found = await browsers.find(d, _mac(cloud, "session", secret), cloud.clock())
        places = await members.memberships(d, found.person_id) if found else []
    return Browser(secret, found, tuple(places), _form_token(cloud, secret), "")


def stranger(cloud: Cloud) -> Browser:
    """A browser that has no cookie yet."""
    secret = _fresh(cloud)
    return Browser(secret, None, (), _form_token(cloud, secret), _cookie(cloud, secret))


async def signed_in(cloud: Cloud, person: PersonRow, before: Browser) -> Browser:
    """The browser of somebody who has just proven to be this person: a new secret, and the session before ended.

    Raises ``CredentialInvalid`` where the person's password was changed since.
    """
    secret, now = _fresh(cloud), cloud.clock()
    async with cloud.catalog.directory(write=True) as d:
        await check_unchanged(d, person)
        places = await members.memberships(d, person.id)
        await browsers.end(d, _mac(cloud, "session", before.secret))
        only = places[0].tenant if len(places) == 1 else None
        await browsers.start(d, _mac(cloud, "session", secret), person.id, only, now)
        found = await browsers.find(d, _mac(cloud, "session", secret), now)
    return Browser(secret, found, tuple(places), _form_token(cloud, secret), _cookie(cloud, secret))


async def check_signed_in(d: Directory, cloud: Cloud, browser: Browser) -> None:
    """Call it in the transaction that writes what a person allows.

    Raises ``CredentialInvalid`` where the session was ended since it was looked at, as a new password ends it.
    """
    if await browsers.find(d, _mac(cloud, "session", browser.secret), cloud.clock()) is None:
        raise CredentialInvalid(
            "you were signed out meanwhile", hint="Nothing was allowed. Sign in, and begin anew from the client."
        )


async def choose(cloud: Cloud, browser: Browser, place: MembershipRow) -> None:
    """Let the person act in this tenant from now on."""
    async with cloud.catalog.directory(write=True) as d:
        await browsers.choose(d, _mac(cloud, "session", browser.secret), place.tenant)


async def sign_out(cloud: Cloud, browser: Browser) -> Browser:
    """End the session; what is left is a browser like any other."""
    async with cloud.catalog.directory(write=True) as d:
        await browsers.end(d, _mac(cloud, "session", browser.secret))
    return stranger(cloud)


async def posted(request: Request) -> tuple[Browser, dict[str, str]]:
    """The browser and the fields of a form of ours, without the proof.

    Raises ``FormRefused``, and what ``read_fields`` raises.
    """
    fields = await read_fields(request)  # first: while it comes, however slowly, the session may be ended
    browser = await browser_of(request)
    _check_origin(request)
    token = fields.pop(TOKEN_FIELD, "")
    if browser.cookie or not hmac.compare_digest(token.encode(), browser.form_token.encode()):
        raise FormRefused("the form did not come from a page that this browser was shown")
    return browser, fields


def onward(path: str | None) -> str:
    """Where to go after sign-in: ``path`` if it is a page that asks for it, else the list of connected clients."""
    return path if path and _NEXT.fullmatch(path) else HOME


def _check_origin(request: Request) -> None:
    """Raise ``FormRefused`` where the browser says that a page of somebody else sent the form."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    same_site = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    if (origin is not None and origin.partition("://")[2] != host) or not same_site:
        raise FormRefused("the form came from a page of another origin")


def _fresh(cloud: Cloud) -> str:
    return urlsafe_b64encode(cloud.random(32)).decode().rstrip("=")


def _mac(cloud: Cloud, what: str, secret: str) -> bytes:
    return hmac.digest(cloud.pepper, f"browser {what}\0{secret}".encode(), hashlib.sha256)


def _form_token(cloud: Cloud, secret: str) -> str:
    return _mac(cloud, "form", secret).hex()


def _cookie_name(cloud: Cloud) -> str:
    # Without TLS, on loopback, there are no Secure cookies in every browser, and without them no `__Host-`.
    return "__Host-satchel" if cloud.settings.url.startswith("https:") else "satchel"


def _cookie(cloud: Cloud, secret: str) -> str:
    secure = "; Secure" if cloud.settings.url.startswith("https:") else ""
    return f"{_cookie_name(cloud)}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}"
