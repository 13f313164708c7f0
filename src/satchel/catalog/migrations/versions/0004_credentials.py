"""Keys given a new secret, and when they were used; refresh tokens by generation and client; signing keys in turn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBERS = (("principal", "before_until"), ("principal", "used"), ("signing_key", "signs_from"))
_GENERATIONS = ("refresh_family", "refresh_token")
_TEXTS = ("client_id", "scope", "audience")


def upgrade() -> None:
    op.add_column("principal", sa.Column("mac_before", sa.LargeBinary(), nullable=True))
    for table, name in _NUMBERS:
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True))
    for table in _GENERATIONS:
        op.add_column(table, sa.Column("generation", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    for name in _TEXTS:
        op.add_column("refresh_family", sa.Column(name, TEXT, nullable=True))
    # The newest token of a session becomes its generation 0. Those used before must not pass for the one before it.
    op.execute("UPDATE refresh_token SET generation = -2 WHERE used IS NOT NULL")
    op.execute("UPDATE signing_key SET signs_from = created")


def downgrade() -> None:
    for name in _TEXTS:
        op.drop_column("refresh_family", name)
    for table in _GENERATIONS:
        op.drop_column(table, "generation")
    for table, name in _NUMBERS:
        op.drop_column(table, name)
    op.drop_column("principal", "mac_before")
