"""Retention, damage, purges, and who is doing upkeep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("tenant", sa.Column("keep_versions", sa.BigInteger(), nullable=True))
    op.add_column("tenant", sa.Column("keep_days", sa.BigInteger(), nullable=True))
    op.add_column("project", sa.Column("floor", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("pack", sa.Column("dying_since", sa.BigInteger(), nullable=True))
    for name, time in (("damaged", "found"), ("purged", "time")):
        op.create_table(
            name,
            sa.Column("tenant_id", TEXT, nullable=False),
            sa.Column("project_id", TEXT, nullable=False),
            sa.Column("object", TEXT, nullable=False),
            sa.Column(time, sa.BigInteger(), nullable=False),
            sa.ForeignKeyConstraint(
                ["tenant_id", "project_id"],
                ["project.tenant_id", "project.project_id"],
                name=op.f(f"fk_{name}_project"),
            ),
            sa.PrimaryKeyConstraint("tenant_id", "project_id", "object", name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "upkeep",
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("work", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_upkeep_tenant")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_upkeep")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "installation",
        sa.Column("installation_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("installation_id", name=op.f("pk_installation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "row_sum",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("sum", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_row_sum")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("row_sum")
    op.drop_table("installation")
    op.drop_table("upkeep")
    op.drop_table("purged")
    op.drop_table("damaged")
    op.drop_column("pack", "dying_since")
    op.drop_column("project", "floor")
    op.drop_column("tenant", "keep_days")
    op.drop_column("tenant", "keep_versions")
