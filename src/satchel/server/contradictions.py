"""Settings that are well-formed each by itself, and cannot be meant: refused before anything is opened."""

from __future__ import annotations

import importlib.util
import re
from urllib.parse import urlsplit

from satchel.config.server import ServerSettings
from satchel.errors import ConfigInvalid
from satchel.server.addresses import networks
from satchel.server.provider import provider_of
from satchel.store.bucketurl import FORMS, SERVICES, bucket_place
from satchel.store.kms import kms_place

_NETLOC = re.compile(r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A name or an address, and perhaps a port."""
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def refuse_contradictions(settings: ServerSettings) -> None:
    """Raise ``ConfigInvalid`` for them; the variable is named, its value only where it is no secret."""
    if settings.public_url and not _is_address(settings.public_url):
        raise ConfigInvalid("SATCHEL_PUBLIC_URL has to be an address such as https://context.example.org")
    if urlsplit(settings.public_url).path not in ("", "/"):
        raise ConfigInvalid(
            "SATCHEL_PUBLIC_URL has a path, and Satchel answers at the root of its address alone",
            hint="Give it a name of its own, such as https://context.example.org, and let the proxy pass all of it on.",
        )
    if settings.root_kms:
        kms_place(settings.root_kms)
    if settings.metrics_port and settings.metrics_port == settings.port:
        raise ConfigInvalid("SATCHEL_METRICS_PORT has to be another than SATCHEL_PORT")
    for host in settings.allowed_hosts:
        if not _HOST.fullmatch(host):
            raise ConfigInvalid(
                f"SATCHEL_ALLOWED_HOSTS holds {host!r}", hint="Name hosts alone, such as satchel.local."
            )
    for origin in settings.allowed_origins:
        if not _is_address(origin) or urlsplit(origin).path:
            hint = "Write scheme, host and port alone, such as https://app.example.org."
            raise ConfigInvalid(f"SATCHEL_ALLOWED_ORIGINS holds {origin!r}, which is no origin", hint=hint)
    _refuse_backup(settings.backup_url)
    refuse_own_store(settings, settings.backup_url)
    refuse_untraceable(settings)
    networks(settings.trusted_proxies)
    networks(settings.oidc_networks)
    provider_of(settings)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    whole = parts.scheme in ("http", "https") and _NETLOC.fullmatch(parts.netloc) is not None
    return whole and port != 0 and not (parts.query or parts.fragment)


def _refuse_backup(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        if parts.scheme in SERVICES:
            bucket_place(url)
            return
    except (ValueError, ConfigInvalid) as error:
        raise ConfigInvalid("SATCHEL_BACKUP_URL names no place for backups", hint=FORMS) from error
    if parts.scheme not in ("file", "memory") or not parts.path.startswith("/"):
        raise ConfigInvalid("SATCHEL_BACKUP_URL names no place for backups", hint=FORMS)


def refuse_own_store(settings: ServerSettings, backup_url: str) -> None:
    """Raise ``ConfigInvalid`` where backups would rest in the store that they are made of."""
    if backup_url and _place(backup_url) == _place(settings.store):
        raise ConfigInvalid(
            "backups would be kept in the store itself (SATCHEL_BACKUP_URL): what loses it loses them too",
            hint="Name a directory or a bucket of their own.",
        )


def _place(url: str) -> tuple[str, str, str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc, parts.path.rstrip("/"), parts.query


def refuse_untraceable(settings: ServerSettings) -> None:
    """Raise ``ConfigInvalid`` where traces are wanted and cannot be made."""
    if not settings.otlp_url:
        return
    parts = urlsplit(settings.otlp_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigInvalid("SATCHEL_OTLP_URL has to be an address such as http://127.0.0.1:4318")
    try:
        there = all(importlib.util.find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        there = False
    if not there:
        raise ConfigInvalid(
            "SATCHEL_OTLP_URL is set, and what makes traces is not installed",
            hint='Install it beside the server: pip install "satchel[server,otel]"; or unset SATCHEL_OTLP_URL.',
        )
