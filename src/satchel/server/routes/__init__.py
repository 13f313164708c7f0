"""One module a family of addresses; ``ROUTERS`` is all of them, in the order of the OpenAPI document."""

from __future__ import annotations

from satchel.server.routes import (
    admin,
    artifacts,
    audit,
    auth,
    events,
    health,
    invitations,
    keys,
    people,
    projects,
    purge,
    reading,
    sync,
    tenant,
    usage,
)

ROUTERS = (
    health.router,
    auth.router,
    projects.router,
    reading.router,
    artifacts.router,
    purge.router,
    sync.router,
    events.router,
    keys.router,
    people.router,
    invitations.router,
    tenant.router,
    usage.router,
    audit.router,
    admin.router,
)
"""All of ``/api/v1``."""
