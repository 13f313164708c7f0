"""Signing in: an API key or a person's password against a short token, its renewal and its end."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.keys import SECRET_BYTES, key_mac, make_refresh, parse_refresh
from satchel.auth.passwords import verify_password
from satchel.auth.roles import Principal
from satchel.auth.tokens import issue, looks_like_token
from satchel.catalog import audit, members, principals, sessions, tenants
from satchel.errors import CredentialInvalid, InvalidInput, SignInNeeded
from satchel.objects.ids import TenantId, new_id
from satchel.server.access import SignedIn, cloud_of, exchange_of, known_parameters
from satchel.server.bodies import answer, read_json
from satchel.server.cloud import Cloud
from satchel.server.openapi import operation
from satchel.server.schemas import Done, RefreshRequest, RevokeRequest, TokenRequest, Tokens, WhoAmI

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
        checked = await cloud.authenticator.check_text(asked.api_key)
        return answer(_tokens(cloud, checked.principal, session=None, ends=checked.expires))
    if asked.email is UNSET or asked.password is UNSET or asked.api_key is not UNSET:
        raise InvalidInput("send either apiKey, or email and password")
    tenant = None if asked.tenant is UNSET else asked.tenant
    return answer(await _sign_in(request, cloud, asked.email, asked.password, tenant))


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
    """A refresh token is good once. One that comes twice was copied, and ends its session."""
    known_parameters(request)
    cloud = cloud_of(request)
    asked = await read_json(request, RefreshRequest, _MAX_BODY)
    parts = parse_refresh(asked.refresh_token)
    mac = key_mac(cloud.pepper, asked.refresh_token)
    fresh = make_refresh(parts.tenant, parts.family, cloud.random(SECRET_BYTES))
    now = cloud.clock()
    principal_id = await sessions.rotate(
        cloud.catalog, parts.tenant, parts.family, mac, key_mac(cloud.pepper, fresh), now
    )
    async with cloud.catalog.read(parts.tenant) as s:
        await tenants.check_active(s)
        principal = await principals.resolve(s, principal_id, now)
    if principal is None:
        raise CredentialInvalid("the refresh token is not valid here")
    return answer(_tokens(cloud, principal, session=parts.family, refresh=fresh))


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
        await _revoke(cloud, asked.token, exchange_of(request).id)
    except SignInNeeded:
        pass
    return answer({"ok": True})


@router.get("/auth/whoami", **operation("Who the credential is, and what it may do", answer=WhoAmI))
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


def _tokens(
    cloud: Cloud, who: Principal, *, session: str | None, refresh: str | None = None, ends: int | None = None
) -> dict[str, object]:
    keys = cloud.authenticator.tokens
    now = cloud.clock()
    lifetime = cloud.settings.token_seconds * 1000
    if ends is not None:
        # A token never outlives the key it was made from.
        lifetime = max(1_000, min(lifetime, ends - now))
    text = issue(
        keys.signing,
        issuer=keys.url,
        audience=keys.url,
        tenant=who.tenant,
        principal=who.id,
        jti=new_id("tok", cloud.random(16)),
        now=now,
        lifetime_ms=lifetime,
        scope=who.scope,
        session=session,
    )
    made: dict[str, object] = {"accessToken": text, "tokenType": "Bearer", "expiresIn": lifetime // 1000}
    if refresh is not None:
        made["refreshToken"] = refresh
    return made


async def _sign_in(request: Request, cloud: Cloud, email: str, password: str, tenant: str | None) -> dict[str, object]:
    """A person's first tokens. Everything wrong with e-mail, password and membership looks and lasts the same."""
    refused = CredentialInvalid("the e-mail address or the password is not right", hint="Check both, and try again.")
    async with cloud.sign_in.attempt(email) as succeeded:
        try:
            async with cloud.catalog.directory() as d:
                person = await members.find_person(d, email)
                places = [] if person is None else await members.memberships(d, person.id)
        except InvalidInput:
            person, places = None, []
        good = await asyncio.to_thread(verify_password, person.password if person else None, password)
        if good and places:
            succeeded()
    if person is None or not good or not places:
        raise refused
    if tenant is not None:
        places = [place for place in places if tenant in (place.slug, place.tenant)]
    elif len(places) > 1:
        slugs = [place.slug for place in places]
        raise InvalidInput(f"name the tenant to sign in to: {', '.join(slugs)}", tenants=slugs)
    if not places:
        raise refused
    return await _begin(request, cloud, places[0].tenant, places[0].principal_id, refused)


async def _begin(
    request: Request, cloud: Cloud, tenant: TenantId, principal_id: str, refused: CredentialInvalid
) -> dict[str, object]:
    now = cloud.clock()
    family = new_id("fam", cloud.random(16))
    text = make_refresh(tenant, family, cloud.random(SECRET_BYTES))
    async with cloud.catalog.write(tenant) as s:
        await tenants.check_active(s)
        who = await principals.resolve(s, principal_id, now)
        if who is None:
            raise refused
        await sessions.start(s, family=family, principal_id=who.id, mac=key_mac(cloud.pepper, text), now=now)
        await audit.record(s, who, "session.start", family, "done", exchange_of(request).id, now)
    return _tokens(cloud, who, session=family, refresh=text)


async def _revoke(cloud: Cloud, text: str, request_id: str) -> None:
    now = cloud.clock()
    if looks_like_token(text):
        checked = await cloud.authenticator.check_text(text)
        who = checked.principal
        async with cloud.catalog.write(who.tenant) as s:
            if checked.jti is not None:
                await sessions.revoke_token(s, checked.jti, checked.expires)
            if checked.session is not None:
                await sessions.revoke(s, checked.session, now)
            await audit.record(s, who, "session.revoke", checked.session or "", "done", request_id, now)
    else:
        parts = parse_refresh(text)
        fresh = key_mac(cloud.pepper, cloud.random(SECRET_BYTES).hex())
        # Only the genuine token can be exchanged; that proves whose it is, and then the family ends.
        who_id = await sessions.rotate(
            cloud.catalog, parts.tenant, parts.family, key_mac(cloud.pepper, text), fresh, now
        )
        async with cloud.catalog.write(parts.tenant) as s:
            await sessions.revoke(s, parts.family, now)
            holder = await principals.resolve(s, who_id)
            await audit.record(s, holder, "session.revoke", parts.family, "done", request_id, now)
    cloud.authenticator.void()
