"""The shapes of requests and answers that are the server's own; those of reading are in ``context.answers``.

A request is decoded straight into one of the structs: unknown fields, wrong types and values out of bounds are refused
by name. Answers are plain dictionaries; their types here say what the OpenAPI document says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType

RoleName = Literal["read", "write", "admin"]
TenantRoleName = Literal["member", "admin", "owner"]
Slug = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        max_length=63,
        description="Lowercase letters, digits and hyphens, at most 63 characters.",
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=4_000)]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 lowercase hex digits: a SHA-256.")]
Secret = Annotated[str, Meta(min_length=1, max_length=4_096)]
Bytes = Annotated[int, Meta(ge=0, le=2**53 - 1)]

MAX_OBJECTS_NAMED = 10_000
"""Objects one query or read may name."""


class Request(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Base of every request body."""


class TokenRequest(Request):
    api_key: Secret | UnsetType = UNSET
    email: Annotated[str, Meta(max_length=320)] | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    tenant: Annotated[str, Meta(max_length=63)] | UnsetType = UNSET


class RefreshRequest(Request):
    refresh_token: Secret


class RevokeRequest(Request):
    token: Secret


class ProjectCreate(Request):
    slug: Slug
    id: Annotated[str, Meta(pattern=r"^prj_[0-7][0-9a-hjkmnp-tv-z]{25}$")] | UnsetType = UNSET
    description: Text = ""


class ProjectPatch(Request):
    slug: Slug | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class SearchRequest(Request):
    query: Annotated[str, Meta(max_length=100_000)]
    projects: Annotated[list[Name], Meta(max_length=1_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=50)] = 10
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0


class ObjectsRequest(Request):
    objects: Annotated[list[Hex], Meta(max_length=MAX_OBJECTS_NAMED)]


class PurgeRequest(Request):
    paths: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=1_000)]
    everywhere: bool = False


class ParentIn(Request):
    lineage: Annotated[str, Meta(max_length=64)]
    version: Annotated[int, Meta(ge=0)]
    digest: Hex


class ChangeIn(Request):
    path: Annotated[str, Meta(max_length=4_096)]
    mode: Literal["100644", "100755"] | UnsetType = UNSET
    object: Hex | UnsetType = UNSET
    size: Bytes | UnsetType = UNSET
    deleted: bool = False


class CommitRequest(Request):
    parent: ParentIn
    digest: Hex
    changes: Annotated[list[ChangeIn], Meta(max_length=200_000)]


class ProjectGrant(Request):
    project: Name
    role: RoleName


class KeyCreate(Request):
    name: Name
    projects: Annotated[list[ProjectGrant], Meta(max_length=1_000)] | UnsetType = UNSET
    role: RoleName | UnsetType = UNSET
    tenant_role: TenantRoleName = "member"
    expires_in: Annotated[int, Meta(ge=60, le=10 * 366 * 86_400, description="Seconds from now.")] | UnsetType = UNSET


class MemberCreate(Request):
    email: Annotated[str, Meta(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
    name: Name
    password: Annotated[str, Meta(min_length=12, max_length=1_024)]
    tenant_role: TenantRoleName = "member"


class GrantCreate(Request):
    principal: Name
    role: RoleName


class RetentionIn(Request):
    """At most one is set; neither keeps every version."""

    versions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class TenantPatch(Request):
    name: Name | UnsetType = UNSET
    retention: RetentionIn | UnsetType = UNSET


class TenantCreate(Request):
    slug: Slug
    name: Name


class Quota(Request):
    storage_bytes: Bytes | UnsetType = UNSET
    projects: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET


class TenantChange(Request):
    suspended: bool | UnsetType = UNSET
    quota: Quota | UnsetType = UNSET


# Answers ---------------------------------------------------------------------------------------------------------


class Tokens(TypedDict):
    accessToken: str
    tokenType: Literal["Bearer"]
    expiresIn: int
    refreshToken: NotRequired[str]


class Done(TypedDict):
    """The thing asked for is so now."""

    ok: Literal[True]


class Shredded(TypedDict):
    """A tenant that is no more."""

    ok: Literal[True]
    backupsLooked: bool
    """Whether a store of backups is set, and answered."""
    keysExpireAt: str | None
    """When the last backup that holds its keys lets go of them; null where none is known to hold them."""


class WhoPrincipal(TypedDict):
    id: str
    name: str
    kind: str


class WhoTenant(TypedDict):
    id: str
    slug: str


class WhoGrant(TypedDict):
    project: str
    role: RoleName


class WhoAmI(TypedDict):
    principal: WhoPrincipal
    tenant: WhoTenant
    role: TenantRoleName
    operator: bool
    allProjects: RoleName | None
    scope: RoleName | None
    grants: list[WhoGrant]


class RelationOut(TypedDict):
    type: str
    project: str


class Project(TypedDict):
    id: str
    slug: str
    description: str
    relations: list[RelationOut]
    lineage: str
    version: int
    digest: str
    role: RoleName
    createdAt: str
    archived: bool
    damaged: int
    """Objects that the storage lost, and that are asked of clients."""


class ProjectPage(TypedDict):
    items: list[Project]
    next: str | None


class CommittedOut(TypedDict):
    lineage: str
    version: int
    digest: str
    time: str
    author: str
    added: int
    changed: int
    deleted: int


class ChangedPath(TypedDict):
    path: str
    version: int
    author: str
    time: str
    deleted: NotRequired[Literal[True]]
    mode: NotRequired[str]
    object: NotRequired[str]
    size: NotRequired[int]
    kind: NotRequired[str]
    title: NotRequired[str]


class ChangesPage(TypedDict):
    lineage: str
    version: int
    digest: str
    items: list[ChangedPath]
    next: str | None
    damaged: int


class Version(TypedDict):
    version: int
    digest: str
    lineage: str
    author: str
    time: str
    added: int
    changed: int
    deleted: int
    readable: bool


class SharedContent(TypedDict):
    path: str
    others: list[str]


class Purged(TypedDict):
    """What is gone, what stays because other paths have it, and what a server cannot reach."""

    paths: list[str]
    objects: int
    version: int
    packs: int
    bytes: int
    shared: list[SharedContent]
    unreachable: list[str]


class Missing(TypedDict):
    missing: list[str]


class DamagedPage(TypedDict):
    """Ids of objects that the storage lost."""

    items: list[str]
    next: str | None


class PacksKept(TypedDict):
    packs: int
    objects: int
    restored: int


class KeyGrant(TypedDict):
    project: str
    role: RoleName


class Key(TypedDict):
    id: str
    name: str
    tenantRole: TenantRoleName
    role: RoleName | None
    projects: list[KeyGrant]
    createdAt: str
    expiresAt: str | None
    revoked: bool


class NewKey(Key):
    key: str | None
    """Shown this once: only a keyed hash is stored. A replay has null here."""


class KeyPage(TypedDict):
    items: list[Key]
    next: str | None


class Member(TypedDict):
    id: str
    email: str
    name: str
    tenantRole: TenantRoleName
    createdAt: str


class MemberPage(TypedDict):
    items: list[Member]
    next: str | None


class Grant(TypedDict):
    principal: str
    name: str
    role: RoleName


class GrantPage(TypedDict):
    items: list[Grant]
    next: str | None


class RetentionOut(TypedDict):
    """How long versions are kept: the newest so many, or the states of so many days; both null: all of them."""

    versions: int | None
    days: int | None


class Tenant(TypedDict):
    id: str
    slug: str
    name: str
    state: str
    createdAt: str
    retention: RetentionOut


class TenantPage(TypedDict):
    items: list[Tenant]
    next: str | None


class NewTenant(TypedDict):
    tenant: Tenant
    adminKey: str | None
    """Shown this once. A replay has null here."""


class QuotaOut(TypedDict):
    name: str
    used: int
    limit: int | None


class Usage(TypedDict):
    quotas: list[QuotaOut]
    artifacts: int
    artifactBytes: int


class AuditRow(TypedDict):
    id: str
    time: str
    principal: str | None
    name: str
    action: str
    target: str
    result: str
    requestId: str


class AuditPage(TypedDict):
    items: list[AuditRow]
    next: str | None


class Dependency(TypedDict):
    name: str
    state: Literal["ok", "failed"]


class HealthReport(TypedDict):
    status: Literal["ok", "degraded"]
    version: str
    uptimeSeconds: int
    dependencies: list[Dependency]


class Live(TypedDict):
    status: Literal["ok"]


class Jwks(TypedDict):
    keys: list[dict[str, Any]]


class Problem(TypedDict):
    """An error, after RFC 9457. Some carry more members, named with the code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    requestId: str
