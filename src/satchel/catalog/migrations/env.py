"""How Alembic runs the scripts: on the connection and in the transaction it is given, never on one of its own."""

from __future__ import annotations

from alembic import context

from satchel.catalog.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
