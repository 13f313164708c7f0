"""Alembic's scripts, run by `satchel.catalog.revision` on a connection it hands over."""
