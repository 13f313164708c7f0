"""What a client reads before it asks: who guards a resource (RFC 9728), and what that server can do (RFC 8414)."""

from __future__ import annotations

from fastapi import Request, Response

from satchel.auth.scopes import DEFAULT, SCOPES, scope_for
from satchel.server.access import cloud_of
from satchel.server.bodies import answer
from satchel.server.oauth.answers import machine_router
from satchel.server.oauth.rules import GRANTS

router = machine_router()
_KEPT = {"cache-control": "public, max-age=300", "access-control-allow-origin": "*"}
"""Anybody may read these, a page too: they say the same to everybody."""


@router.get("/.well-known/oauth-protected-resource")
async def server_resource(request: Request) -> Response:
    return _resource(request, "", "Satchel", list(SCOPES))


@router.get("/.well-known/oauth-protected-resource/mcp")
async def mcp_resource(request: Request) -> Response:
    # Some clients ask for all that is listed: what no tool needs is not. Whatever needs more says so when it is asked.
    return _resource(request, "/mcp", "Satchel: MCP", [scope_for(DEFAULT)])


@router.get("/.well-known/oauth-authorization-server")
async def authorization_server(request: Request) -> Response:
    settings = cloud_of(request).settings
    url = settings.url
    return answer(
        {
            "issuer": url,
            "authorization_endpoint": f"{url}/oauth/authorize",
            "token_endpoint": f"{url}/oauth/token",
            "registration_endpoint": f"{url}/oauth/register",
            "revocation_endpoint": f"{url}/oauth/revoke",
            "device_authorization_endpoint": f"{url}/oauth/device",
            "jwks_uri": f"{url}/.well-known/jwks.json",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(GRANTS),
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": settings.client_documents,
            "service_documentation": f"{url}/docs",
        },
        headers=_KEPT,
    )


def _resource(request: Request, path: str, name: str, scopes: list[str]) -> Response:
    cloud = cloud_of(request)
    url, provider = cloud.settings.url, cloud.provider
    others = [provider.issuer] if provider is not None and provider.audience else []
    return answer(
        {
            "resource": url + path,
            "authorization_servers": [url, *others],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": name,
            "resource_documentation": f"{url}/docs",
        },
        headers=_KEPT,
    )
