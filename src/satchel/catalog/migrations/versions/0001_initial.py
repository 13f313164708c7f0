"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "person",
        sa.Column("person_id", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("password", TEXT, nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person")),
        sa.UniqueConstraint("email", name=op.f("uq_person_email")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signing_key",
        sa.Column("kid", TEXT, nullable=False),
        sa.Column("public_jwk", TEXT, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("retired", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tenant",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("slug", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("storage_bytes_limit", sa.BigInteger(), nullable=False),
        sa.Column("projects_limit", sa.BigInteger(), nullable=False),
        sa.Column("members_limit", sa.BigInteger(), nullable=False),
        sa.Column("keys_limit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenant_slug")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("audit_id", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.Column("principal_name", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_audit_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "audit_id", name=op.f("pk_audit")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("request_hash", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_idempotency_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", "route", "key", name=op.f("pk_idempotency")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "membership",
        sa.Column("person_id", TEXT, nullable=False),
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_membership_person")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_membership_tenant")),
        sa.PrimaryKeyConstraint("person_id", "tenant_id", name=op.f("pk_membership")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "operator",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_operator_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", name=op.f("pk_operator")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "principal",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("tenant_role", TEXT, nullable=False),
        sa.Column("all_projects", TEXT, nullable=True),
        sa.Column("cap", TEXT, nullable=True),
        sa.Column("person_id", TEXT, nullable=True),
        sa.Column("email", TEXT, nullable=True),
        sa.Column("mac", sa.LargeBinary(), nullable=True),
        sa.Column("created_by", TEXT, nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_principal_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", name=op.f("pk_principal")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("slug", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("archived", sa.BigInteger(), nullable=True),
        sa.Column("lineage", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_project_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", name=op.f("pk_project")),
        sa.UniqueConstraint("tenant_id", "slug", name=op.f("uq_project_tenant_id_slug")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "revoked_token",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("jti", TEXT, nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_revoked_token_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", "jti", name=op.f("pk_revoked_token")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_usage_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_usage")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "access_grant",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "principal_id"],
            ["principal.tenant_id", "principal.principal_id"],
            name=op.f("fk_access_grant_principal"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["project.tenant_id", "project.project_id"],
            name=op.f("fk_access_grant_project"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "principal_id", name=op.f("pk_access_grant")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_access_grant_tenant_id_principal_id"), "access_grant", ["tenant_id", "principal_id"], unique=False
    )
    op.create_table(
        "entry",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("object", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.project_id"], name=op.f("fk_entry_project")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "path", "since", name=op.f("pk_entry")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_entry_tenant_id_project_id_since"), "entry", ["tenant_id", "project_id", "since"], unique=False
    )
    op.create_index(
        op.f("ix_entry_tenant_id_project_id_until"),
        "entry",
        ["tenant_id", "project_id", "until"],
        unique=False,
        sqlite_where=sa.text("until IS NOT NULL"),
        postgresql_where=sa.text("until IS NOT NULL"),
    )
    op.create_table(
        "pack",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("pack", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.project_id"], name=op.f("fk_pack_project")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "pack", name=op.f("pk_pack")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refresh_family",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("family_id", TEXT, nullable=False),
        sa.Column("principal_id", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "principal_id"],
            ["principal.tenant_id", "principal.principal_id"],
            name=op.f("fk_refresh_family_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "family_id", name=op.f("pk_refresh_family")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "relation",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.project_id"], name=op.f("fk_relation_project")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "type", "target", name=op.f("pk_relation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "version",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("lineage", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.Column("author_id", TEXT, nullable=False),
        sa.Column("author", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.project_id"], name=op.f("fk_version_project")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "version", name=op.f("pk_version")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "place",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("object", TEXT, nullable=False),
        sa.Column("pack", TEXT, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frame", TEXT, nullable=False),
        sa.Column("pack_offset", sa.BigInteger(), nullable=False),
        sa.Column("pack_length", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id", "pack"],
            ["pack.tenant_id", "pack.project_id", "pack.pack"],
            name=op.f("fk_place_pack"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "object", "pack", "part", name=op.f("pk_place")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_place_tenant_id_project_id_pack"), "place", ["tenant_id", "project_id", "pack"], unique=False
    )
    op.create_table(
        "refresh_token",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("family_id", TEXT, nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "family_id"],
            ["refresh_family.tenant_id", "refresh_family.family_id"],
            name=op.f("fk_refresh_token_refresh_family"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "family_id", "mac", name=op.f("pk_refresh_token")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("refresh_token")
    op.drop_table("place")
    op.drop_table("version")
    op.drop_table("relation")
    op.drop_table("refresh_family")
    op.drop_table("pack")
    op.drop_table("entry")
    op.drop_table("access_grant")
    op.drop_table("usage")
    op.drop_table("revoked_token")
    op.drop_table("project")
    op.drop_table("principal")
    op.drop_table("operator")
    op.drop_table("membership")
    op.drop_table("idempotency")
    op.drop_table("audit")
    op.drop_table("tenant")
    op.drop_table("signing_key")
    op.drop_table("person")
