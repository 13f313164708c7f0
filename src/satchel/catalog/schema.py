"""The tables, and the marker by which a statement is bound to a tenant.

Every table of a tenant begins its primary key, its unique and its foreign keys with ``tenant_id``, so that rows of
two tenants can never meet in a constraint, and the catalog distributes by tenant. The exceptions are the directory
tables, a closed list, which answer questions asked before a tenant is known. Times are milliseconds UTC, sizes bytes.

Text sorts by code point (COLLATE "C" on PostgreSQL; SQLite's BINARY is the same for UTF-8), as a listing does.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    ForeignKeyConstraint,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    text,
)

SCHEMA_REVISION = "0006"
"""The newest migration under `migrations`; a test holds the two equal."""

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

TEXT = String().with_variant(String(collation="C"), "postgresql")

SCOPE_TENANT = "scope_tenant"
TENANT: BindParameter[str] = bindparam(SCOPE_TENANT, type_=TEXT)
"""Stands for the tenant of the scope a statement runs in; only the scope gives it a value."""


def mine(table: FromClause) -> ColumnElement[bool]:
    """The condition that binds a table or alias to the scope's tenant."""
    return table.c.tenant_id == TENANT


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=null)


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _from(start: int, name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text(str(start)))


def _text_from(start: str, name: str) -> Column[str]:
    return Column(name, TEXT, nullable=False, server_default=text(f"'{start}'"))


def _small(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _bytes(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


def _to(table: str, *columns: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(columns, [f"{table}.{column}" for column in columns])


def _table(name: str, *parts: Column[str] | Column[int] | Column[bytes] | object, key: tuple[str, ...]) -> Table:
    # Clustered on the primary key in SQLite: no second copy of these long text keys.
    return Table(name, METADATA, *parts, PrimaryKeyConstraint(*key), sqlite_with_rowid=False)  # type: ignore[arg-type]


# The directory: reached before a tenant is known, or by the operator -------------------------------------------------

tenant = _table(
    "tenant",
    _text("tenant_id"),
    _text("slug"),
    _text("name"),
    _text("state"),
    _number("created"),
    _number("storage_bytes_limit"),
    _number("projects_limit"),
    _number("members_limit"),
    _number("keys_limit"),
    _number("keep_versions", null=True),
    _number("keep_days", null=True),
    _from(-1, "artifacts_limit"),
    _from(-1, "file_bytes_limit"),
    _from(-1, "requests_limit"),
    _from(-1, "sync_bytes_limit"),
    _text_from("{}", "settings"),
    _from(0, "settings_revision"),
    _number("delete_at", null=True),
    UniqueConstraint("slug"),
    key=("tenant_id",),
)

person = _table(
    "person",
    _text("person_id"),
    _text("email"),
    _text("name"),
    _text("password", null=True),
    _number("created"),
    UniqueConstraint("email"),
    key=("person_id",),
)

membership = _table(
    "membership",
    _text("person_id"),
    _text("tenant_id"),
    _text("principal_id"),
    _to("person", "person_id"),
    _to("tenant", "tenant_id"),
    key=("person_id", "tenant_id"),
)

# Whom an identity provider knows by which name.
identity = _table(
    "identity",
    _text("issuer"),
    _text("subject"),
    _text("person_id"),
    _number("created"),
    _to("person", "person_id"),
    key=("issuer", "subject"),
)

operator = _table(
    "operator",
    _text("tenant_id"),
    _text("principal_id"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "principal_id"),
)

installation = _table(
    "installation",
    _text("installation_id"),
    key=("installation_id",),
)

signing_key = _table(
    "signing_key",
    _text("kid"),
    _text("public_jwk"),
    _bytes("sealed"),
    _number("created"),
    _number("signs_from", null=True),
    _number("retired", null=True),
    key=("kid",),
)

oauth_client = _table(
    "oauth_client",
    _text("client_id"),
    _text("name"),
    _text("redirects"),
    _number("created"),
    _number("used", null=True),
    Index(None, "created"),
    key=("client_id",),
)

device_login = _table(
    "device_login",
    _bytes("device_mac"),
    _bytes("user_mac"),
    _text("client_id"),
    _text("scope"),
    _text("resource"),
    _number("created"),
    _number("expires"),
    _number("interval_ms"),
    _number("polled", null=True),
    _text("state"),
    _text("tenant_id", null=True),
    _text("principal_id", null=True),
    UniqueConstraint("user_mac"),
    key=("device_mac",),
)

browser_session = _table(
    "browser_session",
    _bytes("mac"),
    _text("person_id"),
    _text("tenant_id", null=True),
    _number("created"),
    _number("expires"),
    _to("person", "person_id"),
    key=("mac",),
)

# What tells every node that something it may remember has changed: see `changes`.
channel = _table(
    "channel",
    _text("name"),
    _number("epoch"),
    key=("name",),
)

change = _table(
    "change",
    _number("epoch"),
    _text("tenant_id"),
    _number("time"),
    key=("epoch",),
)

DIRECTORY = frozenset(
    {
        "tenant",
        "person",
        "membership",
        "identity",
        "operator",
        "installation",
        "signing_key",
        "oauth_client",
        "device_login",
        "browser_session",
        "channel",
        "change",
        "alembic_version",
    }
)
"""The only tables that may be reached without a tenant. Do not add one without need: each is a hole in the wall."""

row_sum = _table("row_sum", _text("name"), _number("rows"), _number("sum"), key=("name",))

UNREACHED = frozenset({"row_sum"})
"""Tables that no statement of a scope or of the directory may touch: see `sums`."""

# Who acts -----------------------------------------------------------------------------------------------------------

principal = _table(
    "principal",
    _text("tenant_id"),
    _text("principal_id"),
    _text("kind"),
    _text("name"),
    _text("tenant_role"),
    _text("all_projects", null=True),
    _text("cap", null=True),
    _text("person_id", null=True),
    _text("email", null=True),
    _bytes("mac", null=True),
    _text("created_by", null=True),
    _number("created"),
    _number("expires", null=True),
    _number("revoked", null=True),
    _number("requests_limit", null=True),
    _bytes("mac_before", null=True),
    _number("before_until", null=True),
    _number("used", null=True),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "principal_id"),
)

access_grant = _table(
    "access_grant",
    _text("tenant_id"),
    _text("project_id"),
    _text("principal_id"),
    _text("role"),
    _number("created"),
    _to("project", "tenant_id", "project_id"),
    _to("principal", "tenant_id", "principal_id"),
    Index(None, "tenant_id", "principal_id"),
    key=("tenant_id", "project_id", "principal_id"),
)

invitation = _table(
    "invitation",
    _text("tenant_id"),
    _text("invitation_id"),
    _bytes("mac"),
    _text("tenant_role"),
    _text("project_id", null=True),
    _text("role", null=True),
    _text("created_by"),
    _number("created"),
    _number("expires"),
    _number("uses_limit"),
    _number("uses"),
    _number("revoked", null=True),
    _to("tenant", "tenant_id"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "invitation_id"),
)

refresh_family = _table(
    "refresh_family",
    _text("tenant_id"),
    _text("family_id"),
    _text("principal_id"),
    _number("created"),
    _number("expires"),
    _number("revoked", null=True),
    _from(0, "generation"),
    _text("client_id", null=True),
    _text("scope", null=True),
    _text("audience", null=True),
    _to("principal", "tenant_id", "principal_id"),
    key=("tenant_id", "family_id"),
)

refresh_token = _table(
    "refresh_token",
    _text("tenant_id"),
    _text("family_id"),
    _bytes("mac"),
    _number("created"),
    _number("used", null=True),
    _from(0, "generation"),
    _to("refresh_family", "tenant_id", "family_id"),
    key=("tenant_id", "family_id", "mac"),
)

oauth_code = _table(
    "oauth_code",
    _text("tenant_id"),
    _text("code_id"),
    _bytes("mac"),
    _text("principal_id"),
    _text("client_id"),
    _text("redirect"),
    _text("challenge"),
    _text("scope"),
    _text("resource"),
    _number("expires"),
    _number("used", null=True),
    _text("family_id", null=True),
    _to("principal", "tenant_id", "principal_id"),
    key=("tenant_id", "code_id"),
)

revoked_token = _table(
    "revoked_token",
    _text("tenant_id"),
    _text("jti"),
    _number("expires"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "jti"),
)

# What is kept --------------------------------------------------------------------------------------------------------

project = _table(
    "project",
    _text("tenant_id"),
    _text("project_id"),
    _text("slug"),
    _text("description"),
    _number("created"),
    _number("archived", null=True),
    _text("lineage"),
    _number("version"),
    _text("digest"),
    _number("files"),
    _number("bytes"),
    _from(0, "floor"),
    UniqueConstraint("tenant_id", "slug"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "project_id"),
)

relation = _table(
    "relation",
    _text("tenant_id"),
    _text("project_id"),
    _text("type"),
    _text("target"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "project_id", "type", "target"),
)

version = _table(
    "version",
    _text("tenant_id"),
    _text("project_id"),
    _number("version"),
    _text("lineage"),
    _text("digest"),
    _text("record"),
    _text("author_id"),
    _text("author"),
    _number("time"),
    _number("added"),
    _number("changed"),
    _number("deleted"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "project_id", "version"),
)

_ENDED = text("until IS NOT NULL")

entry = _table(
    "entry",
    _text("tenant_id"),
    _text("project_id"),
    _text("path"),
    _number("since"),
    _number("until", null=True),
    _text("object"),
    _number("size"),
    _text("mode"),
    _text("kind"),
    _text("title"),
    _to("project", "tenant_id", "project_id"),
    Index(None, "tenant_id", "project_id", "since"),
    # Most entries have not ended: those need no place in this index.
    Index(None, "tenant_id", "project_id", "until", sqlite_where=_ENDED, postgresql_where=_ENDED),
    key=("tenant_id", "project_id", "path", "since"),
)

pack = _table(
    "pack",
    _text("tenant_id"),
    _text("project_id"),
    _text("pack"),
    _text("state"),
    _number("size"),
    _number("frames"),
    _number("created"),
    _number("lease_until", null=True),
    _number("dying_since", null=True),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "project_id", "pack"),
)

place = _table(
    "place",
    _text("tenant_id"),
    _text("project_id"),
    _text("object"),
    _text("pack"),
    _small("part"),
    _small("parts"),
    _number("size"),
    _text("frame"),
    _number("pack_offset"),
    _number("pack_length"),
    _number("offset"),
    _number("length"),
    _to("pack", "tenant_id", "project_id", "pack"),
    Index(None, "tenant_id", "project_id", "pack"),
    key=("tenant_id", "project_id", "object", "pack", "part"),
)

damaged = _table(
    "damaged",
    _text("tenant_id"),
    _text("project_id"),
    _text("object"),
    _number("found"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "project_id", "object"),
)

purged = _table(
    "purged",
    _text("tenant_id"),
    _text("project_id"),
    _text("object"),
    _number("time"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "project_id", "object"),
)

upkeep = _table(
    "upkeep",
    _text("tenant_id"),
    _text("work"),
    _text("holder"),
    _number("lease_until"),
    _text("state"),
    _to("tenant", "tenant_id"),
    key=("tenant_id",),
)

# What is counted and written down ------------------------------------------------------------------------------------

usage = _table(
    "usage",
    _text("tenant_id"),
    _number("stored_bytes"),
    _from(0, "sync_day"),
    _from(0, "sync_bytes"),
    _to("tenant", "tenant_id"),
    key=("tenant_id",),
)

reservation = _table(
    "reservation",
    _text("tenant_id"),
    _text("reservation_id"),
    _text("project_id"),
    _text("principal_id"),
    _number("bytes"),
    _number("lease_until"),
    _to("project", "tenant_id", "project_id"),
    key=("tenant_id", "reservation_id"),
)

rate_use = _table(
    "rate_use",
    _text("tenant_id"),
    _text("bucket"),
    _text("node"),
    _number("window"),
    _number("used"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "bucket", "node"),
)

tenant_settings = _table(
    "tenant_settings",
    _text("tenant_id"),
    _number("revision"),
    _number("time"),
    _text("principal_id"),
    _text("principal_name"),
    _text("settings"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "revision"),
)

idempotency = _table(
    "idempotency",
    _text("tenant_id"),
    _text("principal_id"),
    _text("route"),
    _text("key"),
    _text("request_hash"),
    _text("result"),
    _number("created"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "principal_id", "route", "key"),
)

audit = _table(
    "audit",
    _text("tenant_id"),
    _text("audit_id"),
    _number("time"),
    _text("principal_id"),
    _text("principal_name"),
    _text("action"),
    _text("target"),
    _text("result"),
    _text("request_id"),
    _text_from("", "address"),
    _from(0, "sequence"),
    _to("tenant", "tenant_id"),
    # In the order of commit, without a gap: writers of a tenant queue.
    Index(None, "tenant_id", "sequence", unique=True),
    key=("tenant_id", "audit_id"),
)

audit_seal = _table(
    "audit_seal",
    _text("tenant_id"),
    _number("sequence"),
    _number("time"),
    _text("rows"),
    _bytes("mac"),
    _to("tenant", "tenant_id"),
    key=("tenant_id", "sequence"),
)

APPEND_ONLY = frozenset({"audit", "audit_seal", "tenant_settings", "version"})
"""Tables whose rows are only ever added, save when a tenant is erased."""
