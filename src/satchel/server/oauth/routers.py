"""All of ``/oauth`` beyond the sign-in, for the application to serve."""

from __future__ import annotations

from satchel.server.oauth import connected, consent, device, metadata, registration, tokens

OAUTH = (
    metadata.router,
    registration.router,
    tokens.router,
    device.machines,
    consent.router,
    device.router,
    connected.router,
)
