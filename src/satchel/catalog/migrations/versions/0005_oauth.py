"""OAuth: clients that registered, authorization codes, device logins, and the sessions of browsers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=null)


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "oauth_client",
        _text("client_id"),
        _text("name"),
        _text("redirects"),
        _number("created"),
        _number("used", null=True),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_client")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_oauth_client_created"), "oauth_client", ["created"])
    op.create_table(
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
        sa.PrimaryKeyConstraint("device_mac", name=op.f("pk_device_login")),
        sa.UniqueConstraint("user_mac", name=op.f("uq_device_login_user_mac")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "browser_session",
        _bytes("mac"),
        _text("person_id"),
        _text("tenant_id", null=True),
        _number("created"),
        _number("expires"),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_browser_session_person")),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_browser_session")),
        sqlite_with_rowid=False,
    )
    op.create_table(
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
        sa.ForeignKeyConstraint(
            ["tenant_id", "principal_id"],
            ["principal.tenant_id", "principal.principal_id"],
            name=op.f("fk_oauth_code_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "code_id", name=op.f("pk_oauth_code")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("oauth_code", "browser_session", "device_login", "oauth_client"):
        op.drop_table(table)
