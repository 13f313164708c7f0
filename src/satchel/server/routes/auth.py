"""Signing in: an API key or a person's password against a short token, its renewal and its end."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.keys import parse_refresh
from satchel.auth.roles import Principal
from satchel.auth.tokens import looks_like_token
from satchel.catalog import audit, principals, sessions, tenants
from satchel.catalog.scope import Scope
from satchel.errors import CredentialInvalid, InvalidInput, SignInNeeded, TenantSuspended
from satchel.objects.ids import PrincipalId
from satchel.server.access import SignedIn, cloud_of, exchange_of, known_parameters, repeatable
from satchel.server.bodies import answer, read_json
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange
from satchel.server.minting import tokens_for
from satchel.server.openapi import operation
from satchel.server.schemas import Done, RefreshRequest, RevokeRequest, TokenRequest, Tokens, WhoAmI
from satchel.server.signin import begin, by_password, not_right

router = APIRouter(tags=["auth"])
_REFUSED = ("auth.invalid", "auth.expired", "tenant.suspended")
_MAX_BODY = 16 * 1024


@router.post(
    "/auth/token",
    **operation(
        "An access token for an API key, or for a person's e-mail and password",
        body=TokenRequest,
        answer=Tokens,
        errors=(*_REFUSED, "rate.limited"),
        public=True,
    ),
)
async def token(request: Request) -> Response:
    """A person's sign-in also gets a refresh token. `tenant` chooses among several memberships."""
    known_parameters(request)
    cloud = cloud_of(request)
    asked = await read_json(request, TokenRequest, _MAX_BODY)
    if asked.api_key is not UNSET and asked.email is UNSET and asked.password is UNSET:
        if looks_like_token(asked.api_key):
            raise CredentialInvalid("this is a token, not an API key")
        try:
            checked = await cloud.authenticator.check_text(asked.api_key)
        except (SignInNeeded, TenantSuspended) as error:
            cloud.denials.key_refused(asked.api_key, error.code, exchange_of(request), request.scope)
            raise
        async with cloud.catalog.write(checked.principal.tenant) as s:
            who = await cloud.authenticator.recheck(s, checked)  # its secret may have ended since
            await _record(s, who, "token.issue", "", exchange_of(request), cloud.clock())
            return answer(tokens_for(cloud, who, ends=checked.expires))
    if asked.email is UNSET or asked.password is UNSET or asked.api_key is not UNSET:
        raise InvalidInput("send either apiKey, or email and password")
    tenant = None if asked.tenant is UNSET else asked.tenant
    try:
        return answer(await _sign_in(request, cloud, asked.email, asked.password, tenant))
    except (SignInNeeded, TenantSuspended):
        cloud.denials.sign_in_refused(asked.email, exchange_of(request), request.scope)
        raise


@router.post(
    "/auth/refresh",
    **operation(
        "The next access and refresh token of a session",
        body=RefreshRequest,
        answer=Tokens,
        errors=_REFUSED,
        public=True,
    ),
)
async def refresh(request: Request) -> Response:
    """A refresh token is good once. Asked again with it, for an answer that was lost, the server gives the same next
    one, until that is used; a token older than that was copied, and ends its session."""
    known_parameters(request)
    cloud = cloud_of(request)
    asked = await read_json(request, RefreshRequest, _MAX_BODY)
    parts, now = parse_refresh(asked.refresh_token), cloud.clock()
    note = _noting(cloud, "session.refresh", parts.family, exchange_of(request), now)
    family, fresh = await sessions.rotate(cloud.catalog, asked.refresh_token, pepper=cloud.pepper, now=now, note=note)
    async with cloud.catalog.read(parts.tenant) as s:
        await tenants.check_active(s)
        principal = await principals.resolve(s, family.principal_id, now)
    if principal is None:
        raise CredentialInvalid("the refresh token is not valid here")
    return answer(tokens_for(cloud, principal, family=family, refresh=fresh))


@router.post(
    "/auth/revoke",
    **operation("End a token or a session", body=RevokeRequest, answer=Done, public=True),
)
async def revoke(request: Request) -> Response:
    """Takes an access or a refresh token. A token that does not count already is no error (RFC 7009)."""
    known_parameters(request)
    cloud = cloud_of(request)
    asked = await read_json(request, RevokeRequest, _MAX_BODY)
    try:
        await _revoke(cloud, asked.token, exchange_of(request))
    except SignInNeeded:
        pass
    return answer({"ok": True})


@router.get("/auth/whoami", **operation("Who the credential is, and what it may do", answer=WhoAmI))
@repeatable
async def whoami(caller: SignedIn) -> Response:
    who = caller.principal
    async with caller.cloud.catalog.read(caller.tenant) as s:
        tenant = await tenants.own(s)
    return answer(
        {
            "principal": {"id": who.id, "name": who.name, "kind": who.kind},
            "tenant": {"id": tenant.id, "slug": tenant.slug},
            "role": who.tenant_role.value,
            "operator": who.operator,
            "allProjects": who.all_projects.value if who.all_projects else None,
            "scope": who.scope.value if who.scope else None,
            "grants": [{"project": project, "role": role.value} for project, role in sorted(who.grants.items())],
        }
    )


async def _sign_in(request: Request, cloud: Cloud, email: str, password: str, tenant: str | None) -> dict[str, object]:
    """A person's first tokens. Everything wrong with e-mail, password and membership looks and lasts the same."""
    person, places = await by_password(cloud, email, password)
    if tenant is not None:
        places = [place for place in places if tenant in (place.slug, place.tenant)]
    elif len(places) > 1:
        slugs = [place.slug for place in places]
        raise InvalidInput(f"name the tenant to sign in to: {', '.join(slugs)}", tenants=slugs)
    if not places:
        raise not_right()
    return await begin(cloud, person, places[0].tenant, places[0].principal_id, exchange_of(request))


def _noting(cloud: Cloud, action: str, target: str, exchange: Exchange, now: int) -> sessions.Note:
    """Writes into the audit whose session a refresh token was, and what came of it."""

    async def note(s: Scope, principal_id: PrincipalId, result: str) -> None:
        who = await principals.resolve(s, principal_id)
        await audit.record(s, who, action, target, result, exchange.id, now, address=exchange.address)

    return note


async def _record(s: Scope, who: Principal | None, action: str, target: str, exchange: Exchange, now: int) -> None:
    await audit.record(s, who, action, target, audit.DONE, exchange.id, now, address=exchange.address)


async def _revoke(cloud: Cloud, text: str, exchange: Exchange) -> None:
    now = cloud.clock()
    if looks_like_token(text):
        checked = await cloud.authenticator.check_text(text, exchange)
        who = checked.principal
        async with cloud.catalog.write(who.tenant) as s:
            if checked.jti is not None:
                await sessions.revoke_token(s, checked.jti, checked.expires)
            if checked.session is not None:
                await sessions.revoke(s, checked.session, now)
            await _record(s, who, "session.revoke", checked.session or "", exchange, now)
    else:
        note = _noting(cloud, "session.revoke", parse_refresh(text).family, exchange, now)
        await sessions.end(cloud.catalog, text, pepper=cloud.pepper, now=now, note=note)
