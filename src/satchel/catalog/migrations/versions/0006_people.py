"""Invitations, and people whom an identity provider knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=null)


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def upgrade() -> None:
    op.create_table(
        "identity",
        _text("issuer"),
        _text("subject"),
        _text("person_id"),
        _number("created"),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_identity_person")),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identity")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "invitation",
        _text("tenant_id"),
        _text("invitation_id"),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        _text("tenant_role"),
        _text("project_id", null=True),
        _text("role", null=True),
        _text("created_by"),
        _number("created"),
        _number("expires"),
        _number("uses_limit"),
        _number("uses"),
        _number("revoked", null=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_invitation_tenant")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["project.tenant_id", "project.project_id"],
            name=op.f("fk_invitation_project"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "invitation_id", name=op.f("pk_invitation")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("invitation")
    op.drop_table("identity")
