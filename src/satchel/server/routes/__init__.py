"""One module a family of addresses; ``ROUTERS`` is all of them, in the order of the OpenAPI document."""

from __future__ import annotations

from satchel.server.routes import admin, artifacts, auth, health, keys, people, projects, purge, reading, sync, tenant

ROUTERS = (
    health.router,
    auth.router,
    projects.router,
    reading.router,
    artifacts.router,
    purge.router,
    sync.router,
    keys.router,
    people.router,
    tenant.router,
    admin.router,
)
"""All of ``/api/v1``."""
