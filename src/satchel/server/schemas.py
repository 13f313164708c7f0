"""The shapes of requests and answers that are the server's own; those of reading are in ``context.answers``.

A request is decoded straight into one of the structs: unknown fields, wrong types and values out of bounds are refused
by name. Answers are plain dictionaries; their types here say what the OpenAPI document says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

from satchel.context.limits import MAX_SEARCH_DEPTH

RoleName = Literal["read", "write", "admin"]
TenantRoleName = Literal["member", "admin", "owner"]
_END = r"$(?!\n)"
"""The end of a text, to Python as to JSON Schema: to Python a mere ``$`` also stands before a last newline."""
Slug = Annotated[
    str,
    Meta(
        pattern=rf"^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?{_END}",
        max_length=63,
        description="Lowercase letters, digits and hyphens, at most 63 characters.",
    ),
]
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=rf"^[^{_CONTROLS}]*[^{_CONTROLS}\s][^{_CONTROLS}]*{_END}",
        description="One line that is not blank, without control characters and marks that reorder text.",
    ),
]
Text = Annotated[str, Meta(max_length=4_000)]
Hex = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{_END}", description="64 lowercase hex digits: a SHA-256.")]
Email = Annotated[
    str,
    Meta(min_length=3, max_length=320, pattern=rf"^[^@\s]+@[^@\s]+{_END}", description="An e-mail address."),
]
FORMS = {
    repr(meta.pattern): meta.description[:1].lower() + meta.description[1:].rstrip(".")
    for meta in (get_args(kind)[1] for kind in (Slug, Name, Hex, Email))
}
"""What each pattern asks for, in words: what stands in a refusal instead of it."""
NewPassword = Annotated[
    str,
    Meta(
        min_length=12,
        max_length=1_024,
        description="At least 12 characters, at most 1,024 bytes, none of the passwords that are guessed first.",
    ),
]
InviteSeconds = Annotated[int, Meta(ge=60, le=90 * 86_400, description="Seconds from now.")]
InviteUses = Annotated[int, Meta(ge=1, le=1_000, description="How many people may join with it.")]
Secret = Annotated[str, Meta(min_length=1, max_length=4_096)]
Expiry = Annotated[int, Meta(ge=60, le=10 * 366 * 86_400, description="Seconds from now.")] | UnsetType
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
    id: Annotated[str, Meta(pattern=rf"^prj_[0-7][0-9a-hjkmnp-tv-z]{{25}}{_END}")] | UnsetType = UNSET
    description: Text = ""


class ProjectPatch(Request):
    slug: Slug | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class SearchRequest(Request):
    query: Annotated[str, Meta(max_length=100_000)]
    projects: Annotated[list[Name], Meta(max_length=1_000)] | None = None
    related: bool = False
    limit: Annotated[int, Meta(ge=1, le=50)] = 10
    offset: Annotated[int, Meta(ge=0, le=MAX_SEARCH_DEPTH)] = 0
    at: Annotated[str, Meta(max_length=40)] | None = None


class ObjectsRequest(Request):
    objects: Annotated[list[Hex], Meta(max_length=MAX_OBJECTS_NAMED)]


class FilesIn(Request):
    version: Annotated[int, Meta(ge=1, lt=2**53)]
    after: Annotated[str, Meta(max_length=4_096)] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_OBJECTS_NAMED)] = MAX_OBJECTS_NAMED


class ReadRequest(ObjectsRequest):
    since: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    """A version that the caller has: of at most 256 objects, edits may then come as deltas against what it holds."""
    files: FilesIn | None = None
    """Also what these files of a version hold: by path, as many as `limit` behind `after`."""


class PurgeRequest(Request):
    paths: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=1_000)]
    everywhere: bool = False
    dry_run: bool = False


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
    expires_in: Expiry = UNSET
    requests_per_minute: Annotated[int, Meta(ge=1, le=10_000_000)] | UnsetType = UNSET


class KeyReroll(Request):
    grace_seconds: Annotated[int, Meta(ge=0, le=30 * 86_400, description="How long the old secret still counts.")] = (
        86_400
    )
    expires_in: Expiry = UNSET


class MemberCreate(Request):
    email: Email
    name: Name
    password: NewPassword
    tenant_role: TenantRoleName = "member"


class MemberPatch(Request):
    tenant_role: TenantRoleName


class PasswordReset(Request):
    password: NewPassword


class PasswordChange(Request):
    password: Secret
    """The one that counts now."""
    new_password: NewPassword


class GrantCreate(Request):
    principal: Name
    role: RoleName


class ShareCreate(Request):
    role: RoleName
    expires_in: InviteSeconds = 7 * 86_400
    uses: InviteUses = 1


class InvitationCreate(Request):
    tenant_role: TenantRoleName = "member"
    expires_in: InviteSeconds = 7 * 86_400
    uses: InviteUses = 1


class InvitationAsked(Request):
    invitation: Secret


class JoinRequest(Request):
    """A person who has an account gives its password; for anybody else an account is made with it."""

    invitation: Secret
    email: Email
    password: Secret
    name: Name | UnsetType = UNSET


class RetentionIn(Request):
    """At most one is set; neither keeps every version."""

    versions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class SettingsIn(Request):
    """Settings that an admin of the tenant may change; what is left out stays as it is."""

    retention: RetentionIn | UnsetType = UNSET
    sync_interval_seconds: Annotated[int, Meta(ge=0, le=86_400)] | UnsetType = UNSET
    """Least time between two pushes of one project by one principal; 0 is none."""


class TenantPatch(Request):
    name: Name | UnsetType = UNSET
    settings: SettingsIn | UnsetType = UNSET


class TenantCreate(Request):
    slug: Slug
    name: Name
    expires_seconds: (
        Annotated[int, Meta(ge=1, le=30 * 86_400, description="Shredded by the server this long from now.")] | UnsetType
    ) = UNSET


class Quota(Request):
    """New limits; null is no limit, and what is left out stays as it is."""

    storage_bytes: Bytes | UnsetType | None = UNSET
    projects: Bytes | UnsetType | None = UNSET
    members: Bytes | UnsetType | None = UNSET
    keys: Bytes | UnsetType | None = UNSET
    artifacts: Bytes | UnsetType | None = UNSET
    file_bytes: Bytes | UnsetType | None = UNSET
    requests: Annotated[int, Meta(ge=1, le=2**53 - 1)] | UnsetType | None = field(
        default=UNSET, name="requestsPerMinute"
    )
    sync_bytes: Bytes | UnsetType | None = field(default=UNSET, name="syncBytesPerDay")


class OperatorSettings(Request):
    """Settings of a tenant that are its operator's to change."""

    allowed_storage: Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=32)] | UnsetType = UNSET
    """Where content may rest: URLs of stores, or their beginnings; none is anywhere."""


class TenantChange(Request):
    suspended: bool | UnsetType = UNSET
    """False also brings back a tenant that is being deleted."""
    quota: Quota | UnsetType = UNSET
    settings: OperatorSettings | UnsetType = UNSET


# Answers ---------------------------------------------------------------------------------------------------------


class Tokens(TypedDict):
    accessToken: str
    tokenType: Literal["Bearer"]
    expiresIn: int
    refreshToken: NotRequired[str]


class Done(TypedDict):
    """The thing asked for is so now."""

    ok: Literal[True]


class TenantDeletion(TypedDict):
    """A tenant that is to be no more, or is not any more."""

    ok: Literal[True]
    state: Literal["deleting", "shredded"]
    deleteAt: str | None
    """Until when it can be brought back; null once it is shredded."""
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


class NearQuotaOut(TypedDict):
    """A quota of the tenant of which at least 80 % is used."""

    name: str
    used: int
    limit: int


class CommittedOut(TypedDict):
    lineage: str
    version: int
    digest: str
    time: str
    author: str
    authorKind: Literal["person", "key", "operator"]
    added: int
    changed: int
    deleted: int
    warnings: list[NearQuotaOut]
    damaged: int
    """Objects that the storage lost, and that are asked of clients; 0 where a write of one artifact is answered."""
    deltas: Literal[True]
    """Content may come as deltas (docs/spec/wire.md); servers that take none leave this out."""


class ChangedPath(TypedDict):
    path: str
    version: int
    author: str
    authorKind: Literal["person", "key", "operator"]
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
    deltas: Literal[True]
    givesDeltas: Literal[True]
    """`objects/read` takes `since`; servers that do not leave this out."""
    givesFiles: Literal[True]
    """It takes `files`, likewise."""


class Version(TypedDict):
    version: int
    digest: str
    lineage: str
    author: str
    authorKind: Literal["person", "key", "operator"]
    time: str
    added: int
    changed: int
    deleted: int
    readable: bool


class SharedContent(TypedDict):
    path: str
    others: list[str]


class Purged(TypedDict):
    """What is gone (or would be), what stays because other paths have it, and what a server cannot reach."""

    dryRun: bool
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
    requestsPerMinute: int | None
    """Null: as many as the server lets any key have."""
    lastUsedAt: str | None
    """To the hour, and up to a minute late. Null: not yet."""
    oldSecretUntil: str | None
    """How long the secret before the last reroll still counts."""
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


class Invitation(TypedDict):
    """What a secret link gives to whoever has it, and whether it still does."""

    id: str
    project: str | None
    """Id of the project it is for; null: of the tenant alone."""
    role: RoleName | None
    tenantRole: TenantRoleName
    createdBy: str
    createdAt: str
    expiresAt: str
    uses: int
    usesLimit: int
    state: Literal["open", "expired", "used up", "revoked", "void"]
    """`void`: its project is archived, or whoever made it may not make it any more. That may change again."""


class NewInvitation(Invitation):
    url: str | None
    """Shown this once: only a keyed hash of its secret is stored. A replay has null here."""


class InvitationPage(TypedDict):
    items: list[Invitation]
    next: str | None


class InvitationTo(TypedDict):
    """What an invitation is to, as whoever holds it may know."""

    tenant: str
    tenantName: str
    project: str | None
    role: RoleName | None
    tenantRole: TenantRoleName
    expiresAt: str


class Joined(TypedDict):
    """The first tokens of a session in the tenant joined."""

    accessToken: str
    tokenType: str
    expiresIn: int
    refreshToken: str
    tenant: str
    project: str | None
    """Id of the project joined; null: the tenant alone."""
    role: RoleName | None


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


class QuotaLimits(TypedDict):
    """What the tenant may use; null is no limit."""

    storageBytes: int | None
    projects: int | None
    members: int | None
    keys: int | None
    artifacts: int | None
    fileBytes: int | None
    requestsPerMinute: int | None
    syncBytesPerDay: int | None


class SettingsOut(TypedDict):
    retention: RetentionOut
    allowedStorage: list[str]
    """Where content may rest, by the operator's word; none is anywhere."""
    syncIntervalSeconds: int


class SettingsRevision(TypedDict):
    """A state the settings were in; 0 is how the tenant was founded."""

    revision: int
    time: str
    principal: str | None
    name: str
    """Who changed them; `operator` where the operator did."""
    settings: SettingsOut


class SettingsHistory(TypedDict):
    items: list[SettingsRevision]
    next: str | None


class Tenant(TypedDict):
    id: str
    slug: str
    name: str
    state: Literal["active", "suspended", "deleting", "shredded"]
    createdAt: str
    deleteAt: str | None
    """When it is shredded; null where that is not to happen."""
    settings: SettingsOut
    settingsRevision: int
    quota: QuotaLimits


class TenantPage(TypedDict):
    items: list[Tenant]
    next: str | None


class NewTenant(TypedDict):
    tenant: Tenant
    adminKey: str | None
    """Shown this once. A replay has null here."""


class QuotaOut(TypedDict):
    name: str
    used: int | None
    """Null where nothing adds up: the size of one file, requests in a minute."""
    reserved: int
    """Held for content that is on its way."""
    limit: int | None
    near: bool
    """Whether at least 80 % is used."""


class Usage(TypedDict):
    quotas: list[QuotaOut]
    artifacts: int
    artifactBytes: int


class ProjectUsage(TypedDict):
    id: str
    slug: str
    archived: bool
    storedBytes: int
    """Sealed, at rest, old versions included."""
    artifacts: int
    artifactBytes: int
    """Of the newest version, before compression."""
    versions: int


class ProjectUsagePage(TypedDict):
    items: list[ProjectUsage]
    next: str | None


class AuditRow(TypedDict):
    sequence: int
    id: str
    time: str
    principal: str | None
    name: str
    action: str
    target: str
    result: str
    requestId: str
    address: str


class AuditPage(TypedDict):
    items: list[AuditRow]
    next: str | None


class Dependency(TypedDict):
    name: str
    state: Literal["ok", "failed"]


class HealthReport(TypedDict):
    status: Literal["ok", "degraded", "starting", "stopping"]
    version: str
    uptimeSeconds: int
    dependencies: list[Dependency]


class Live(TypedDict):
    status: Literal["ok"]


class Startup(TypedDict):
    status: Literal["starting", "started"]


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
