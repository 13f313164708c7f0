"""Roles and principals: who acts, and what was granted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import total_ordering
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from satchel.objects.ids import PrincipalId, ProjectId, TenantId


@total_ordering
class Role(Enum):
    """What a principal may do in a project; each role includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def __lt__(self, other: Role) -> bool:
        return _ROLE_ORDER[self] < _ROLE_ORDER[other]


@total_ordering
class TenantRole(Enum):
    """What a principal may do in its tenant. ``admin`` and ``owner`` are admins of every project of it."""

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def __lt__(self, other: TenantRole) -> bool:
        return _TENANT_ROLE_ORDER[self] < _TENANT_ROLE_ORDER[other]


def narrower(one: Role | None, other: Role | None) -> Role | None:
    """The lower of two caps, where ``None`` caps nothing."""
    return min((cap for cap in (one, other) if cap is not None), default=None)


AuthorKind = Literal["person", "key", "operator"]


def author_kind(principal_id: str) -> AuthorKind:
    """What the principal that a version names is: a member of the tenant, an API key, or who runs the server.

    Agents have keys; one that a person let in by signing in acts as that person.
    """
    return "person" if principal_id.startswith("mem_") else "key" if principal_id.startswith("key_") else "operator"


_ROLE_ORDER = {role: rank for rank, role in enumerate(Role)}
_TENANT_ROLE_ORDER = {role: rank for rank, role in enumerate(TenantRole)}
_NO_GRANTS: Mapping[ProjectId, Role] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, with everything a decision needs; the tenant came from a verified credential."""

    tenant: TenantId
    id: PrincipalId
    name: str
    kind: str
    """``member`` (a person in this tenant) or ``key`` (an API key)."""
    tenant_role: TenantRole = TenantRole.MEMBER
    grants: Mapping[ProjectId, Role] = field(default_factory=lambda: _NO_GRANTS)
    all_projects: Role | None = None
    """A role on every project of the tenant, those to come included."""
    scope: Role | None = None
    """A cap on every role, from the key or the token; ``None`` caps nothing. Below ``admin`` it also takes away the
    tenant role and the operator's powers."""
    operator: bool = False
    """Whether it runs the server: may create, suspend and delete tenants, which gives no access to their content."""
    expires: int | None = None
    """When the key ceases to count, in milliseconds UTC."""
    requests: int | None = None
    """Requests a minute it may make; ``None`` says nothing of its own."""
