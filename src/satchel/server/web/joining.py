"""The page of an invitation: what it is to, and joining, signed in already or by e-mail and password.

The address of the page ends with the secret, so that no script is needed; the page is kept by nobody, no other site is
told where it is, and only looking at it uses nothing up. Its form sends the secret as a field: addresses are
what logs and audits keep.
"""

from __future__ import annotations

from fastapi import Request, Response
from markupsafe import Markup

from satchel.catalog import members
from satchel.context.part import rfc3339
from satchel.errors import CredentialInvalid, InvalidInput, TooManyRequests
from satchel.server import joining
from satchel.server.access import cloud_of, exchange_of
from satchel.server.joining import Invited
from satchel.server.signin import not_right
from satchel.server.web import browser as browsing
from satchel.server.web import federated
from satchel.server.web.browser import Browser, browser_of, posted
from satchel.server.web.forms import only
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router

router = pages_router()
JOIN = "/join"
_HEAD = Markup(
    "<h1>Join {what}</h1><dl><dt>Organisation</dt><dd>{tenant}</dd>{project}<dt>You may</dt><dd>{may}</dd>"
    "<dt>The invitation ends</dt><dd>{expires}</dd></dl>"
)
_PROJECT = Markup("<dt>Project</dt><dd>{}</dd>")
_ERROR = Markup("<p class=error id=error role=alert>{}</p>")
_DESCRIBED = Markup(" aria-invalid=true aria-describedby=error")
_AS_NOW = Markup(
    '<form method=post action=/join>{hidden}<input type=hidden name=invitation value="{text}">'
    "<button>Join as {email}</button></form>"
)
_FORM = Markup(
    "<p>With the account you have on this server, or a new one: then the password is the one you choose.</p>{error}"
    '<form method=post action=/join>{hidden}<input type=hidden name=invitation value="{text}">'
    '<label for=email>E-mail address</label><input id=email name=email type=email value="{email}" '
    "autocomplete=username maxlength=254 required{described} autofocus>"
    "<label for=password>Password (a new one has at least 12 characters)</label><input id=password name=password "
    "type=password autocomplete=current-password maxlength=1024 required{described}>"
    "<button>Join</button></form>{federated}"
)
_JOINED = Markup(
    "<h1>You joined {what}</h1><p>{who} is a member of {tenant} now.</p>"
    "<p>To fetch it to this machine and let your agents use it:</p>"
    "<pre><code>satchel login {server}\nsatchel join {url}</code></pre>"
    '<p>Or connect an agent to <code>{mcp}</code>. <a href="/oauth/clients">Connected clients</a></p>'
)
_MAY = {"read": "read it", "write": "read and change it", "admin": "read and change it, and say who else may"}
_TENANT_MAY = {
    "member": "be a member; projects are given one by one",
    "admin": "read, change and manage everything of the organisation",
    "owner": "everything, as its owner",
}


@router.get(JOIN + "/{text}")
async def invitation_page(request: Request, text: str) -> Response:
    browser = await browser_of(request)
    invited = await joining.look_at(cloud_of(request), text)
    return _page(request, browser, invited, text)


@router.post(JOIN)
async def join(request: Request) -> Response:
    browser, fields = await posted(request)
    only(fields, ("invitation", "email", "password"))
    cloud, exchange = cloud_of(request), exchange_of(request)
    text, email = fields.get("invitation", ""), fields.get("email", "")
    invited = await joining.check(cloud, text)
    try:
        if browser.session is not None and "email" not in fields:
            async with cloud.catalog.directory() as d:
                who = await members.get_person(d, browser.session.person_id)
            if who is None:
                raise not_right()
        else:
            who = await joining.prove(cloud, email, fields.get("password", ""), None)
    except CredentialInvalid as error:
        exchange.code = error.code
        cloud.denials.sign_in_refused(email, exchange, request.scope)
        return _page(request, browser, invited, text, email, f"{error.message.capitalize()}. {error.hint}", 403)
    except InvalidInput as error:
        exchange.code = error.code
        return _page(request, browser, invited, text, email, f"{error.message.capitalize()}. {error.hint}", 422)
    except TooManyRequests as error:
        exchange.code = error.code
        seconds = error.facts.get("retry_after", 1)
        said = f"{error.message.capitalize()}. Try again in {seconds} seconds."
        return _page(request, browser, invited, text, email, said, 429)
    invited, _ = await joining.join(cloud, text, who, exchange)
    if browser.session is None or browser.session.person_id != who.id:
        browser = await browsing.signed_in(cloud, who, browser)
    body = _JOINED.format(
        what=_what(invited),
        who=who.email,
        tenant=invited.tenant.name,
        server=cloud.settings.url,
        url=cloud.settings.url + joining.PATH + joining.text_of(text),
        mcp=cloud.settings.url + "/mcp",
    )
    return browser.page("Joined", body)


def _page(
    request: Request, browser: Browser, invited: Invited, text: str, email: str = "", error: str = "", status: int = 200
) -> Response:
    place = invited.row.place
    head = _HEAD.format(
        what=_what(invited),
        tenant=invited.tenant.name,
        project=_PROJECT.format(invited.project.slug) if invited.project else NOTHING,
        may=_MAY[place.role.value] if place.role else _TENANT_MAY[place.tenant_role.value],
        expires=_moment(invited.row.expires),
    )
    hidden, text = browser.hidden, joining.text_of(text)
    now = NOTHING
    if browser.session is not None:
        now = _AS_NOW.format(hidden=hidden, text=text, email=browser.session.email)
    form = _FORM.format(
        error=_ERROR.format(error) if error else NOTHING,
        described=_DESCRIBED if error else NOTHING,
        hidden=hidden,
        text=text,
        email=email[:254],
        federated=federated.link(cloud_of(request), joining.PATH + text),
    )
    return browser.page(f"Join {_what(invited)}", head + (now or form), status=status)


def _what(invited: Invited) -> str:
    return invited.project.slug if invited.project else invited.tenant.name


def _moment(ms: int) -> str:
    return rfc3339(ms).replace("T", " ").removesuffix("Z")[:16] + " UTC"
