"""Limits, settings and the end of a tenant; reservations and rates; the seal of the audit; the channel of changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=False)


def _number(name: str, *, start: int | None = None, null: bool = False) -> sa.Column[int]:
    default = None if start is None else sa.text(str(start))
    return sa.Column(name, sa.BigInteger(), server_default=default, nullable=null)


def _to_tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f(f"fk_{table}_tenant"))


_NUMBER_AUDIT = """
    UPDATE audit SET sequence = numbered.place
    FROM (
        SELECT tenant_id, audit_id, row_number() OVER (PARTITION BY tenant_id ORDER BY audit_id) AS place FROM audit
    ) AS numbered
    WHERE numbered.tenant_id = audit.tenant_id AND numbered.audit_id = audit.audit_id
"""


def upgrade() -> None:
    for name in ("artifacts_limit", "file_bytes_limit", "requests_limit", "sync_bytes_limit"):
        op.add_column("tenant", _number(name, start=-1))
    op.add_column("tenant", sa.Column("settings", TEXT, server_default=sa.text("'{}'"), nullable=False))
    op.add_column("tenant", _number("settings_revision", start=0))
    op.add_column("tenant", _number("delete_at", null=True))
    op.add_column("principal", _number("requests_limit", null=True))
    op.add_column("usage", _number("sync_day", start=0))
    op.add_column("usage", _number("sync_bytes", start=0))
    op.add_column("audit", sa.Column("address", TEXT, server_default=sa.text("''"), nullable=False))
    op.add_column("audit", _number("sequence", start=0))
    op.execute(_NUMBER_AUDIT)
    op.create_index(op.f("ix_audit_tenant_id_sequence"), "audit", ["tenant_id", "sequence"], unique=True)
    op.create_table(
        "channel",
        _text("name"),
        _number("epoch"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_channel")),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(
        sa.table("channel", sa.column("name"), sa.column("epoch")),
        [{"name": "changes", "epoch": 0}],
    )
    op.create_table(
        "change",
        _number("epoch"),
        _text("tenant_id"),
        _number("time"),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_change")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reservation",
        _text("tenant_id"),
        _text("reservation_id"),
        _text("project_id"),
        _text("principal_id"),
        _number("bytes"),
        _number("lease_until"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["project.tenant_id", "project.project_id"],
            name=op.f("fk_reservation_project"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reservation_id", name=op.f("pk_reservation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rate_use",
        _text("tenant_id"),
        _text("bucket"),
        _text("node"),
        _number("window"),
        _number("used"),
        _to_tenant("rate_use"),
        sa.PrimaryKeyConstraint("tenant_id", "bucket", "node", name=op.f("pk_rate_use")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tenant_settings",
        _text("tenant_id"),
        _number("revision"),
        _number("time"),
        _text("principal_id"),
        _text("principal_name"),
        _text("settings"),
        _to_tenant("tenant_settings"),
        sa.PrimaryKeyConstraint("tenant_id", "revision", name=op.f("pk_tenant_settings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_seal",
        _text("tenant_id"),
        _number("sequence"),
        _number("time"),
        _text("rows"),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        _to_tenant("audit_seal"),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name=op.f("pk_audit_seal")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("audit_seal", "tenant_settings", "rate_use", "reservation", "change", "channel"):
        op.drop_table(table)
    op.drop_index(op.f("ix_audit_tenant_id_sequence"), "audit")
    op.drop_column("audit", "sequence")
    op.drop_column("audit", "address")
    for name in ("sync_bytes", "sync_day"):
        op.drop_column("usage", name)
    op.drop_column("principal", "requests_limit")
    for name in (
        "delete_at",
        "settings_revision",
        "settings",
        "sync_bytes_limit",
        "requests_limit",
        "file_bytes_limit",
        "artifacts_limit",
    ):
        op.drop_column("tenant", name)
