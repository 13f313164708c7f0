"""What each operation of the REST API needs, and a request for it. A new operation gets its row here."""

from __future__ import annotations

from collections.abc import Iterator

from satchel.server.isolation.expectations import Needs, Operation, Outcome

HEX = "0" * 64
"""An object or a digest that nothing has."""
_SYNC = {"content-type": "application/x-satchel-sync", "satchel-declared-bytes": "10"}
_PARENT = {"lineage": "lin_00000000000000000000000000", "version": 0, "digest": HEX}
_HOLD = {"if-match": "*", "content-type": "text/plain"}
_BAD = Outcome(422, "request.invalid")
_P = "/api/v1/projects/{p}"


def _anyone() -> Iterator[Operation]:
    for name in ("/.well-known/jwks.json", "/api/v1/health"):
        yield Operation(f"GET {name}", Needs.ANYONE)
    for name in ("live", "ready", "startup"):
        yield Operation(f"GET /api/v1/health/{name}", Needs.ANYONE)
    refused = Outcome(401, "auth.invalid")
    yield Operation("POST /api/v1/auth/token", Needs.ANYONE, refused, {"apiKey": "x"})
    yield Operation("POST /api/v1/auth/refresh", Needs.ANYONE, refused, {"refreshToken": "x"})
    yield Operation("POST /api/v1/auth/revoke", Needs.ANYONE, body={"token": "x"})
    over = Outcome(404, "invitation.invalid")
    yield Operation("POST /api/v1/auth/invitation", Needs.ANYONE, over, {"invitation": "x"})
    person = {"invitation": "x", "email": "{fresh}@example.com", "password": "x"}
    yield Operation("POST /api/v1/auth/join", Needs.ANYONE, over, person)


def _signed_in() -> Iterator[Operation]:
    yield Operation("GET /api/v1/auth/whoami", Needs.SIGNED_IN)
    yield Operation("GET /api/v1/projects", Needs.SIGNED_IN, query={"archived": "true", "limit": "1000"})
    yield Operation("GET /api/v1/search", Needs.SIGNED_IN, query={"q": "everywhere", "limit": "50"})
    yield Operation("POST /api/v1/search", Needs.SIGNED_IN, body={"query": "everywhere", "limit": 50})
    yield Operation("GET /api/v1/tenant", Needs.SIGNED_IN)
    no_person = Outcome(403, "member.not_a_person")
    change = {"password": "x", "newPassword": "a long enough password"}
    yield Operation("POST /api/v1/auth/password", Needs.SIGNED_IN, no_person, change)
    yield Operation("POST /api/v1/auth/leave", Needs.SIGNED_IN, no_person)
    yield Operation("POST /api/v1/projects", Needs.CREATOR, Outcome(201), {"slug": "{fresh}"})


def _read() -> Iterator[Operation]:
    listed = ("/context", "/tasks", "/versions", "/versions/1", "/artifacts", "/changes")
    for name in ("", *listed, "/artifacts/{path}", "/outlines/{path}"):
        address = name.replace("/versions/1", "/versions/{n}")
        yield Operation(f"GET {_P}{address}", Needs.READ)
    yield Operation(f"GET {_P}/events", Needs.READ, query={"seconds": "0"})
    yield Operation(f"GET {_P}/search", Needs.READ, query={"q": "everywhere"})
    yield Operation(f"POST {_P}/search", Needs.READ, body={"query": "everywhere"})
    yield Operation(f"POST {_P}/objects/read", Needs.READ, body={"objects": []})


def _write() -> Iterator[Operation]:
    yield Operation(f"GET {_P}/objects/damaged", Needs.WRITE)
    yield Operation(f"POST {_P}/objects/query", Needs.WRITE, body={"objects": [HEX]})
    yield Operation(f"POST {_P}/context", Needs.WRITE, body={"notes": "{fresh}"})
    yield Operation(f"POST {_P}/sync", Needs.WRITE, _BAD, b"", _SYNC)
    yield Operation(f"POST {_P}/packs", Needs.WRITE, _BAD, b"", _SYNC)
    commit = {"parent": _PARENT, "digest": HEX, "changes": []}
    yield Operation(f"POST {_P}/commits", Needs.WRITE, Outcome(409, "sync.head_moved"), commit)
    yield Operation(f"PUT {_P}/artifacts/{{path}}", Needs.WRITE, body=b"new", headers=_HOLD)
    yield Operation(f"DELETE {_P}/artifacts/{{path}}", Needs.WRITE, headers={"if-match": "*"}, last=1)


def _admin() -> Iterator[Operation]:
    yield Operation(f"PATCH {_P}", Needs.ADMIN, body={"description": "d"}, last=1)
    yield Operation(f"GET {_P}/grants", Needs.ADMIN)
    unknown = Outcome(404, "resource.not_found")
    given = {"principal": "key_00000000000000000000000000", "role": "read"}
    yield Operation(f"POST {_P}/grants", Needs.ADMIN, unknown, given)
    yield Operation(f"DELETE {_P}/grants/{{principal}}", Needs.ADMIN, unknown)
    yield Operation(f"GET {_P}/invitations", Needs.ADMIN)
    yield Operation(f"POST {_P}/invitations", Needs.ADMIN, Outcome(201), {"role": "read"})
    yield Operation(f"DELETE {_P}/invitations/{{invitation}}", Needs.ADMIN, unknown)
    yield Operation(f"POST {_P}/purge", Needs.ADMIN, body={"paths": ["docs/a.md"]}, last=1)
    yield Operation(f"DELETE {_P}", Needs.ADMIN, last=2)


def _tenant_admin() -> Iterator[Operation]:
    for name in (
        "keys",
        "members",
        "invitations",
        "tenant/usage",
        "tenant/usage/projects",
        "tenant/audit",
        "tenant/audit/export",
        "tenant/settings/history",
        "tenant/export",
    ):
        yield Operation(f"GET /api/v1/{name}", Needs.TENANT_ADMIN)
    yield Operation("POST /api/v1/keys", Needs.TENANT_ADMIN, Outcome(201), {"name": "k", "role": "read"})
    yield Operation("POST /api/v1/keys/{key}/reroll", Needs.TENANT_ADMIN, body={"graceSeconds": 60})
    person = {"email": "{fresh}@example.com", "name": "A", "password": "short"}
    yield Operation("POST /api/v1/members", Needs.TENANT_ADMIN, _BAD, person)
    yield Operation("PATCH /api/v1/tenant", Needs.TENANT_ADMIN, body={"settings": {"retention": {"days": 90}}})
    yield Operation("POST /api/v1/invitations", Needs.TENANT_ADMIN, Outcome(201), {"tenantRole": "member"})
    yield Operation("DELETE /api/v1/invitations/{invitation}", Needs.TENANT_ADMIN, Outcome(404, "resource.not_found"))
    yield Operation("PATCH /api/v1/members/{member}", Needs.TENANT_ADMIN, body={"tenantRole": "member"})
    yield Operation("POST /api/v1/members/{member}/password", Needs.TENANT_ADMIN, _BAD, {"password": "x"})
    yield Operation("DELETE /api/v1/keys/{key}", Needs.TENANT_ADMIN, last=1)
    yield Operation("DELETE /api/v1/members/{member}", Needs.TENANT_ADMIN, last=1)


def _operator() -> Iterator[Operation]:
    # What an operator asks here names what is absent, or is refused: nothing of the installation is changed.
    yield Operation("GET /api/v1/admin/tenants", Needs.OPERATOR, query={"limit": "1"})
    yield Operation("POST /api/v1/admin/tenants", Needs.OPERATOR, _BAD, {"slug": "made"})
    yield Operation("PATCH /api/v1/admin/tenants/{tenant}", Needs.OPERATOR, body={"suspended": True})
    yield Operation("DELETE /api/v1/admin/tenants/{tenant}", Needs.OPERATOR)


OPERATIONS: tuple[Operation, ...] = (
    *_anyone(), *_signed_in(), *_read(), *_write(), *_admin(), *_tenant_admin(), *_operator()
)  # fmt: skip
"""Every operation of the API's description, and no other."""
