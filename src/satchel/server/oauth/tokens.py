"""``/oauth/token`` and ``/oauth/revoke``: a code, a refresh token or an approved device against tokens, and their end.

Clients are public: a token request proves nothing by itself, so each grant is bound to the client it was made for, a
code also to the redirect and to the verifier that only its client knows. A code that comes a second time was copied:
the session begun with it ends.
"""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request, Response

from satchel.auth.keys import key_mac, parse_code, parse_refresh
from satchel.auth.roles import Principal, Role
from satchel.auth.scopes import SCOPES, scope_of, scope_text
from satchel.auth.tokens import looks_like_token
from satchel.catalog import audit, oauth, principals, sessions, tenants
from satchel.catalog.oauth import APPROVED, DENIED, PENDING, CodeRow, DeviceRow
from satchel.catalog.scope import Scope
from satchel.catalog.sessions import Family
from satchel.errors import CredentialInvalid, SignInNeeded, TenantSuspended
from satchel.objects.ids import PrincipalId, new_id
from satchel.server.access import cloud_of, exchange_of
from satchel.server.bodies import answer
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange
from satchel.server.minting import tokens_for
from satchel.server.oauth import clients
from satchel.server.oauth.answers import OAuthError, machine_router
from satchel.server.oauth.clients import OWN_ID
from satchel.server.oauth.rules import DEVICE, audience_of, proves
from satchel.server.web.forms import read_fields

router = machine_router()


@router.post("/oauth/token")
async def token(request: Request) -> Response:
    cloud, exchange = cloud_of(request), exchange_of(request)
    fields = await client_fields(request)
    match fields.get("grant_type"):
        case "authorization_code":
            return await _by_code(cloud, exchange, fields)
        case "refresh_token":
            return await _by_refresh(cloud, exchange, fields)
        case kind if kind == DEVICE:
            return await _by_device(cloud, exchange, fields)
    raise OAuthError("unsupported_grant_type", "grant_type is none that this server gives")


@router.post("/oauth/revoke")
async def revoke(request: Request) -> Response:
    """Ends the whole session a token belongs to; one that does not count already is no error (RFC 7009)."""
    cloud, exchange = cloud_of(request), exchange_of(request)
    fields = await client_fields(request)
    text, client_id = _needed(fields, "token"), _client(fields)
    try:
        if looks_like_token(text):
            await _revoke_access(cloud, exchange, text, client_id)
        else:
            note = _noting(cloud, "session.revoke", parse_refresh(text).family, exchange)
            await sessions.end(
                cloud.catalog, text, pepper=cloud.pepper, now=cloud.clock(), client_id=client_id, note=note
            )
    except SignInNeeded:
        pass
    return answer({})


async def client_fields(request: Request) -> dict[str, str]:
    """What a client sends, in the body alone. Raises ``OAuthError`` where it shows a secret."""
    if request.scope["query_string"]:
        raise OAuthError("invalid_request", "parameters are taken in the body alone")
    fields = await read_fields(request)
    if "authorization" in request.headers or "client_secret" in fields or "client_assertion" in fields:
        raise OAuthError("invalid_client", "clients keep no secret here: token_endpoint_auth_method is none", 401)
    return fields


async def _by_code(cloud: Cloud, exchange: Exchange, fields: dict[str, str]) -> Response:
    text, client_id, now = _needed(fields, "code"), _client(fields), cloud.clock()
    parts = parse_code(text)
    refused: CredentialInvalid | TenantSuspended | OAuthError = CredentialInvalid("the code is not valid here")
    async with cloud.catalog.write(parts.tenant) as s:
        code = await oauth.take_code(s, parts.code, key_mac(cloud.pepper, text), now)
        if code is not None and code.used is None:
            # Whatever is wrong from here on, the code is spent: the refusal must not roll that back.
            try:
                _check_code(code, client_id, fields, cloud, now)
                who = code.principal_id
                return await _begin(s, cloud, exchange, who, client_id, code.scope, code.audience, code.id)
            except (CredentialInvalid, TenantSuspended, OAuthError) as error:
                refused = error
        elif code is not None and code.family is not None:
            await sessions.revoke(s, code.family, now)
            owner = await principals.resolve(s, code.principal_id)
            await _record(s, owner, "code.replayed", code.family, exchange, now)
    raise refused


def _check_code(code: CodeRow, client_id: str | None, fields: dict[str, str], cloud: Cloud, now: int) -> None:
    """Raise ``CredentialInvalid`` unless a code came in time and from whom it was given to."""
    given = None if code.client_id == OWN_ID else code.client_id
    right = code.expires > now and given == client_id
    if not right or not hmac.compare_digest(code.redirect.encode(), fields.get("redirect_uri", "").encode()):
        raise CredentialInvalid("the code is not valid here")
    if not proves(fields.get("code_verifier", ""), code.challenge):
        raise CredentialInvalid("code_verifier is not the one behind the challenge")
    _check_resource(fields, code.audience, cloud)


async def _by_refresh(cloud: Cloud, exchange: Exchange, fields: dict[str, str]) -> Response:
    text, client_id, now = _needed(fields, "refresh_token"), _client(fields), cloud.clock()
    parts = parse_refresh(text)
    wanted = scope_of(fields["scope"]) if "scope" in fields else None
    if "scope" in fields and wanted is None:
        raise OAuthError("invalid_scope", f"the scopes are {' '.join(SCOPES)}")
    note = _noting(cloud, "session.refresh", parts.family, exchange)
    family, fresh = await sessions.rotate(
        cloud.catalog, text, pepper=cloud.pepper, now=now, client_id=client_id, note=note
    )
    # Whoever asked for too much asks again with the same token, and gets the same next one.
    if wanted is not None and family.scope is not None and wanted > family.scope:
        raise OAuthError("invalid_scope", "more was asked for than was allowed")
    audience = _check_resource(fields, family.audience or cloud.settings.url, cloud)
    async with cloud.catalog.read(parts.tenant) as s:
        await tenants.check_active(s)
        who = await principals.resolve(s, family.principal_id, now)
    if who is None:
        raise CredentialInvalid("the refresh token is not valid here")
    return _tokens(cloud, who, family._replace(scope=wanted or family.scope, audience=audience), fresh)


async def _by_device(cloud: Cloud, exchange: Exchange, fields: dict[str, str]) -> Response:
    text, client_id = _needed(fields, "device_code"), _client(fields)
    async with cloud.catalog.directory(write=True) as d:
        found = await oauth.poll_device(d, device_mac(cloud, text), cloud.clock())
        try:
            row = _approved(found, client_id, cloud.clock())
            assert row.tenant is not None, "whoever approved it did so in a tenant"
            assert row.principal_id is not None
            s, who = d.enter(row.tenant), PrincipalId(row.principal_id)
            return await _begin(s, cloud, exchange, who, client_id, row.scope, row.audience)
        except (CredentialInvalid, TenantSuspended, OAuthError) as error:
            refused = error  # that it asked, or that its login is spent, must not be rolled back
    raise refused


def _approved(found: tuple[DeviceRow, bool] | None, client_id: str | None, now: int) -> DeviceRow:
    """The login that a device may take now. Raises what it is told where there is none."""
    if found is None or (None if found[0].client_id == OWN_ID else found[0].client_id) != client_id:
        raise CredentialInvalid("the device code is not valid here")
    row, too_soon = found
    if row.expires <= now:
        raise OAuthError("expired_token", "the device code has expired: begin anew")
    if row.state == DENIED:
        raise OAuthError("access_denied", "the person did not allow it")
    if too_soon and row.state in (PENDING, APPROVED):
        raise OAuthError("slow_down", "wait five seconds longer between two questions")
    if row.state == PENDING:
        raise OAuthError("authorization_pending", "nobody has allowed it yet")
    if row.state != APPROVED:
        raise CredentialInvalid("the device code is not valid here")
    return row


async def _begin(
    s: Scope,
    cloud: Cloud,
    exchange: Exchange,
    principal_id: PrincipalId,
    client_id: str | None,
    scope: Role,
    audience: str,
    code: str | None = None,
) -> Response:
    """The session of a client, and its first tokens."""
    now = cloud.clock()
    await tenants.check_active(s)
    who = await principals.resolve(s, principal_id, now)
    if who is None:
        raise CredentialInvalid("who allowed it is no longer a member")
    family, refresh = await sessions.start(
        s,
        pepper=cloud.pepper,
        family=new_id("fam", cloud.random(16)),
        principal_id=who.id,
        now=now,
        lifetime_ms=cloud.settings.refresh_seconds * 1000,
        client_id=client_id,
        scope=scope,
        audience=None if audience == cloud.settings.url else audience,
    )
    if code is not None:
        await oauth.tie_code(s, code, family.id)
    await _record(s, who, "session.start", f"{family.id} {client_id or OWN_ID}", exchange, now)
    return _tokens(cloud, who, family, refresh)


def _tokens(cloud: Cloud, who: Principal, family: Family, refresh: str) -> Response:
    made = tokens_for(cloud, who, family=family, refresh=refresh)
    return answer(
        {
            "access_token": made["accessToken"],
            "token_type": "Bearer",
            "expires_in": made["expiresIn"],
            "refresh_token": refresh,
            "scope": scope_text(family.scope or Role.ADMIN),
        },
        headers={"cache-control": "no-store"},
    )


async def _revoke_access(cloud: Cloud, exchange: Exchange, text: str, client_id: str | None) -> None:
    checked = await cloud.authenticator.check_text(text)
    if checked.client != client_id or checked.session is None or checked.jti is None:
        return  # another client's: whoever copied it is not to end what it cannot use
    async with cloud.catalog.write(checked.principal.tenant) as s:
        await sessions.revoke_token(s, checked.jti, checked.expires)
        await sessions.revoke(s, checked.session, cloud.clock())
        await _record(s, checked.principal, "session.revoke", checked.session, exchange, cloud.clock())


def _check_resource(fields: dict[str, str], allowed: str, cloud: Cloud) -> str:
    """The audience asked for, within the one allowed. Raises ``OAuthError``."""
    if "resource" not in fields:
        return allowed
    wanted = audience_of(fields["resource"], cloud.settings.url)
    if wanted is None or not (wanted == allowed or wanted.startswith(allowed + "/")):
        raise OAuthError("invalid_target", "resource is not the one that was allowed")
    return wanted


def _client(fields: dict[str, str]) -> str | None:
    """The client as its sessions name it. Raises ``OAuthError``."""
    client_id = _needed(fields, "client_id")
    if not clients.is_id(client_id):
        raise OAuthError("invalid_client", "this server knows no such client", 401)
    return None if client_id == OWN_ID else client_id


def _needed(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise OAuthError("invalid_request", f"{name} is missing")
    return fields[name]


def device_mac(cloud: Cloud, device_code: str) -> bytes:
    """Under which a device code is kept."""
    return hmac.digest(cloud.pepper, b"device code\0" + device_code.encode(), hashlib.sha256)


def _noting(cloud: Cloud, action: str, target: str, exchange: Exchange) -> sessions.Note:
    async def note(s: Scope, principal_id: PrincipalId, result: str) -> None:
        who, now = await principals.resolve(s, principal_id), cloud.clock()
        await audit.record(s, who, action, target, result, exchange.id, now, address=exchange.address)

    return note


async def _record(s: Scope, who: Principal | None, action: str, target: str, exchange: Exchange, now: int) -> None:
    await audit.record(s, who, action, target, audit.DONE, exchange.id, now, address=exchange.address)
