"""All pages, for the application to serve. They have no prefix: their addresses are in their modules."""

from __future__ import annotations

from satchel.server.web import federated, joining, signin

PAGES = (signin.router, federated.router, joining.router)
