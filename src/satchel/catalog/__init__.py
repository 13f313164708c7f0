"""The relational record of tenants, principals, projects, versions, packs, quotas and audit.

One door leads in: `scope`. It hands out a tenant's scope, through which only statements bound to that tenant run, and
the directory, through which only the few tables that belong to no tenant can be reached. Statements are SQLAlchemy Core
and plain enough for SQLite and PostgreSQL alike. docs/spec/catalog.md draws the tables.
"""
